"""Keys: two queues, kinds or prefixes never share one, and all keys of a queue live in one slot."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from redis.crc import key_slot

from rpqueue import keys as module
from rpqueue.errors import RefusedName, WrongType
from rpqueue.keys import LASTING_KINDS, LONGEST_NAME, QUEUE_KINDS, AppKeys, Keys, QueueKeys, name_text

HOSTILE = [
    "{",
    "}",
    "{}",
    "}{",
    "{a}",
    "%",
    "%7B",
    "%25",
    ":",
    "a:b",
    "*",
    "?[a-z]",
    "\x00",
    "\n",
    "\r\n",
    " ",
    "\x7f",
    "app",
    "tasks:a",
    "a}:messages",
    "a:{tasks:b}",
    "größe",
    "名前",
    "\U0001f600",
    "x" * LONGEST_NAME,
    "é" * (LONGEST_NAME // 2),
]
ALPHABET = st.sampled_from("ab{}%:*7BDtaskd\x00\n é") | st.characters(exclude_categories=["Cs"])
NAMES = st.sampled_from(HOSTILE) | st.text(ALPHABET, min_size=1, max_size=20)


def queue_keys(queue: QueueKeys) -> set[bytes]:
    """Every key and channel of a queue that the source can name."""
    return {*queue.block, queue.schedules, queue.events, queue.memo(b"5e55"), queue.outcome("1d")}


def app_keys(keys: Keys) -> set[bytes]:
    return {*keys.app[:-1], keys.app.memo(b"5e55")}


def everything(keys: Keys, name: str) -> list[set[bytes]]:
    """The keys of everything that has a name of its own, apart."""
    return [queue_keys(keys.tasks(name)), queue_keys(keys.data(name)), {keys.lock(name)}, app_keys(keys)]


def tag(key: bytes) -> bytes:
    """What Redis Cluster hashes: the text between the first brace and the next closing one."""
    return key[key.index(b"{") + 1 : key.index(b"}")]


@given(NAMES, NAMES)
def test_two_names_under_one_prefix_never_share_a_key(one: str, other: str) -> None:
    assume(one != other)
    keys = Keys()
    for mine, theirs in zip(everything(keys, one)[:-1], everything(keys, other)[:-1], strict=True):
        assert not mine & theirs


@given(NAMES)
def test_tasks_data_locks_and_the_app_never_share_a_key(name: str) -> None:
    for mine, theirs in combinations(everything(Keys(), name), 2):
        assert not mine & theirs


@given(NAMES, NAMES, NAMES, NAMES)
@example("a", "a:{tasks", "b", "b")
@example("a", "a:", ":b", "b")
@example("a:{app}", "a", "b", "b")
@example("%7B", "{", "b", "b")
def test_two_prefixes_never_share_a_key(one: str, other: str, name: str, others_name: str) -> None:
    assume(one != other)
    mine = set().union(*everything(Keys(one), name))
    assert not mine & set().union(*everything(Keys(other), others_name))


@given(NAMES)
def test_all_keys_of_a_queue_are_distinct(name: str) -> None:
    for queue in (Keys().tasks(name), Keys().data(name)):
        assert len(queue_keys(queue)) == 16
    assert len(app_keys(Keys())) == len(AppKeys._fields)


@given(NAMES, NAMES)
def test_all_keys_of_a_queue_are_in_one_slot_by_one_tag(prefix: str, name: str) -> None:
    keys = Keys(prefix)
    for group in everything(keys, name):
        assert len({key_slot(key) for key in group}) == 1
        assert len({tag(key) for key in group}) == 1
        assert tag(next(iter(group))) != b""


@given(NAMES, NAMES)
def test_no_name_adds_a_brace_a_blank_or_a_control_character(prefix: str, name: str) -> None:
    for key in set().union(*everything(Keys(prefix), name)):
        assert re.fullmatch(rb"[^{}]+:\{[^{}]+\}:[^{}]+", key)
        assert not re.search(rb"[\x00-\x20\x7f]", key)


def test_keys_look_as_documented() -> None:
    keys = Keys("test")
    assert keys.tasks("a:b").ready == b"test:{tasks:a:b}:ready"
    assert keys.data("a").outcome("1d") == b"test:{data:a}:outcome:1d"
    assert keys.tasks("a{%").messages == b"test:{tasks:a%7B%25}:messages"
    assert keys.app.ready_queues == b"test:{app}:ready_queues"
    assert keys.app.memo(b"5e55") == b"test:{app}:memo:5e55"
    assert keys.lock("a") == b"test:{lock:a}:lock"


def test_the_block_is_the_twelve_keys_that_scripts_expect() -> None:
    queue = Keys("test").tasks("a")
    assert queue.block == tuple(b"test:{tasks:a}:" + kind.encode() for kind in (*QUEUE_KINDS, "wake"))
    assert (queue.name, queue.stem) == ("a", b"test:{tasks:a}:")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_names(name: str) -> None:
    assert name_text(name, "queue") == name
    assert Keys().tasks(name).name == name


@given(NAMES)
def test_a_name_means_the_same_as_str_and_as_bytes(name: str) -> None:
    assert name_text(name.encode(), "queue") == name_text(name, "queue") == name
    assert Keys(name.encode()).app == Keys(name).app


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", f"queue: expected 1 to {LONGEST_NAME} bytes, got 0"),
        (b"", f"queue: expected 1 to {LONGEST_NAME} bytes, got 0"),
        ("x" * 513, f"queue: expected 1 to {LONGEST_NAME} bytes, got 513"),
        (b"x" * 513, f"queue: expected 1 to {LONGEST_NAME} bytes, got 513"),
        ("é" * 257, f"queue: expected 1 to {LONGEST_NAME} bytes, got 514"),
        (b"\xff", r"queue: expected UTF-8, got b'\xff'"),
        (b"\xed\xa0\x80", r"queue: expected UTF-8, got b'\xed\xa0\x80'"),
        ("a\ud800", r"queue: expected text that UTF-8 can carry, got 'a\ud800'"),
    ],
)
def test_names_that_cannot_be_used_are_refused(name: str | bytes, words: str) -> None:
    with pytest.raises(RefusedName, match=f"^{re.escape(words)}$"):
        name_text(name, "queue")


@pytest.mark.parametrize("name", [None, 1, True, ["a"], bytearray(b"a")])
def test_what_is_neither_str_nor_bytes_is_refused(name: object) -> None:
    with pytest.raises(WrongType, match=r"^queue: expected str or bytes, got "):
        name_text(name, "queue")  # type: ignore[arg-type]


def test_a_prefix_is_refused_by_the_same_rules() -> None:
    for prefix in ("", "x" * 513, "\ud800", b"\xff"):
        with pytest.raises(RefusedName, match=r"^key prefix: "):
            Keys(prefix)


# ---- the tables on top of the file


def table(title: str) -> dict[str, str]:
    """``{kind: TTL}`` of the table under *title*."""
    lines = (module.__doc__ or "").split(title)[1].splitlines()
    ruler = lines[1]
    columns = [(found.start(), found.end()) for found in re.finditer("=+", ruler)]
    rows = {}
    for line in lines[2 : lines.index(ruler, 2)]:
        kind, _, _, ttl, _ = (line[start:end].strip() for start, end in columns)
        if kind:
            rows[kind.partition(":")[0]] = ttl
    return rows


#: Kinds of keys that are kept beside a message for a time.
NOTES = {"asked", "progress", "checkpoint"}


def test_lasting_kinds_are_those_whose_ttl_is_never() -> None:
    documented = {**table("of a queue "), **table("of an app ")}
    lasting = {kind for kind, ttl in documented.items() if ttl == "never"}
    assert lasting == LASTING_KINDS
    assert len(lasting) == 19
    assert documented.keys() - lasting == {"wake", "memo", "outcome", "lock", "janitor", *NOTES}


def test_every_kind_of_key_is_documented() -> None:
    assert {*QUEUE_KINDS, *NOTES, "schedules", "wake", "memo", "outcome", "lock"} == table("of a queue ").keys()
    assert {*AppKeys._fields, "memo", "janitor"} - {"stem"} == table("of an app ").keys()
