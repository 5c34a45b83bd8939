"""The Lua scripts keep the form that scripts.py, their callers and the documentation read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rpqueue.keys import QueueKeys
from rpqueue.messages import Flags
from rpqueue.protocol import scripts

LUA = Path(scripts.__file__).parent / "lua"
NAMES = scripts.names()
PARTS = sorted(path.stem for path in (LUA / "parts").glob("*.lua"))

NEEDS = re.compile(r"^-- Needs: (.+)$", re.MULTILINE)
SLOT = re.compile(r"^-- (KEYS|ARGV)\[([^\]]+)\] +(\S+)", re.MULTILINE)
DEFINED = re.compile(r"^local (?:function (\w+)|([A-Z_]+(?:, [A-Z_]+)*) =)", re.MULTILINE)


def source(name: str) -> str:
    return (LUA / f"{name}.lua").read_text("utf-8")


def header(name: str) -> list[str]:
    """The comment on top of a file, line by line, without the dashes."""
    lines = []
    for line in source(name).splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return lines


def code(text: str) -> str:
    """A source without comments and the insides of strings."""
    return re.sub(r"'[^'\n]*'", "''", re.sub(r"--.*", "", text))


def words(text: str) -> set[str]:
    """The functions that a source calls, and the constants that it names."""
    return set(re.findall(r"(?<![.\w:])(?:\w+(?=\()|[A-Z][A-Z_]+\b)", code(text)))


def needs(name: str) -> list[str]:
    found = NEEDS.search(source(name))
    return found[1].split(", ") if found else []


def defined(part: str) -> set[str]:
    """The functions and constants that a part brings."""
    found = DEFINED.findall(source(f"parts/{part}"))
    return {name for function, constants in found for name in (function, *constants.split(", ")) if name}


def used(name: str, part: str) -> bool:
    """Whether a script calls on a part, itself or by another part that it needs."""
    others = [source(f"parts/{other}") for other in needs(name) if other != part]
    return any(defined(part) & words(text) for text in [source(name), *others])


def test_there_are_scripts_and_parts() -> None:
    assert {"enqueue", "cycle", "ack"} <= set(NAMES)
    assert {"now", "queue", "memo"} <= set(PARTS)


@pytest.mark.parametrize("name", NAMES)
def test_a_header_is_a_contract(name: str) -> None:
    lines = header(name)
    text = "\n".join(lines)
    assert re.match(r"[A-Z]", lines[0]), "the first line says what the script does"
    assert len(lines) > 2, "from line 2 on stands the contract"
    assert re.search(r"^Returns ", text, re.MULTILINE), "what it returns"
    assert re.search(r"^O\(.+\)", text, re.MULTILINE), "what it costs"
    assert text.index("\nReturns ") < text.index("\nO("), "in this order"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["KEYS", "ARGV"])
def test_slots_are_numbered_without_gaps(name: str, kind: str) -> None:
    expected = 1
    for found, slot, _ in SLOT.findall(source(name)):
        if found != kind:
            continue
        first, _, last = slot.partition("..")
        if first == "":  # `..`: begins where the one before ends, and that depends on the call
            continue
        assert int(first) == expected, f"{kind}[{slot}] follows {expected - 1}"
        expected = int(last or first) + 1 if last != "n" else -1


@pytest.mark.parametrize("name", NAMES)
def test_every_slot_that_the_code_reads_by_number_is_in_the_header(name: str) -> None:
    slots = SLOT.findall(source(name))
    for kind, number in set(re.findall(r"\b(KEYS|ARGV)\[(\d+)\]", code(source(name)))):
        spans = [slot.partition("..") for found, slot, _ in slots if found == kind and slot != ".."]
        assert any(
            int(first) <= int(number) <= (10**6 if last == "n" else int(last or first)) for first, _, last in spans
        ), f"{kind}[{number}] is read and not described"


@pytest.mark.parametrize("name", NAMES)
def test_the_loader_knows_the_slots_of_the_header(name: str) -> None:
    script = scripts.load(name)
    for kind, known in (("KEYS", script.keys), ("ARGV", script.args)):
        assert list(known) == [
            slot for found, number, slot in SLOT.findall(source(name)) if found == kind if number != ".."
        ]
    assert script.source.endswith(source(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_that_a_script_needs_exist_and_are_used(name: str) -> None:
    named = needs(name)
    assert len(named) == len(set(named))
    assert set(named) <= set(PARTS)
    assert [part for part in named if not used(name, part)] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_script_names_every_part_that_it_uses_before_its_users(name: str) -> None:
    known: set[str] = set()
    everything = set().union(*(defined(part) for part in PARTS))
    for part in needs(name):
        own = defined(part)
        assert not (words(source(f"parts/{part}")) & everything) - own - known, f"{part} stands too early"
        known |= own
    own = set(re.findall(r"\blocal function (\w+)", source(name)))
    assert not (words(source(name)) & everything) - own - known


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_needed_by_a_script_and_says_what_it_does(part: str) -> None:
    assert any(part in needs(name) for name in NAMES)
    assert source(f"parts/{part}").startswith("-- ")


@pytest.mark.parametrize("name", [*NAMES, *(f"parts/{part}" for part in PARTS)])
def test_the_clock_is_read_in_one_place_and_effects_are_left_to_the_server(name: str) -> None:
    text = source(name)
    assert (re.search(r"['\"]TIME['\"]", text, re.IGNORECASE) is not None) == (name == "parts/now")
    assert "replicate_commands" not in text
    assert not re.search(r"\b(os\.|math\.random|loadstring|dofile)", code(text))


@pytest.mark.parametrize("name", [*NAMES, *(f"parts/{part}" for part in PARTS)])
def test_bodies_pass_through_no_json_of_lua(name: str) -> None:
    assert "cjson" not in source(name)


@pytest.mark.parametrize("name", [*NAMES, *(f"parts/{part}" for part in PARTS)])
def test_instants_are_never_written_by_tostring(name: str) -> None:
    assert "tostring" not in words(source(name)), "1.7e+15; use %.0f"


@pytest.mark.parametrize("name", NAMES)
def test_every_script_has_a_table_test(name: str) -> None:
    assert (Path(__file__).parents[1] / "redis" / f"test_{name}.py").is_file()


def test_the_block_of_a_queue_has_the_same_order_in_lua_and_python() -> None:
    found = re.findall(r"(\w+) = KEYS\[first(?: \+ (\d+))?\]", source("parts/queue"))
    assert [name for name, _ in found] == list(QueueKeys._fields[:12])
    assert [int(offset or 0) for _, offset in found] == list(range(12))


def test_flags_are_the_same_in_lua_and_python() -> None:
    found = re.search(r"^local ([A-Z_, ]+) = ([\d, ]+)$", source("parts/header"), re.MULTILINE)
    assert found is not None
    named = dict(zip(found[1].split(", "), map(int, found[2].split(", ")), strict=True))
    assert named == {flag.name: int(flag) for flag in Flags}
