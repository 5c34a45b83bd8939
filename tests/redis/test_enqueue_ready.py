"""enqueue_ready.lua: new messages are ready, once."""

from __future__ import annotations

import json

import pytest

from rpqueue.messages import Flags
from tests.redis.calls import ack, cycle, enqueue, lease
from tests.redis.harness import Queue


@pytest.mark.any_server
def test_messages_are_ready_in_the_order_of_the_call(queue: Queue) -> None:
    now = enqueue(queue, {"a": "[1]", "b": "[2]"})
    enqueue(queue, {"c": "[3]"})
    assert queue.state() == {"ready": ["a", "b", "c"]}
    assert queue.message("a") == f"1 {now}|[1]"
    assert queue.stats() == {"seen": 3}
    assert queue.wakes() == (True, True)
    assert queue.index() == {"priority": float("inf"), "ready": float("inf"), "due": None}


def test_a_header_says_lease_attempts_and_flags_where_they_differ(queue: Queue) -> None:
    now = enqueue(queue, {"a": "1"}, lease=2.5, attempts=4, flags=Flags.USE_DEAD | Flags.WATCHED)
    assert queue.message("a") == f"1 {now} 2500 4 3|1"


@pytest.mark.one_server("KEYS that match are asked of one node")
def test_only_the_last_call_of_a_session_is_remembered(queue: Queue) -> None:
    enqueue(queue, {"a": "1"}, number=1)
    enqueue(queue, {"b": "1"}, number=2)
    assert queue.client.keys(b"*memo*") == [queue.memo]
    assert 0 < queue.client.pttl(queue.memo) <= 60_000


@pytest.mark.one_server("workers are woken by news")
def test_the_token_of_the_app_names_the_queue_and_goes_after_a_minute(queue: Queue) -> None:
    enqueue(queue, {"a": "1"})
    Queue(queue.client, "other", like=queue)
    enqueue(Queue(queue.client, "other", like=queue), {"b": "1"})
    assert queue.client.lrange(queue.app.wake, 0, -1) == [b"mail"], "one token is enough"
    assert 59_000 < queue.client.pttl(queue.app.wake) <= 60_000
    assert 59_000 < queue.client.pttl(queue.keys.wake) <= 60_000


def test_a_priority_that_was_set_stays_and_is_indexed(queue: Queue) -> None:
    queue.client.zadd(queue.app.queues, {"mail": 3})
    enqueue(queue, {"a": "1"})
    assert queue.index() == {"priority": 3, "ready": 3, "due": None}


@pytest.mark.one_server("there every test shows this")
def test_on_cluster_nothing_outside_the_slot_is_touched(queue: Queue) -> None:
    enqueue(queue, {"a": "1"}, on_cluster=True)
    assert all(key.startswith(queue.keys.stem) for key in queue.client.scan_iter())
    assert queue.wakes() == (True, False)


BODIES = [
    "[]",
    "{}",
    "[[],{},[[]]]",
    str(2**63),
    str(-(2**63) - 1),
    repr(0.1 + 0.2),
    "1e400",
    "1.0",
    "null",
    '"\\u0000"',
    '"nul\\u0000in the middle"',
    '"ü|€|𝄞"',
    '"\\ud83d\\ude00"',
    '{"b": 1,  "a":\t2}',
    json.dumps("x" * 65_536),
]


@pytest.mark.any_server
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:24])
def test_bodies_come_back_byte_for_byte_from_every_delivery_and_from_the_memo(items: Queue, body: str) -> None:
    enqueue(items, {"a": body}, attempts=9)
    for number in (101, 102):
        for _ in ("sent", "sent again"):
            [[_, token, message]] = lease(items, 1, 60_000, number=number).items
            assert message.partition("|")[2] == body
        items.client.zadd(items.keys.leased, {"a": items.clock.start - 1})
    for _ in ("taken for good", "sent again"):
        [[_, token, message]] = lease(items, 1, 0, number=103).items
        assert (token, message.partition("|")[2]) == (3, body)
    assert items.state() == {}


def test_a_call_that_is_sent_twice_enqueues_once(queue: Queue) -> None:
    first = enqueue(queue, {"a": "1"}, number=7)
    assert enqueue(queue, {"a": "1"}, number=7) == first
    assert queue.state()["ready"] == ["a"]
    assert queue.stats() == {"seen": 1}


@pytest.mark.any_server
def test_a_call_that_is_sent_again_after_the_message_was_done_does_not_bring_it_back(queue: Queue) -> None:
    first = enqueue(queue, {"a": "1"}, number=7)
    worker = Queue(queue.client, like=queue)
    [_, _, token, _] = cycle(worker).claimed[0]
    # By ack.lua, whose memo is another session's.
    ack(worker, ("a", token), session=b"other")
    assert enqueue(queue, {"a": "1"}, number=7) == first
    assert queue.state() == {}


@pytest.mark.parametrize(
    ("before", "woken"),
    [
        ({}, True),
        ({"ready": ["x"]}, False),
        ({"scheduled": {"x": 60_000}}, True),
        ({"leased": {"x": (60_000, 1)}}, True),
    ],
)
def test_a_worker_is_woken_by_news_only(queue: Queue, before: dict, woken: bool) -> None:
    queue.given(**before)
    enqueue(queue, {"a": "1"})
    assert queue.wakes() == (woken, woken)


def test_a_data_queue_is_known_as_such_and_not_indexed(items: Queue) -> None:
    enqueue(items, {"a": "1"})
    assert items.client.zrange(items.app.data_queues, 0, -1) == [b"mail"]
    assert items.wakes() == (True, False)
    assert items.lasting() == {"messages", "ready", "stats", "data_queues"}


def test_a_thousand_messages_go_in_one_call(queue: Queue) -> None:
    ids = [f"id{n:04}" for n in range(1000)]
    enqueue(queue, dict.fromkeys(ids, "1"))
    assert queue.state()["ready"] == ids
    assert queue.stats() == {"seen": 1000}
