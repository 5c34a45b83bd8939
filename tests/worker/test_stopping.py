"""How a worker stops, and what it leaves."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from rpqueue.errors import TaskLost
from rpqueue.worker.supervisor import PATIENCE_WITH_CHILDREN
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench, WorkerProcess

#: Seconds that tasks get where the test wants them to end in time.
LONG = 60.0


def quiet(worker: WorkerProcess) -> None:
    """Wait until a worker's process claims no more."""
    wait_until(lambda: "worker is quiet" in worker.log, SOON, "the worker is quiet")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
@pytest.mark.parametrize("alone", [False, True])
def test_a_signal_lets_what_runs_end_and_starts_nothing_more(bench: Bench, number: signal.Signals, alone: bool) -> None:
    hold, hold_async, note = (bench.task(name, save_results=60) for name in ("hold", "hold_async", "note"))
    worker = bench.start(wait=LONG, alone=alone)
    calls = [hold_async.execute("coroutine"), hold.execute("thread")]
    bench.until_noted("start", number=2)
    worker.signal(number)
    quiet(worker)
    later = note.execute("later")
    for label in ("coroutine", "thread"):
        bench.go(label)
    assert worker.code() == 0
    assert [call.result for call in calls] == ["coroutine", "thread"]
    assert later.status == "waiting"
    assert worker.announced() == []


def test_what_ends_while_others_go_on_is_acked_at_once(bench: Bench) -> None:
    hold = bench.task("hold", save_results=60)
    worker = bench.start(threads=2, wait=LONG)
    slow, quick = hold.execute("slow"), hold.execute("quick")
    bench.until_noted("start", number=2)
    worker.signal(signal.SIGTERM)
    quiet(worker)
    bench.go("quick")
    assert quick.get(SOON) == "quick"
    assert slow.status == "started"
    bench.go("slow")
    assert worker.code() == 0
    assert slow.status == "done"


def test_a_task_keeps_its_lease_while_its_worker_waits_for_it(quick: Bench) -> None:
    hold = quick.task("hold", vis_timeout=600, attempts=2)
    worker = quick.start(wait=LONG)
    call = hold.execute("x")
    quick.until_noted("start")
    key = quick.app.task_keys("default").leased
    first = quick.client.zscore(key, call.taskid)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: quick.client.zscore(key, call.taskid) > first + 1500, SOON, "extended beyond the first lease")
    quick.go("x")
    assert worker.code() == 0
    assert call.status == "done"
    assert quick.labels("start") == ["x"]


def test_what_does_not_end_in_time_goes_back_to_the_head_without_costing_an_attempt(bench: Bench) -> None:
    hold, hold_async, note = (bench.task(name, vis_timeout=60, attempts=1) for name in ("hold", "hold_async", "note"))
    worker = bench.start(wait=0.2)
    calls = [hold_async.execute("coroutine"), hold.execute("thread")]
    bench.until_noted("start", number=2)
    calls.append(note.execute("later"))
    assert worker.stop() == 0
    assert [call.status for call in calls] == ["waiting"] * 3
    assert set(bench.ids("ready")[:2]) == {call.taskid for call in calls[:2]}
    bench.start()
    for label in ("coroutine", "thread"):
        bench.go(label)
    bench.until_empty()
    assert [call.status for call in calls] == ["done"] * 3
    assert bench.stats()["done"] == 3


@pytest.mark.parametrize("function", ["hold", "hold_async"])
def test_a_task_that_may_run_once_and_does_not_end_in_time_is_lost(bench: Bench, function: str) -> None:
    hold = bench.task(function)
    worker = bench.start(wait=0.2)
    call = hold.execute("x")
    bench.until_noted("start")
    assert worker.stop() == 0
    assert call.status == "lost"
    with pytest.raises(TaskLost):
        call.get(1)


@pytest.mark.parametrize("alone", [False, True])
def test_what_had_not_started_goes_back_in_order(bench: Bench, alone: bool) -> None:
    hold, note = bench.task("hold"), bench.task("note")
    worker = bench.start(claim_ahead=30.0, wait=0.2, alone=alone)
    held, *calls = bench.together((hold, "slow"), *((note, str(number)) for number in range(20)))
    bench.until_noted("start", "slow")
    assert len(bench.ids("leased")) > 1, "nothing was claimed ahead"
    assert worker.stop() == 0
    assert bench.ids("ready") == [call.taskid for call in calls]
    assert held.status == "lost"
    bench.start()
    bench.until_noted("ran", number=20)
    assert bench.labels() == [str(number) for number in range(20)]


def test_a_second_signal_stops_now(bench: Bench) -> None:
    hold = bench.task("hold", vis_timeout=60, attempts=2)
    worker = bench.start(wait=LONG)
    call = hold.execute("x")
    bench.until_noted("start")
    worker.signal(signal.SIGTERM)
    quiet(worker)
    started = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.code() == 0
    assert time.monotonic() - started < LONG / 2
    assert call.status == "waiting"


def test_one_signal_to_all_processes_counts_once(bench: Bench) -> None:
    hold = bench.task("hold")
    worker = bench.start(processes=2, wait=LONG)
    calls = [hold.execute("a"), hold.execute("b")]
    bench.until_noted("start", number=2)
    worker.signal(signal.SIGTERM, group=True)
    wait_until(lambda: worker.log.count("worker is quiet") == 2, SOON, "both are quiet")
    for label in "ab":
        bench.go(label)
    assert worker.code() == 0
    assert [call.status for call in calls] == ["done", "done"]
    assert sorted(bench.labels("end")) == ["a", "b"]


def test_ctrl_c_in_a_terminal_counts_once(bench: Bench) -> None:
    hold = bench.task("hold")
    worker = bench.start(wait=LONG)
    call = hold.execute("x")
    bench.until_noted("start")
    worker.signal(signal.SIGINT, group=True)
    quiet(worker)
    bench.go("x")
    assert worker.code() == 0
    assert call.status == "done"


def test_a_child_that_is_told_to_stop_is_replaced(bench: Bench) -> None:
    note = bench.task("note")
    worker = bench.start()
    first = worker.child()
    os.kill(first, signal.SIGTERM)
    worker.child(other_than=first)
    note.execute("x").get(SOON)
    assert "exit code 0" in worker.log


@pytest.mark.parametrize("alone", [False, True])
def test_should_quit_stops_it_from_the_parent(tmp_path: Path, bench: Bench, alone: bool) -> None:
    note = bench.task("quit_soon")
    worker = bench.start(alone=alone)
    note.execute()
    assert worker.code() == 0
    assert bench.labels("stopped") == [""]


def test_sigusr2_prints_every_stack_and_changes_nothing(bench: Bench) -> None:
    hold = bench.task("hold")
    worker = bench.start(wait=LONG)
    call = hold.execute("x")
    bench.until_noted("start")
    worker.signal(signal.SIGUSR2)
    wait_until(lambda: "in _stop_children" in worker.log or "supervisor.py" in worker.log, SOON, "the parent's stack")
    os.kill(worker.child(), signal.SIGUSR2)
    wait_until(lambda: "in hold" in worker.log, SOON, "the task's stack")
    bench.go("x")
    bench.until(call, "done")
    assert worker.stop() == 0


def test_an_idle_worker_stops_at_once(bench: Bench) -> None:
    worker = bench.start(processes=2, threads=3)
    started = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - started < PATIENCE_WITH_CHILDREN  # after which they would be killed


@pytest.mark.one_server("workers there listen, and do not block in Redis")
@pytest.mark.parametrize("queues", [None, ["one", "other"]])
def test_the_wake_token_that_a_stopping_worker_may_have_been_given_is_left_for_another(
    bench: Bench, queues: list[str] | None
) -> None:
    worker = bench.start(queues=queues)
    wait_until(lambda: bench.client.info("clients")["blocked_clients"] == 1, SOON, "it waits")
    assert worker.stop() == 0
    keys = [bench.app.task_keys(queue).wake for queue in queues] if queues else [bench.app.keys.app.wake]
    assert [bench.client.llen(key) for key in keys] == [1] * len(keys)


def test_a_worker_stops_though_redis_is_gone(own_bench: Bench) -> None:
    worker = own_bench.start(processes=2, wait=0.2)
    own_bench.server.kill()
    wait_until(lambda: "Redis does not answer" in worker.log, SOON, "it has noticed")
    assert worker.stop() == 0


@pytest.mark.stress
def test_a_worker_stops_though_redis_hangs(own_bench: Bench) -> None:
    worker = own_bench.start(wait=0.2)
    own_bench.server.pause()
    try:
        worker.signal(signal.SIGTERM)
        worker.code(60)  # redis-py 5 waits twice for a server that accepts and is silent
    finally:
        own_bench.server.resume()


def test_a_coroutine_is_cancelled_at_the_end_and_may_clean_up(bench: Bench) -> None:
    bench.task("cleans_up").execute("x")
    worker = bench.start(wait=0.2, ready=False)
    bench.until_noted("start")
    worker.children()
    assert worker.stop() == 0
    assert bench.labels("cleaned up") == ["x"]
