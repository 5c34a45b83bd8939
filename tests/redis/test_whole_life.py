"""Messages from their first call to their last: what is left in Redis when all is done."""

from __future__ import annotations

import pytest

from rpqueue.messages import Flags
from tests.redis.calls import ack, cancel, cycle, enqueue, fail, fire, lease, park, redrive, release, unpark
from tests.redis.harness import Queue

MINUTE = 60_000


@pytest.mark.any_server
def test_tasks_that_all_came_to_an_end_leave_counters_and_names_only(queue: Queue) -> None:
    enqueue(queue, {"done": "1", "retried": "1", "parked": "1", "back": "1", "crashed": "1"}, lease=60, attempts=3)
    enqueue(queue, {"chosen": "1"}, chosen=True, lease=60, flags=Flags.USE_DEAD | Flags.WATCHED)
    enqueue(queue, {"cancelled": "1"}, delay=MINUTE)
    enqueue(queue, {"soon": "1"}, delay=1)
    fire(queue, "daily", "", 5, id="fired", early=True)
    cancel(queue, "cancelled", keep_for=5000, outcome='{"state":"cancelled"}')
    tokens = {id: token for _, id, token, _ in cycle(queue).claimed}
    assert fail(queue, "retried", tokens.pop("retried")) == "ready"
    assert fail(queue, "chosen", tokens.pop("chosen")) == "dead"
    assert park(queue, ("parked", tokens.pop("parked"), "t")) == ["parked"]
    release(queue, ("back", tokens.pop("back"), "unstarted"), ("crashed", tokens.pop("crashed"), "crashed"))
    assert unpark(queue, "parked") == 1
    assert redrive(queue, "dead", "chosen") == ["chosen"]
    while queue.state():
        full = [(id, token, 5000, '{"state":"done"}') for id, token in tokens.items()]
        reply = cycle(queue, full=full)
        assert reply.stale == []
        tokens = {id: token for _, id, token, _ in reply.claimed}
    assert queue.lasting() == {"stats", "schedules", "queues"}
    assert queue.index() == {"priority": float("inf"), "ready": None, "due": None}
    stats = queue.stats()
    assert (stats["seen"], stats["done"], stats["cancelled"]) == (9, 8, 1)


@pytest.mark.any_server
def test_items_that_all_came_to_an_end_leave_counters_and_names_only(items: Queue) -> None:
    enqueue(items, {f"id{n}": "[]" for n in range(9)}, attempts=2)
    enqueue(items, {"later": "[]"}, delay=1)
    enqueue(items, {"dropped": "1"}, attempts=1)
    first = lease(items, 4, MINUTE)
    fail(items, "id0", 1)
    release(items, ("id1", 1, "interrupted"), ("id2", 1, "crashed"))
    assert ack(items, ("id3", 1), ("id2", 1)) == ["id3"]
    assert len(first.items) == 4
    while items.state():
        haul = lease(items, 3, MINUTE)
        for id, token, _ in haul.items:
            assert ack(items, (id, token)) == [id] if id != "dropped" else fail(items, id, token, keep=0) == "failed"
    assert items.lasting() == {"stats", "data_queues"}
    stats = items.stats()
    assert (stats["seen"], stats["done"], stats["failed"]) == (11, 10, 1)


@pytest.mark.any_server
def test_the_token_grows_whenever_a_lease_ends_without_an_ack_and_never_else(queue: Queue) -> None:
    enqueue(queue, {"a": "1"}, lease=60, attempts=99, flags=Flags.USE_DEAD)
    tokens = []

    def claim() -> int:
        [[_, _, token, _]] = cycle(queue, number=queue.number()).claimed
        tokens.append(token)
        for stale in range(1, token):
            assert ack(queue, ("a", stale)) == []
        return token

    fail(queue, "a", claim())
    fail(queue, "a", claim(), delay=1)
    queue.client.zadd(queue.keys.scheduled, {"a": queue.clock.start - 1})
    release(queue, ("a", claim(), "unstarted"))
    release(queue, ("a", claim(), "interrupted"))
    release(queue, ("a", claim(), "crashed"))
    claim()
    queue.client.zadd(queue.keys.leased, {"a": queue.clock.start - 1})
    park(queue, ("a", claim(), "t"))
    unpark(queue, "a")
    fail(queue, "a", claim(), reason="undecodable")
    redrive(queue, "dead")
    assert ack(queue, ("a", claim())) == ["a"]
    assert tokens == list(range(1, 10))
    assert queue.state() == {}


def test_a_message_keeps_its_bytes_through_every_move(queue: Queue) -> None:
    body = '["t",[[],{},9223372036854775808,0.30000000000000004,"\\u0000ü|"],{}]'
    enqueue(queue, {"a": body}, lease=60, attempts=99, flags=Flags.USE_DEAD)
    before = queue.message("a")
    moves = [
        lambda token: fail(queue, "a", token),
        lambda token: release(queue, ("a", token, "interrupted")),
        lambda token: (park(queue, ("a", token, "t")), unpark(queue, "a")),
        lambda token: (fail(queue, "a", token, reason="undecodable"), redrive(queue, "dead")),
    ]
    for move in moves:
        [[_, _, token, message]] = cycle(queue).claimed
        assert message == before
        move(token)
    assert cycle(queue).claimed[0][3] == before


def test_messages_of_two_sessions_and_two_kinds_of_queue_never_mix(queue: Queue) -> None:
    data = Queue(queue.client, queue.name, "data", like=queue)
    enqueue(queue, {"a": '"task"'})
    enqueue(data, {"a": '"item"'})
    assert lease(data, 9, 0).items[0][2].endswith('"item"')
    assert cycle(queue).claimed[0][3].endswith('"task"')
