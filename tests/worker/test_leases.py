"""Leases: who has a message, until when, and what a worker that lost one can still do."""

from __future__ import annotations

import signal
import time

import psutil
import pytest

from rpqueue.errors import TaskLost
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench


def test_a_task_that_outlives_its_visibility_timeout_is_delivered_again_though_it_still_runs(bench: Bench) -> None:
    hold = bench.task("hold", vis_timeout=0.5, attempts=2, save_results=60)
    worker = bench.start(threads=2)
    call = hold.execute("x")
    first, second = bench.until_noted("start", number=2)
    assert second["at"] - first["at"] > 0.4
    assert first["thread"] != second["thread"]
    bench.until(call, "failed")  # the second one's time is over, too
    bench.go("x")
    bench.go("x")
    bench.until_noted("end", number=2)
    wait_until(lambda: bench.stats().get("stale") == 2, SOON, "both acks came too late")
    assert call.status == "failed"
    assert call.result is None
    wait_until(lambda: worker.log.count("its ack changed nothing") == 2, SOON, "the worker said so")


def test_the_ack_of_a_lease_that_ended_does_not_finish_the_next_ones_run(bench: Bench) -> None:
    hold = bench.task("hold", vis_timeout=0.5, attempts=3)
    first_worker = bench.start()
    call = hold.execute("x")
    [first] = bench.until_noted("start")
    # The second holder has all the time: its lease is the message's, as stored, so make that long for it alone.
    keys = bench.app.task_keys("default")
    message = bench.client.hget(keys.messages, call.taskid).replace(b" 500 ", b" 60000 ")
    bench.client.hset(keys.messages, call.taskid, message)
    other = bench.start()
    _, second = bench.until_noted("start", number=2)
    assert first["pid"] != second["pid"]
    bench.go("x")
    [ended] = bench.until_noted("end")
    assert ended["pid"] == first["pid"]
    wait_until(lambda: bench.stats().get("stale") == 1, SOON, "the first ack came too late")
    assert call.status == "started"
    bench.go("x")
    bench.until(call, "done")
    assert bench.stats()["done"] == 1
    assert (first_worker.stop(), other.stop()) == (0, 0)


def test_a_long_task_keeps_its_lease_for_as_long_as_it_runs(quick: Bench) -> None:
    hold = quick.task("hold")
    quick.start()
    call = hold.execute("x")
    quick.until_noted("start")
    key = quick.app.task_keys("default").leased
    first = quick.client.zscore(key, call.taskid)
    wait_until(lambda: quick.client.zscore(key, call.taskid) > first + 1500, SOON, "extended beyond the first lease")
    quick.go("x")
    quick.until(call, "done")
    assert "stale" not in quick.stats()


@pytest.mark.parametrize("alone", [False, True])
def test_a_task_without_supervisor_keeps_its_lease_too(quick: Bench, alone: bool) -> None:
    hold = quick.task("hold", vis_timeout=60, attempts=2)
    quick.start(alone=alone)
    call = hold.execute("x")
    quick.until_noted("start")
    key = quick.app.task_keys("default").leased
    first = quick.client.zscore(key, call.taskid)
    wait_until(lambda: quick.client.zscore(key, call.taskid) > first + 1500, SOON, "extended beyond the first lease")
    quick.go("x")
    quick.until(call, "done")
    assert quick.labels("start") == ["x"]


def test_a_task_that_never_lets_go_of_the_gil_keeps_its_lease(quick: Bench) -> None:
    stubborn = quick.task("stubborn", vis_timeout=60, attempts=2)
    quick.start(processes=2)
    call = stubborn.execute("x", 3.0)
    quick.until_noted("end")
    quick.until(call, "done")
    assert quick.labels("start") == ["x"]
    assert "stale" not in quick.stats()
    assert "expired" not in quick.stats()


def test_a_process_that_stands_still_for_longer_than_its_lease_changes_nothing_when_it_goes_on(quick: Bench) -> None:
    hold = quick.task("hold", vis_timeout=60, attempts=2, save_results=60)
    zombie = quick.start()
    pid = zombie.child()
    call = hold.execute("x")
    quick.until_noted("start")
    zombie.signal(signal.SIGSTOP)
    psutil.Process(pid).suspend()
    quick.start()
    first, second = quick.until_noted("start", number=2)
    assert (first["pid"], second["pid"]) != (pid, pid)
    psutil.Process(pid).resume()
    zombie.signal(signal.SIGCONT)
    quick.go("x")
    quick.go("x")
    quick.until_noted("end", number=2)
    quick.until(call, "done")
    assert quick.stats()["done"] == 1
    wait_until(lambda: quick.stats().get("stale") == 1, SOON, "the zombie's ack is counted")


def test_what_a_process_had_claimed_before_it_stood_still_does_not_start_when_it_goes_on(quick: Bench) -> None:
    # With so much claim-ahead, nothing is given back in the first half minute of a task that turned out to be slow.
    hold, note = quick.task("hold"), quick.task("note")
    zombie = quick.start(claim_ahead=30.0)
    pid = zombie.child()
    calls = quick.together((hold, "slow"), *((note, str(number)) for number in range(10)))
    quick.until_noted("start", "slow")
    leased = quick.ids("leased")
    zombie.signal(signal.SIGSTOP)
    psutil.Process(pid).suspend()
    quick.start()
    for one in calls:
        quick.until(one, "lost", "done")
    psutil.Process(pid).resume()
    zombie.signal(signal.SIGCONT)
    quick.go("slow")
    quick.until_noted("end", "slow")
    note.execute("after").get(SOON)
    zombie.stop()
    lost = [str(number) for number, one in enumerate(calls[1:]) if one.taskid in leased]
    assert lost, "nothing was claimed ahead"
    assert not set(lost) & set(quick.labels())
    assert calls[0].status == "lost"


def test_leases_of_a_machine_that_dies_end_within_worker_ttl(quick: Bench) -> None:
    again = quick.task("hold", "again", vis_timeout=3600, attempts=2)
    once = quick.task("hold", "once")
    machine = quick.start(threads=2)
    one, other = again.execute("again"), once.execute("once")
    quick.until_noted("start", number=2)
    machine.kill()
    died_at = time.monotonic()
    quick.start(threads=2)
    quick.until_noted("start", "again", 2)
    quick.until(other, "lost")
    assert time.monotonic() - died_at < 1 + SOON
    with pytest.raises(TaskLost):
        other.get(SOON)
    quick.go("again")
    quick.until(one, "done")
    assert quick.labels("start").count("once") == 1
