"""The lookout: which processes are silent, which stall, and which of them are replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rpqueue.worker.child import Child
from rpqueue.worker.ledger import Ledger, Stage
from rpqueue.worker.lookout import GAP, INTERVAL, NOBODY_AFTER, REPLACED_AFTER, SILENT_AFTER, Lookout
from rpqueue.worker.pools import Pooling
from tests.servers import wait_until
from tests.worker.harness import SOON, is_gone


class Scene:
    """A process that does nothing, its ledger, and a clock that a test turns."""

    def __init__(self, pid: int) -> None:
        self.now = 1000.0
        self.reaches: bool | None = True
        self.child = Child(Pooling())
        self.child.pid = pid
        self.child.ledger.answered(self.now)
        self.lookout = Lookout(lambda: [self.child], lambda: self.reaches, clock=lambda: self.now)
        self.lookout.tick()

    @property
    def ledger(self) -> Ledger:
        return self.child.ledger

    def runs(self) -> None:
        self.ledger.move(self.ledger.add(b"mail", b"id", 1, 0.0, 0.0), Stage.STARTED)

    def passes(self, seconds: float) -> str:
        """Time, looked at as often as it should be. Returns what the child is found to do then."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + INTERVAL, until)
            self.lookout.tick()
        return self.condition

    @property
    def condition(self) -> str:
        return self.lookout.conditions[self.child.pid]


@pytest.fixture
def scene() -> Iterator[Scene]:
    # Of its own, not forked here: a test's process has threads.
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield Scene(process.pid)
    process.kill()
    process.wait()


def test_who_stalls_is_told_of_and_then_killed(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    assert scene.passes(SILENT_AFTER - 1) == "working"
    assert scene.lookout.problems == []
    assert scene.passes(3) == "stalled"
    assert scene.lookout.problems == [
        f"worker process {scene.child.pid} has not asked Redis for 32 s, and runs nothing"
    ]
    assert scene.passes(REPLACED_AFTER - SILENT_AFTER - 3) == "stalled"
    assert not is_gone(scene.child.pid)
    assert len([record for record in caplog.records if "stalls" in record.message]) == 1
    scene.passes(3)
    wait_until(lambda: is_gone(scene.child.pid), SOON, "it is killed")
    scene.passes(3)  # nobody has seen it end
    assert caplog.text.count("replacing it") == 1


def test_who_runs_something_is_told_of_once_and_left_alone(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.runs()
    assert scene.passes(10 * REPLACED_AFTER) == "silent"
    assert scene.lookout.problems == []
    assert not is_gone(scene.child.pid)
    assert [record.args for record in caplog.records] == [(pytest.approx(31, abs=1), "id of mail")]


def test_who_starts_something_in_the_last_moment_is_let_go_on(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.passes(REPLACED_AFTER)
    kill = os.kill

    def starts_as_it_is_stopped(pid: int, number: int) -> None:
        if number == signal.SIGSTOP:
            scene.runs()
        kill(pid, number)

    monkeypatch.setattr(os, "kill", starts_as_it_is_stopped)
    scene.passes(2)
    assert scene.condition == "silent"
    assert not is_gone(scene.child.pid)
    monkeypatch.undo()
    wait_until(lambda: _state(scene.child.pid) != "stopped", SOON, "it goes on")


def test_who_was_stopped_by_somebody_else_is_left_to_them(scene: Scene) -> None:
    os.kill(scene.child.pid, signal.SIGSTOP)
    wait_until(lambda: _state(scene.child.pid) == "stopped", SOON, "it is stopped")
    assert scene.passes(2 * REPLACED_AFTER) == "stalled"
    assert _state(scene.child.pid) == "stopped"


def test_who_tries_to_reach_redis_does_not_stall(scene: Scene) -> None:
    for _ in range(10):
        scene.ledger.found_away(scene.now)
        assert scene.passes(SILENT_AFTER / 2) == "working"


def test_while_nobody_reaches_redis_nobody_stalls(scene: Scene) -> None:
    scene.reaches = False
    assert scene.passes(5 * REPLACED_AFTER) == "working"
    scene.reaches = True
    assert scene.passes(SILENT_AFTER) == "working"
    assert scene.lookout.problems == []
    assert scene.passes(3) == "stalled"


def test_who_looks_after_a_gap_gives_the_others_time(scene: Scene) -> None:
    scene.now += GAP + 10 * REPLACED_AFTER  # the whole machine stood still
    scene.lookout.tick()
    assert scene.condition == "working"
    assert scene.passes(SILENT_AFTER) == "working"


def test_when_no_process_ever_reaches_redis_the_worker_is_not_well(scene: Scene) -> None:
    for _ in range(int(NOBODY_AFTER) + 2):  # each dies young
        scene.child.ledger = Ledger(1)
        scene.passes(1)
    assert scene.condition == "starting"
    [problem] = scene.lookout.problems
    assert "no worker process has reached Redis for" in problem


def _state(pid: int) -> str:
    import psutil

    return str(psutil.Process(pid).status())
