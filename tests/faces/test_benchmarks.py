"""The benchmarks run, and judge what they find as they say."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import goals, measures, report
from benchmarks.goals import at_least, at_most, verdicts
from benchmarks.peers import OWN, PEERS

ROOT = Path(__file__).parents[2]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.timeout(120)
def test_a_tiny_run_with_rpqueue_alone_measures_and_writes_everything_down(tmp_path: Path) -> None:
    options = ["--peers", OWN, "--measures", "drain.one,enqueue,memory.queued", "--rounds", "2", "--seconds", "0.02"]
    done = run(*options, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "drain, one process, one task at a time" in done.stdout
    [record_file] = tmp_path.glob("*.json")
    record: dict[str, Any] = json.loads(record_file.read_text())
    assert record["failures"] == []
    for figure in ("drain.one", "enqueue.single", "memory.queued"):
        values = record["samples"][figure][OWN]
        assert len(values) == 2
        assert all(value > 0 for value in values)
    assert {"cpu", "cores", "memory", "system"} == set(record["machine"])
    assert record["versions"][OWN]["python"] == sys.version.split()[0]
    page = (tmp_path / "results.rst").read_text()
    assert record["date"] in page
    assert "enqueue one by one (tasks/s)" in page


def test_a_peer_or_a_measure_that_does_not_exist_is_refused_by_name() -> None:
    assert "'nobody'" in run("--peers", "nobody").stderr
    assert "'nothing'" in run("--measures", "nothing").stderr


def test_every_goal_speaks_of_a_line_and_a_peer_that_exist() -> None:
    lines = measures.load()
    for goal in goals.GOALS:
        named = [(goal.figure, OWN), *([goal.against] if goal.against else [])]
        for figure, peer in named:
            line = lines[figure.partition(", ")[0]]
            assert peer in PEERS
            assert line.asks(peer)
    assert {goal.number for goal in goals.GOALS} == set(range(1, 10))


def test_every_peer_has_an_adapter() -> None:
    for name in PEERS:
        source = (ROOT / "benchmarks" / "peers" / f"{name}.py").read_text()
        assert "class Adapter" in source


def test_the_middle_round_decides_and_a_miss_needs_every_round() -> None:
    goal = at_least(1, "speed", 2.0, ("speed", "huey"))

    def outcome(*ours: float) -> str:
        samples = {"speed": {OWN: list(ours), "huey": [1.0] * len(ours)}}
        [verdict] = verdicts(samples, [goal])
        return verdict.outcome

    assert outcome(1.0, 2.0, 3.0) == "holds"
    assert outcome(1.0, 1.5, 3.0) == "within noise"
    assert outcome(1.0, 1.5, 1.9) == "missed"
    assert outcome() == "not measured"


def test_an_upper_bound_is_missed_from_above() -> None:
    goal = at_most(3, "wait", 10)
    assert verdicts({"wait": {OWN: [9.0, 9.0, 12.0]}}, [goal])[0].outcome == "holds"
    assert verdicts({"wait": {OWN: [11.0, 11.0, 12.0]}}, [goal])[0].outcome == "missed"


def test_ratios_are_taken_round_by_round_and_failed_rounds_have_none() -> None:
    goal = at_least(1, "speed", 1.0, ("speed", "huey"))
    samples = {"speed": {OWN: [2.0, 6.0, 9.0], "huey": [1.0, math.nan, 3.0]}}
    assert list(verdicts(samples, [goal])[0].ratios) == [2.0, 3.0]


@pytest.mark.parametrize(("value", "text"), [(0.1234, "0.123"), (12.34, "12.3"), (1234.5, "1,230"), (math.nan, "-")])
def test_figures_have_as_many_digits_as_mean_something(value: float, text: str) -> None:
    assert report.figure(value) == text
