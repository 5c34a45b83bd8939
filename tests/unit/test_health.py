"""Health files: what is judged well, and by how little code."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rpqueue import health
from rpqueue.cli import main

WELL: dict[str, Any] = {"state": "running", "alive": 2, "wanted": 2, "problems": [], "unready": ""}


def write(path: Path, **changes: Any) -> str:
    path.write_text(json.dumps({**health.instant(), **WELL, **changes}))
    return str(path)


@pytest.mark.parametrize(
    ("changes", "ready", "why"),
    [
        ({}, False, ""),
        ({}, True, ""),
        ({"unready": "Redis does not answer"}, False, ""),
        ({"unready": "Redis does not answer"}, True, "Redis does not answer"),
        ({"problems": ["one stalls"]}, False, "one stalls"),
        (
            {"problems": ["one stalls", "two stalls"], "unready": "it is quiet"},
            True,
            "one stalls; two stalls; it is quiet",
        ),
    ],
)
def test_problems_are_told_and_readiness_where_asked(
    tmp_path: Path, changes: dict[str, Any], ready: bool, why: str
) -> None:
    assert health.judge(write(tmp_path / "file", **changes), ready=ready)[0] == why


def test_a_file_that_was_left_behind_is_not_well(tmp_path: Path) -> None:
    path = write(tmp_path / "file", monotonic=time.monotonic() - 31)
    assert health.judge(path)[0].startswith("the worker's last sign of life is 31 s old, more than 30")
    assert health.judge(path, max_age=40)[0] == ""


def test_a_clock_that_somebody_sets_changes_nothing_on_the_same_machine(tmp_path: Path) -> None:
    if not health._boot():
        pytest.skip("this system has no name for its runs")
    assert health.judge(write(tmp_path / "file", at=time.time() - 9999))[0] == ""


@pytest.mark.parametrize("moved", [-60, 60])
@pytest.mark.parametrize("boot", ["", "another"])
def test_elsewhere_and_after_a_restart_the_wall_clock_counts(tmp_path: Path, boot: str, moved: float) -> None:
    assert "60 s old" in health.judge(write(tmp_path / "file", boot=boot, at=time.time() + moved))[0]
    assert health.judge(write(tmp_path / "file", boot=boot, monotonic=0))[0] == ""


def test_a_monotonic_instant_that_is_to_come_is_of_another_clock(tmp_path: Path) -> None:
    path = write(tmp_path / "file", monotonic=time.monotonic() + 1e6, at=time.time() - 60)
    assert "60 s old" in health.judge(path)[0]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "there is no file"),
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"[]", "is not a health file"),
        (b'{"at": 1}', "is not a health file"),
        (b'{"problems": []}', "is inf s old"),
        (b'{"problems": [], "at": "now", "boot": 5, "monotonic": "x"}', "is inf s old"),
    ],
)
def test_what_is_no_health_file_is_not_well(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    assert why in health.judge(str(tmp_path / "file"))[0]


# The two ways to the same answer: of the program, and of the whole command line.


def by_program(*words: str) -> tuple[int, str, str]:
    code = (
        "import sys, rpqueue_entry\n"
        "try:\n"
        "    rpqueue_entry.main()\n"
        "finally:\n"
        "    loaded = {'rpqueue', 'redis', 'click', 'asyncio'} & set(sys.modules)\n"
        "    assert not loaded, loaded\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=50, check=False
    )
    return ended.returncode, ended.stdout, ended.stderr


def by_command(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, words)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("changes", [{}, {"problems": ["one stalls"]}, {"unready": "the worker is quiet"}])
def test_the_program_answers_as_the_command_does_and_loads_nothing_for_it(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    path = write(tmp_path / "file", **changes)
    words = ["health", f"--file={path}", "--max-age", "60", "--ready"]
    code, out, err = by_program(*words)
    assert (code, out, err) == by_command(*words)
    assert code == bool(changes)
    assert (out == "healthy: running, 2 of 2 processes\n") == (not changes)
    assert err == (f"rpqueue: not healthy: {changes.get('problems', [changes.get('unready')])[0]}\n" if changes else "")
    said = json.loads(by_program(*words, "--json")[1])
    assert (said["healthy"], said["file"]["state"]) == (not changes, "running")
    assert json.loads(by_command(*words, "--json")[1]).keys() == said.keys()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--help"],
        ["--file"],
        ["--file="],
        ["--file=x", "--max-age=0"],
        ["--file=x", "--max-age=nan"],
        ["--file=x", "--max-age=soon"],
        ["--file=x", "--url=redis://x"],
        ["--file=x", "--ready=1"],
        ["x"],
    ],
)
def test_everything_else_is_left_to_the_command(words: list[str]) -> None:
    assert health.answer(words) is None


@pytest.mark.parametrize(
    "words",
    [["--file=x", "--max-age=0"], ["--file=x", "--queue=y"], ["--ready"], ["--file"], ["x"], ["--file=x", "--ready=1"]],
)
def test_wrong_usage_ends_with_2(words: list[str]) -> None:
    assert CliRunner().invoke(main, ["health", *words]).exit_code == 2
