"""What becomes of messages when a worker process dies."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal

import pytest

from rpqueue.errors import TaskFailed, TaskLost
from rpqueue.states import State
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench, is_gone
from tests.worker.load import buried, load, progress, runs


def test_what_a_killed_process_ran_runs_again_at_once(bench: Bench) -> None:
    hold = bench.task("hold", vis_timeout=60, attempts=3, save_results=60)
    worker = bench.start(threads=3)
    calls = [hold.execute(label) for label in "abc"]
    bench.until_noted("start", number=3)
    os.kill(worker.child(), signal.SIGKILL)
    notes = bench.until_noted("start", number=6)
    assert notes[5]["at"] - notes[2]["at"] < SOON
    assert {entry["pid"] for entry in notes[3:]} == {worker.child()} != {notes[0]["pid"]}
    for label in "abc":
        bench.go(label)
    assert [call.get(SOON) for call in calls] == ["a", "b", "c"]
    assert bench.stats()["crashed"] == 3


def test_a_task_that_may_run_once_is_lost_with_its_process_and_can_be_redriven(bench: Bench) -> None:
    hold = bench.task("hold", save_results=60)
    worker = bench.start()
    call = hold.execute("x")
    bench.until_noted("start")
    os.kill(worker.child(), signal.SIGKILL)
    with pytest.raises(TaskLost):
        call.get(SOON)
    assert call.status == "lost"
    assert call.args is not None
    assert call.args[1:4] == ["hold", ["x"], {}]
    assert bench.redrive(State.LOST) == [call.taskid]
    bench.go("x")
    assert call.get(SOON) == "x"
    assert bench.labels("start") == ["x", "x"]


def test_what_a_killed_process_had_not_started_runs_elsewhere_exactly_once(bench: Bench) -> None:
    hold, note = bench.task("hold"), bench.task("note")
    worker = bench.start(claim_ahead=30.0)
    bench.together((hold, "slow"), *((note, str(number)) for number in range(50)))
    bench.until_noted("start", "slow")
    assert len(bench.ids("leased")) > 1, "nothing was claimed ahead"
    os.kill(worker.child(), signal.SIGKILL)
    bench.until_empty()
    assert bench.labels() == [str(number) for number in range(50)]
    assert len(bench.ids("lost")) == 1
    assert bench.stats()["lost"] == 1


def test_three_crashes_bury_a_message_as_poison_whatever_its_attempts_say(bench: Bench) -> None:
    crash = bench.task("crash", vis_timeout=60, attempts=50)
    bench.start()
    call = crash.execute("x")
    with pytest.raises(TaskFailed, match="poison"):
        call.get(SOON)
    assert call.status == "dead"
    assert bench.labels("start") == ["x"] * 3


def test_a_poison_limit_of_zero_lets_attempts_decide(bench: Bench) -> None:
    crash = bench.task("crash", vis_timeout=60, attempts=4)
    bench.start(poison_crashes=0)
    call = crash.execute("x")
    with pytest.raises(TaskFailed):
        call.get(SOON)
    assert call.status == "failed"
    assert bench.labels("start") == ["x"] * 4


def test_a_process_that_keeps_crashing_is_replaced_ever_more_slowly(bench: Bench) -> None:
    crash = bench.task("segfault", vis_timeout=60, attempts=4)
    bench.start(poison_crashes=0)
    crash.execute("x")
    bench.until_noted("start", number=4)
    at = [entry["at"] for entry in bench.notes("start")]
    pauses = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert pauses[0] > 0.1
    assert pauses[1] > 0.2
    assert pauses[2] > 0.4


def test_one_process_that_crashes_does_not_disturb_the_others(bench: Bench) -> None:
    crash, hold, echo = bench.task("crash"), bench.task("hold"), bench.task("echo", save_results=60)
    worker = bench.start(processes=2)
    before = worker.children(2)
    hold.execute("x")
    [holder] = bench.until_noted("start", "x")
    crashed = crash.execute("boom")
    bench.until(crashed, "lost")
    wait_until(lambda: worker.announced() != before and len(worker.announced()) == 2, SOON, "a new child")
    assert holder["pid"] in worker.announced()
    assert echo.execute(5).get(SOON) == 5
    bench.go("x")
    bench.until_noted("end", "x")


def test_when_the_supervisor_dies_its_children_finish_and_stop(bench: Bench) -> None:
    hold, note = bench.task("hold", vis_timeout=60, attempts=2), bench.task("note")
    worker = bench.start()
    child = worker.child()
    call = hold.execute("x")
    bench.until_noted("start")
    os.kill(worker.pid, signal.SIGKILL)
    worker.code()
    wait_until(lambda: "worker is quiet" in worker.log, SOON, "the orphan claims no more")
    note.execute("later")
    bench.go("x")
    bench.until(call, "done")
    wait_until(lambda: is_gone(child), SOON, "the orphan ended")
    assert bench.labels("start") == ["x"]
    assert bench.labels() == []


def test_a_claim_that_was_never_written_down_is_given_back(bench: Bench) -> None:
    note = bench.task("note")
    worker = bench.start(dies_with_claims=True)
    first = worker.child()
    calls = bench.together(*((note, str(number)) for number in range(5)))
    bench.until_noted("ran", number=5)
    assert worker.child() != first
    assert bench.labels("died") == [""]
    assert bench.labels() == [str(number) for number in range(5)]
    for call in calls:
        bench.until(call, "done")


def test_under_load_killed_processes_lose_nothing_and_run_nothing_twice_that_may_run_once(bench: Bench) -> None:
    bench.task("count", "again", vis_timeout=60, attempts=9, retry_delay=0)
    bench.task("count", "once")
    worker = bench.start(processes=2, threads=2, poison_crashes=0)
    with load(bench, "again", "once") as threads:
        for _ in range(6):
            progress(bench, threads, 40)
            wait_until(worker.announced, SOON, "a process to kill")
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.announced()[0], signal.SIGKILL)
    bench.until_empty(timeout=60)
    counts, sent = runs(bench), {label for thread in threads for label in thread.sent}
    lost = buried(bench)
    assert sent == set(counts) | lost
    assert {label for label in sent if label.startswith("once") and counts[label] > 1} == set()
    assert {label for label in lost if label.startswith("again")} == set()
    assert bench.stats()["done"] + len(lost) == len(sent)
