"""Idle workers: what they cost, and how soon they wake."""

from __future__ import annotations

import statistics
import time

import pytest

from rpqueue.connections import LONGEST_BLOCK
from tests.monitor import Monitor
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench


@pytest.mark.stress
@pytest.mark.one_server("workers there listen, and do not block in Redis")
def test_an_idle_worker_sends_at_most_one_command_a_second(bench: Bench) -> None:
    bench.task("note")
    bench.start(threads=4)
    with Monitor(bench.server).listening() as monitor:
        # It may wait for anything to be said for the second time, but must say little while it waits.
        wait_until(lambda: monitor.sent().count("BLPOP") >= 2, SOON)
        before = len(monitor.sent())
        started = time.monotonic()
        wait_until(lambda: monitor.sent().count("BLPOP") >= 8, 60)
        sent, seconds = monitor.sent()[before:], time.monotonic() - started
    assert seconds > 10
    assert len(sent) <= seconds, sent


def test_a_message_wakes_an_idle_worker_at_once(bench: Bench) -> None:
    echo = bench.task("echo", save_results=60)
    bench.start(processes=2)
    latencies = []
    for number in range(50):
        started = time.monotonic()
        assert echo.execute(number).get(SOON) == number
        latencies.append(time.monotonic() - started)
    assert statistics.median(latencies) < LONGEST_BLOCK / 4


def test_a_message_wakes_an_idle_worker_of_named_queues_at_once(bench: Bench) -> None:
    echo = bench.task("echo", save_results=60)
    bench.start(queues=["one", "other"])
    latencies = []
    for number in range(30):
        started = time.monotonic()
        assert echo.execute(number, _queue="other").get(SOON) == number
        latencies.append(time.monotonic() - started)
    assert statistics.median(latencies) < LONGEST_BLOCK / 4


@pytest.mark.one_server("workers there listen, and do not block in Redis")
def test_every_idle_slot_and_process_is_woken_when_there_is_work_for_all(bench: Bench) -> None:
    hold = bench.task("hold")
    bench.start(processes=2, threads=3)
    wait_until(lambda: blocked(bench) == 2, SOON, "both wait")
    bench.together(*((hold, str(number)) for number in range(6)))
    started = bench.until_noted("start", number=6)
    assert len({(entry["pid"], entry["thread"]) for entry in started}) == 6
    assert started[5]["at"] - started[0]["at"] < LONGEST_BLOCK / 2
    for number in range(6):
        bench.go(str(number))
    bench.until_noted("end", number=6)


@pytest.mark.parametrize("busy", [False, True])
def test_delayed_tasks_start_on_time_and_never_early(bench: Bench, busy: bool) -> None:
    note, nap = bench.task("note"), bench.task("nap")
    bench.start(threads=2)
    if busy:
        bench.together(*((nap, ["busy", 0.01]) for _ in range(150)), queue="busy")
    due = {}
    for number in range(20):
        operation, _ = note.call((number,), {"delay": 0.3 + 0.05 * number})
        due[number] = bench.app.broker.execute(operation) + 0.3 + 0.05 * number
    late = [entry["at"] - due[entry["label"]] for entry in bench.until_noted("ran", number=20)]
    # Redis tells the instant of the call in whole milliseconds.
    assert min(late) > -0.001
    assert statistics.median(late) < LONGEST_BLOCK / 4


@pytest.mark.one_server("workers there listen, and do not block in Redis")
def test_a_delay_that_is_shorter_than_what_the_worker_waits_for_is_heard(bench: Bench) -> None:
    note = bench.task("note")
    bench.start()
    note.execute("far", delay=3600)
    wait_until(lambda: blocked(bench) == 1, SOON, "it waits")
    operation, _ = note.call(("near",), {"delay": 0.2})
    said_at = bench.app.broker.execute(operation)
    [near] = bench.until_noted("ran")
    assert near["at"] - said_at < LONGEST_BLOCK / 2


@pytest.mark.one_server("workers there listen, and do not block in Redis")
def test_a_worker_that_gets_no_wake_token_finds_the_work_all_the_same(bench: Bench) -> None:
    note = bench.task("note")
    bench.start()
    wait_until(lambda: blocked(bench) == 1, SOON, "it waits")
    # Like a token that was taken by a worker that died.
    with bench.client.pipeline(transaction=True) as pipe:
        keys = bench.app.task_keys("default")
        operation, _ = note.call(("x",), {})
        message = b"1 1|" + operation.args[-1]
        pipe.hset(keys.messages, "lost-token", message)
        pipe.rpush(keys.ready, "lost-token")
        pipe.zadd(bench.app.keys.app.ready_queues, {"default": "inf"})
        pipe.zadd(bench.app.keys.app.queues, {"default": "inf"})
        pipe.execute()
    bench.until_noted("ran", "x")


def blocked(bench: Bench) -> int:
    """Clients that wait in Redis."""
    return int(bench.client.info("clients")["blocked_clients"])
