"""Every pool: what runs where, how it fails, and what stops it. Whole workers, one for each pool."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil
import pytest

from rpqueue.enqueued import EnqueuedTask
from rpqueue.errors import TaskCancelled, TaskFailed, TaskLost
from rpqueue.options import POOLS
from rpqueue.protocol import moves
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench, WorkerProcess, is_gone

#: Pools whose tasks run in processes that can be killed.
KILLABLE = ("processes", "fork")


class Workers:
    """A worker of each pool, each with a queue of the pool's name."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        for function in ("where", "where_async"):
            bench.task(function, save_results=60)
        bench.task("boom", "fails_twice", vis_timeout=60, attempts=2, retry_delay=0)
        bench.task("boom_async", "fails_twice_async", vis_timeout=60, attempts=2, retry_delay=0)
        for function in ("sleepy", "sleepy_async"):
            bench.task(function, f"{function}_soft", soft_timeout=0.3)
            bench.task(function, f"{function}_hard", hard_timeout=0.3)
            bench.task(function, f"{function}_both", soft_timeout=0.3, hard_timeout=40)
        bench.task("nap", "quick_enough", soft_timeout=40, hard_timeout=50)
        bench.task("attentive")
        bench.task("sleepy", "sleepy")
        bench.task("cleans_up")
        bench.task("tells_then_fails", vis_timeout=60, attempts=2, retry_delay=0, save_results=60)
        self.by_pool: dict[str, WorkerProcess] = {
            pool: bench.start(threads=1 if pool == "sync" else 2, queues=[pool], also={"pool": pool}, ready=False)
            for pool in POOLS
        }

    def execute(self, name: str, pool: str, *args: Any) -> EnqueuedTask:
        call: Any = self.bench.app.get_task(name).execute(*args, _queue=pool)
        return call

    def pid(self, pool: str) -> int:
        """Of the worker process."""
        return self.by_pool[pool].child()


@pytest.fixture(scope="module")
def workers(module_bench: Bench) -> Workers:
    return Workers(module_bench)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", ["where", "where_async"])
def test_a_task_runs_where_its_workers_pool_says(workers: Workers, pool: str, name: str) -> None:
    calls = [workers.execute(name, pool) for _ in range(3)]
    found = [call.get(SOON) for call in calls]
    assert [told["taskid"] for told in found] == [call.taskid for call in calls]
    pids = {told["pid"] for told in found}
    is_main = {told["is_main"] for told in found}
    in_child = pool in KILLABLE and name == "where"
    if in_child:
        assert workers.pid(pool) not in pids
        assert len(pids) == 3 if pool == "fork" else len(pids) <= 2
    else:
        assert pids == {workers.pid(pool)}
    assert is_main == {in_child or pool == "sync"}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", ["fails_twice", "fails_twice_async"])
def test_a_task_that_raises_is_tried_again_and_keeps_its_record(workers: Workers, pool: str, name: str) -> None:
    call = workers.execute(name, pool, f"{name} {pool}")
    with pytest.raises(TaskFailed) as failed:
        call.get(SOON)
    error = failed.value.error
    assert (error["exception"], error["message"], error["attempt"]) == ("ValueError", f"boom {name} {pool}", 2)
    assert "raise ValueError" in error["traceback"]
    starts = workers.bench.notes("start", f"{name} {pool}")
    assert len(starts) == 2
    assert error["pid"] == starts[1]["pid"]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", ["sleepy_soft", "sleepy_async_soft", "sleepy_both", "sleepy_async_both"])
def test_a_soft_timeout_is_raised_inside(workers: Workers, pool: str, name: str) -> None:
    label = f"{name} {pool}"
    call = workers.execute(name, pool, label)
    with pytest.raises(TaskFailed, match="SoftTimeout"):
        call.get(SOON)
    assert len(workers.bench.notes("soft", label)) == 1


@pytest.mark.parametrize("pool", POOLS)
def test_a_hard_timeout_ends_a_plain_function_in_a_child_process(workers: Workers, pool: str) -> None:
    label = f"hard {pool}"
    call = workers.execute("sleepy_hard", pool, label)
    with pytest.raises(TaskFailed) as failed:
        call.get(SOON)
    error = failed.value.error
    assert error["exception"] == "TaskTimeout"
    assert error["failed_at"] - error["started_at"] >= 0.3
    [start] = workers.bench.notes("start", label)
    assert error["pid"] == start["pid"] != workers.pid(pool)
    assert is_gone(error["pid"])


@pytest.mark.parametrize("pool", POOLS)
def test_a_hard_timeout_cancels_a_coroutine(workers: Workers, pool: str) -> None:
    with pytest.raises(TaskFailed, match="TaskTimeout"):
        workers.execute("sleepy_async_hard", pool, f"hard async {pool}").get(SOON)


@pytest.mark.parametrize("pool", POOLS)
def test_who_is_quick_enough_hears_nothing_of_timeouts(workers: Workers, pool: str) -> None:
    call = workers.execute("quick_enough", pool, f"quick {pool}", 0.01)
    workers.bench.until_noted("end", f"quick {pool}")
    workers.bench.until(call, "done")


@pytest.mark.parametrize("pool", POOLS)
def test_a_run_says_how_it_goes_wherever_it_runs(workers: Workers, pool: str) -> None:
    call = workers.execute("tells_then_fails", pool, pool)
    told = call.get(SOON)
    assert (told["resumed"], told["attempt"], told["executions"]) == (pool, 2, ["ValueError"])
    assert told["args"] == [pool]
    assert told["moved"] > 0


#: What runs until it is stopped, in each pool.
ENDLESS = {"processes": "sleepy", "fork": "sleepy", "threads": "attentive", "sync": "attentive", "asyncio": "cleans_up"}


@pytest.mark.parametrize("pool", POOLS)
def test_a_run_that_is_cancelled_is_stopped(workers: Workers, pool: str) -> None:
    label = f"cancel {pool}"
    call = workers.execute(ENDLESS[pool], pool, label)
    [start] = workers.bench.until_noted("start", label)
    assert call.cancel() is False, "it has started"
    assert call.cancel(running=True) is True
    with pytest.raises(TaskCancelled, match="was cancelled"):
        call.get(SOON)
    assert call.status == "cancelled"
    assert call.cancel(running=True) is True, "as it was before"
    if pool in KILLABLE:
        assert is_gone(start["pid"])
    if pool == "asyncio":
        assert len(workers.bench.notes("cleaned up", label)) == 1
    assert workers.execute("where", pool).get(SOON)


@pytest.mark.parametrize("pool", ["processes", "asyncio"])
def test_a_run_whose_lease_is_lost_is_stopped_and_says_nothing(workers: Workers, pool: str) -> None:
    bench, label = workers.bench, f"lost {pool}"
    call = workers.execute(ENDLESS[pool], pool, label)
    bench.until_noted("start", label)
    keys, before = bench.app.task_keys(pool), bench.stats(pool)
    # Somebody, such as an operator, gives back whoever's lease it is: the call is listed as lost then.
    released = [(call.taskid, "", "interrupted")]
    bench.app.broker.execute(moves.release(keys, bench.app.index, released, bench.app.task_rules))
    assert call.status == "lost"
    wait_until(lambda: "its lease is lost" in workers.by_pool[pool].log, SOON, "the run is stopped")
    assert call.status == "lost"
    assert bench.stats(pool).get("stale") == before.get("stale")
    assert workers.execute("where", pool).get(SOON)


@pytest.mark.parametrize("pool", KILLABLE)
def test_a_task_may_name_a_pool_of_its_own(bench: Bench, pool: str) -> None:
    where, here = bench.task("where", save_results=60, pool=pool), bench.task("where", "here", save_results=60)
    where_async = bench.task("where_async", save_results=60, pool=pool)
    worker = bench.start()
    assert where.execute().get(SOON)["pid"] != worker.child()
    assert where_async.execute().get(SOON)["pid"] != worker.child()
    assert here.execute().get(SOON)["pid"] == worker.child()


# When a child dies.


@pytest.mark.parametrize("pool", KILLABLE)
@pytest.mark.parametrize(("function", "how"), [("crash", "SIGKILL"), ("segfault", "SIGSEGV")])
def test_a_child_that_dies_fails_its_own_call_alone(bench: Bench, pool: str, function: str, how: str) -> None:
    hold, crash = bench.task("hold"), bench.task(function, vis_timeout=60, attempts=2)
    worker = bench.start(threads=2, also={"pool": pool})
    pid = worker.child()
    held = hold.execute("other")
    bench.until_noted("start", "other")
    call = crash.execute("x")
    with pytest.raises(TaskFailed) as failed:
        call.get(SOON)
    error, starts = failed.value.error, bench.notes("start", "x")
    assert error["exception"] == "WorkerCrashed"
    assert how in error["message"]
    assert (error["attempt"], error["pid"]) == (2, starts[1]["pid"])
    assert starts[0]["pid"] != starts[1]["pid"]
    assert ("Fatal Python error: Segmentation fault" in worker.log) is (function == "segfault")
    assert bench.stats()["crashed"] == 2
    bench.go("other")
    bench.until(held, "done")
    assert worker.child() == pid


def test_at_most_once_a_call_whose_child_dies_is_lost_at_once(bench: Bench) -> None:
    crash = bench.task("crash", pool="processes")
    bench.start()
    call = crash.execute("x")
    with pytest.raises(TaskLost) as lost:
        call.get(SOON)
    assert lost.value.error["signal"] == signal.SIGKILL
    assert call.status == "lost"
    assert bench.labels("start") == ["x"]


def test_three_dead_children_make_a_call_poison(bench: Bench) -> None:
    crash = bench.task("crash", vis_timeout=60, attempts=50)
    worker = bench.start(also={"pool": "processes"})
    pid = worker.child()
    call = crash.execute("x")
    with pytest.raises(TaskFailed, match="poison"):
        call.get(SOON)
    assert bench.labels("start") == ["x"] * 3
    assert worker.child() == pid


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest.mark.parametrize("pool", KILLABLE)
def test_when_a_worker_process_dies_no_child_is_left_and_nothing_runs_twice(bench: Bench, pool: str) -> None:
    again = bench.task("hold", "again", vis_timeout=60, attempts=3)
    once = bench.task("hold", "once")
    worker = bench.start(threads=2, also={"pool": pool})
    pid = worker.child()
    calls = [again.execute("again"), once.execute("once")]
    bench.until_noted("start", number=2)
    left = family(pid)
    assert len(left) == 3, "a nursery and two children"
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(is_gone(process.pid) for process in left), SOON, "no child is left")
    with pytest.raises(TaskLost) as lost:
        calls[1].get(SOON)
    assert lost.value.error["exception"] == "WorkerCrashed"
    assert lost.value.error["pid"] == pid
    bench.until_noted("start", "again", 2)
    bench.go("again")
    bench.until(calls[0], "done")
    assert sorted(bench.labels("start")) == ["again", "again", "once"]
    assert bench.labels("end") == ["again"]


def test_when_the_nursery_dies_too_its_children_do_and_another_one_is_there(bench: Bench) -> None:
    hold = bench.task("hold", vis_timeout=60, attempts=3)
    worker = bench.start(also={"pool": "processes"})
    call = hold.execute("x")
    [start] = bench.until_noted("start", "x")
    os.kill(psutil.Process(start["pid"]).ppid(), signal.SIGKILL)
    wait_until(lambda: is_gone(start["pid"]), SOON, "the child is gone")
    bench.until_noted("start", "x", 2)
    bench.go("x")
    bench.until(call, "done")
    assert "the process that forks child processes has died" in worker.log


def test_sigusr2_prints_the_stacks_of_children_too(bench: Bench) -> None:
    hold = bench.task("hold")
    worker = bench.start(also={"pool": "processes"})
    held = hold.execute("x")
    bench.until_noted("start", "x")
    worker.signal(signal.SIGUSR2)
    wait_until(lambda: "in hold\n" in worker.log, SOON, "the stack of the task")
    bench.go("x")
    bench.until(held, "done")


# When it is enough.


@pytest.mark.parametrize("pool", KILLABLE)
def test_what_runs_in_children_gets_its_time_when_the_worker_stops(bench: Bench, pool: str) -> None:
    hold = bench.task("hold", save_results=60)
    worker = bench.start(wait=40, also={"pool": pool})
    call = hold.execute("x")
    bench.until_noted("start")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "worker is quiet" in worker.log, SOON, "it claims no more")
    bench.go("x")
    assert worker.code() == 0
    assert call.get(1) == "x"


@pytest.mark.parametrize("hurried", [False, True])
def test_what_does_not_end_in_time_is_killed_and_given_back_without_costing_an_attempt(
    bench: Bench, hurried: bool
) -> None:
    hold = bench.task("hold", vis_timeout=600, attempts=1)
    worker = bench.start(wait=600 if hurried else 0.1, threads=2, also={"pool": "processes"})
    calls = [hold.execute(label) for label in ("x", "y")]
    starts = bench.until_noted("start", number=2)
    worker.signal(signal.SIGTERM)
    if hurried:
        wait_until(lambda: "worker is quiet" in worker.log, SOON, "it claims no more")
        worker.signal(signal.SIGTERM)
    assert worker.code() == 0
    assert all(is_gone(start["pid"]) for start in starts)
    assert [call.status for call in calls] == ["waiting", "waiting"]
    assert sorted(bench.ids("ready")) == sorted(call.taskid for call in calls)
    bench.start(threads=2)
    for label in ("x", "y"):
        bench.go(label)
    for call in calls:
        bench.until(call, "done")


def test_what_is_given_back_starts_elsewhere_when_its_child_is_gone(bench: Bench) -> None:
    hold = bench.task("hold_after", vis_timeout=600, attempts=1)
    worker = bench.start(wait=0.1, threads=4, also={"pool": "processes"})
    calls = [hold.execute(label) for label in "abcd"]
    bench.until_noted("start", number=4)
    bench.start(threads=4)  # it waits for work, and takes what is given back at once
    worker.signal(signal.SIGTERM)
    starts = bench.until_noted("start", number=8)
    assert [start["others"] for start in starts] == [[]] * 8
    for label in "abcd":
        bench.go(label)
    for call in calls:
        bench.until(call, "done")


@pytest.mark.parametrize("alone", [False, True])
def test_what_runs_in_the_main_thread_is_interrupted_when_its_time_is_over(bench: Bench, alone: bool) -> None:
    nap = bench.task("nap", vis_timeout=600, attempts=1)
    worker = bench.start(wait=0.1, also={"pool": "sync"}, alone=alone)
    call = nap.execute("x", 50)
    bench.until_noted("start", "x")
    worker.signal(signal.SIGTERM)
    assert worker.code() == 0
    assert "did not stop in time" not in worker.log
    assert call.status == "waiting"
    assert bench.ids("ready") == [call.taskid]


def test_a_worker_in_a_thread_beside_others_runs_tasks_in_children_too(bench: Bench) -> None:
    where = bench.task("where", save_results=60, hard_timeout=50)
    worker = bench.start(alone=True, in_thread=True, also={"threads": 2})
    assert where.execute().get(SOON)["pid"] != worker.pid
    left = family(worker.pid)
    worker.kill()
    wait_until(lambda: all(is_gone(process.pid) for process in left), SOON, "no child is left")


@pytest.mark.parametrize("limit", [{"max_tasks": 2}, {"max_age": 0.001}, {"max_memory": 1}])
def test_children_are_replaced_between_two_runs_and_nothing_is_lost(bench: Bench, limit: dict[str, Any]) -> None:
    where = bench.task("where", save_results=60)
    bench.start(also={"pool": "processes", **limit})
    pids = [call.get(SOON)["pid"] for call in [where.execute() for _ in range(6)]]
    assert len(set(pids)) == (3 if "max_tasks" in limit else len(set(pids)))
    if "max_age" in limit:
        assert len(set(pids)) > 1
    assert bench.stats()["done"] == 6


def test_after_fork_is_called_in_each_child_and_never_before_the_fork_of_one(bench: Bench) -> None:
    where = bench.task("where", save_results=60, pool="fork")
    worker = bench.start(after_fork=True)
    pids = {where.execute().get(SOON)["pid"] for _ in range(2)}
    assert {entry["pid"] for entry in bench.notes("forked")} == pids | {worker.child()}


def test_a_task_that_holds_the_lock_of_its_interpreter_keeps_its_lease(quick: Bench) -> None:
    stubborn = quick.task("stubborn", vis_timeout=60, attempts=2)
    quick.start(threads=2, also={"pool": "processes"})
    call = stubborn.execute("x", 3.0)
    quick.until(call, "done")
    assert quick.labels("start") == ["x"]


def test_a_child_moves_the_deadline_up_to_which_its_lease_is_kept(quick: Bench) -> None:
    call = quick.task("beats", vis_timeout=2, attempts=2, pool="processes").execute("x", 4.0)
    quick.start()
    quick.until(call, "done")
    assert quick.labels("start") == ["x"]
