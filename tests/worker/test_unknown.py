"""Messages that a worker cannot run: of tasks that it does not know, or that it cannot read."""

from __future__ import annotations

import pytest

from rpqueue.inspection import Inspection
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench


def put(bench: Bench, message: bytes, message_id: str = "odd", queue: str = "default") -> None:
    """Put bytes into a queue as no producer of ours would."""
    keys, app = bench.app.task_keys(queue), bench.app.keys.app
    with bench.client.pipeline(transaction=False) as pipe:
        pipe.hset(keys.messages, message_id, message)
        pipe.rpush(keys.ready, message_id)
        pipe.zadd(app.queues, {queue: "inf"})
        pipe.zadd(app.ready_queues, {queue: "inf"})
        for wake in (keys.wake, app.wake):
            pipe.rpush(wake, queue)
            pipe.pexpire(wake, 60_000)
        pipe.execute()
    bench.client.publish(app.news, queue)


def test_a_task_of_unknown_name_is_parked_and_runs_once_a_worker_knows_it(bench: Bench) -> None:
    note, echo = bench.task("note"), bench.task("echo", save_results=60)
    ignorant = bench.start(without=("note",))
    calls = [note.execute(str(number)) for number in range(3)]
    assert echo.execute(1).get(SOON) == 1
    keys = bench.app.task_keys("default")
    wait_until(lambda: bench.client.hlen(keys.parked) == 3, SOON, "all are parked")
    assert [call.status for call in calls] == ["waiting"] * 3
    assert bench.client.hvals(keys.parked) == [b"note"] * 3
    assert bench.app.queue_sizes() == [("default", 3, 4)]
    assert "no task of that name is known here" in ignorant.log
    assert ignorant.stop() == 0
    assert bench.labels() == []
    bench.start()
    bench.until_noted("ran", number=3)
    assert bench.labels() == ["0", "1", "2"]
    for call in calls:
        bench.until(call, "done")
    assert bench.client.hlen(keys.parked) == 0


def test_a_parked_call_can_be_cancelled(bench: Bench) -> None:
    note = bench.task("note")
    ignorant = bench.start(without=("note",))
    call = note.execute("x")
    wait_until(lambda: bench.client.hlen(bench.app.task_keys("default").parked) == 1, SOON, "parked")
    assert call.cancel() is True
    assert call.status == "cancelled"
    ignorant.stop()
    bench.start()
    note.execute("y").get(SOON)
    assert bench.labels() == ["y"]


def test_beside_a_worker_that_does_not_know_it_parking_costs_no_attempt(bench: Bench) -> None:
    current = bench.task("current", vis_timeout=30, attempts=3, save_results=60)
    bench.start(without=("current",))
    call = current.execute()
    wait_until(lambda: bench.client.hlen(bench.app.task_keys("default").parked) == 1, SOON, "parked")
    bench.start()
    assert call.get(SOON)["attempt"] == 1


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"no header",
        b'0 1700000000000|["note",["x"],{}]',
        b'1 1700000000000 5|["note",["x"],{}]',
        b"1 1700000000000|",
        b"1 1700000000000|{",
        b"1 1700000000000|null",
        b'1 1700000000000|["note",["x"]]',
        b'1 1700000000000|["note",{},[]]',
        b'1 1700000000000|[1,["x"],{}]',
        b'1 1700000000000|["note",[NaN],{}]',
        b'1 1700000000000|["note",["x"],{}],["note",["y"],{}]',
        b'1 1700000000000|["note",["\xff"],{}]',
        b"1 1700000000000|" + b"[" * 100_000,
        b'1 1700000000000|["note",["' + b"x" * 2_000_000 + b'"],{}]',
    ],
    ids=lambda message: repr(message[:60]),
)
def test_what_cannot_be_read_is_dead_lettered_with_the_reason_and_the_queue_goes_on(
    unread: Bench, message: bytes
) -> None:
    bench = unread
    note = bench.app.get_task("note")
    dead_before = bench.stats().get("dead", 0)
    before = len(bench.labels())
    note.execute("before")
    put(bench, message)
    note.execute("after")
    bench.until_noted("ran", number=before + 2)
    wait_until(lambda: bench.stats().get("dead") == dead_before + 1, SOON, "it is dead-lettered")
    keys = bench.app.task_keys("default")
    assert bench.labels()[before:] == ["before", "after"]
    assert bench.ids("dead") == ["odd"]
    assert bench.client.hget(keys.messages, "odd") == message
    reason, _, error = bench.client.hget(keys.errors, "odd").partition(b"|")
    assert reason.split()[0] == b"undecodable"
    assert b"expected" in error
    assert bench.app.clear_queue("DEADLETTER_QUEUE") == 1


@pytest.fixture(scope="module")
def unread(request: pytest.FixtureRequest) -> Bench:
    """One worker for all messages: they must not harm it."""
    bench = request.getfixturevalue("module_bench")
    bench.task("note")
    bench.start()
    return bench


@pytest.mark.parametrize("tail", [b"", b" 0 1 0 word", b" 60000 3 1 word"])
def test_a_message_of_a_newer_version_is_parked_and_uses_no_attempt(bench: Bench, tail: bytes) -> None:
    note = bench.task("note")
    worker = bench.start()
    message = b"2 1700000000000" + tail + b'|["note",["x"],{"and":"more"}]'
    put(bench, message)
    note.execute("next")
    bench.until_noted("ran", "next")
    keys = bench.app.task_keys("default")
    wait_until(lambda: bench.client.hgetall(keys.parked) == {b"odd": b"version 2"}, SOON, "parked")
    assert bench.client.hget(keys.messages, "odd") == message
    assert bench.client.hget(keys.counts, "odd").split()[1:] == [b"0", b"0", b"0"]
    assert Inspection(bench.app).parked_names() == {"version 2": 1}
    assert "a newer rpqueue wrote the message" in worker.log


def test_a_message_that_an_older_worker_found_too_new_runs_on_one_that_reads_it(bench: Bench) -> None:
    note = bench.task("note")
    call = note.execute("x")
    keys = bench.app.task_keys("default")
    bench.client.lpop(keys.ready)
    bench.client.hset(keys.parked, call.taskid, "version 1")
    bench.start()
    bench.until_noted("ran", "x")
