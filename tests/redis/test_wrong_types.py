"""A key that holds something else than rpqueue put there: an error, and the call has changed nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.redis import calls
from tests.redis.harness import SESSION, Queue

MINUTE = 60_000
ALL = "messages ready scheduled leased counts dead lost failed errors parked"

#: The call, and the keys whose type it finds out before it writes.
CALLS: dict[str, tuple[Callable[[Queue], Any], str]] = {
    "enqueue": (lambda queue: calls.enqueue(queue, {"n": "1"}), "messages ready"),
    "enqueue for later": (
        lambda queue: calls.enqueue(queue, {"n": "1"}, delay=5000),
        "messages ready scheduled leased",
    ),
    "enqueue a chosen id": (lambda queue: calls.enqueue(queue, {"n": "1"}, chosen=True), ALL),
    "lease": (lambda queue: calls.lease(queue, 1, MINUTE), "messages ready scheduled leased counts"),
    "take": (lambda queue: calls.lease(queue, 1, 0), "messages ready scheduled leased counts"),
    "promote": (lambda queue: calls.lease(_late(queue, "scheduled"), 0, MINUTE), "ready scheduled"),
    "reap": (lambda queue: calls.lease(_late(queue, "leased"), 0, MINUTE), ALL),
    "ack": (lambda queue: calls.ack(queue, ("l", 1)), "leased counts"),
    "extend": (lambda queue: calls.extend(queue, 5000, ("l", 1, 0)), "leased counts"),
    "fail": (lambda queue: calls.fail(queue, "l", 1), ALL),
    "release": (lambda queue: calls.release(queue, ("l", 1, "crashed")), ALL),
    "quarantine": (
        lambda queue: queue.call("quarantine", [queue.memo, *queue.index_keys], [1, queue.name, "l", 1, "", "{}"]),
        ALL,
    ),
    "park": (lambda queue: calls.park(queue, ("l", 1, "t")), ALL),
    "unpark": (lambda queue: calls.unpark(queue, "p"), ALL),
    "redrive": (lambda queue: calls.redrive(queue, "dead"), ALL),
    "cancel": (lambda queue: calls.cancel(queue, "s"), ALL),
    "redrive at a rate": (lambda queue: calls.redrive(queue, "any", step=5), ALL),
    "purge": (lambda queue: calls.purge(queue, "dead"), ALL),
    "delete": (lambda queue: calls.delete(queue, "d"), ALL),
    "reschedule": (lambda queue: calls.reschedule(queue, "s", 0), ALL),
    "retire": (lambda queue: calls.retire(queue, dead=(0, 0)), ALL),
    "force": (lambda queue: queue.call("force", queue.index_keys, [queue.name, 10]), ALL),
    "clear": (
        lambda queue: queue.call(
            "clear", [queue.memo, queue.keys.schedules, *queue.index_keys], [1, queue.name, 1000, 0]
        ),
        ALL,
    ),
    "put back": (
        lambda queue: queue.call(
            "put_back", [queue.memo, *queue.index_keys], [1, queue.name, "ready", "n", "1 5|1", "", "0", ""]
        ),
        ALL,
    ),
    "fire": (lambda queue: calls.fire(queue, "daily", "", 1, id="n"), ALL),
}
CASES = [(name, key) for name, (_, keys) in CALLS.items() for key in keys.split()]


def _late(queue: Queue, place: str) -> Queue:
    """Its message in that place is due, or its lease has ended."""
    key = getattr(queue.keys, place)
    if queue.client.type(key) == b"zset":
        queue.client.zadd(key, {place[0]: queue.clock.start - 1})
    return queue


def spoil(client: redis.Redis, key: bytes) -> None:
    client.delete(key)
    client.set(key, "somebody else's", px=MINUTE)


def given(queue: Queue) -> None:
    queue.given(
        ready=["r"],
        scheduled={"s": MINUTE},
        leased={"l": (MINUTE, 1)},
        parked={"p": "t"},
        dead={"d": 0},
        counts={"d": "2 1 0 0"},
        lease=60,
        attempts=5,
    )


@pytest.mark.parametrize(("name", "key"), CASES)
def test_an_error_and_nothing_written(queue: Queue, name: str, key: str) -> None:
    given(queue)
    if name in ("promote", "reap"):
        _late(queue, "scheduled" if name == "promote" else "leased")
    spoil(queue.client, getattr(queue.keys, key))
    there = queue.snapshot()
    with pytest.raises(redis.exceptions.ResponseError, match="WRONGTYPE"):
        CALLS[name][0](queue)
    assert queue.snapshot() == there


@pytest.mark.any_server
@pytest.mark.parametrize("key", ["messages", "ready", "scheduled", "leased", "counts"])
def test_a_round_passes_over_a_queue_with_such_a_key_and_serves_the_others(queue: Queue, key: str) -> None:
    given(queue)
    other = Queue(queue.client, "sms", like=queue).given(ready=["a"], leased={"b": (MINUTE, 1)})
    spoil(queue.client, getattr(queue.keys, key))
    there = mine(queue)
    reply = calls.cycle(queue, other, acks={"sms": (["b"], ())}, indexed=2)
    assert [lease[:2] for lease in reply.claimed] == [[2, "a"]]
    [[number, text]] = reply.spoilt
    assert (number, "WRONGTYPE" in text) == (1, True)
    assert mine(queue) == there
    assert list(other.state()["leased"]) == ["a"]
    # It is out of the others' way, and looked at again soon.
    assert queue.index()["ready"] is None
    assert queue.index()["due"] == queue.after(5000)


def test_an_ack_without_effect_leaves_the_lease_as_it_was(queue: Queue) -> None:
    given(queue)
    spoil(queue.client, queue.keys.counts)
    there = mine(queue)
    assert [number for number, _ in calls.cycle(queue, done=["l"]).spoilt] == [1]
    assert mine(queue) == there


def mine(queue: Queue) -> dict[bytes, Any]:
    """What lies under the queue's own keys."""
    return {key: value for key, value in queue.snapshot().items() if key.startswith(queue.keys.stem)}


@pytest.mark.parametrize("key", ["queues", "ready_queues", "due_queues", "wake"])
@pytest.mark.parametrize("indexed", [1, 2])
def test_work_goes_on_where_a_key_of_the_index_is_of_a_wrong_type(queue: Queue, key: str, indexed: int) -> None:
    queue.given(ready=["a"], leased={"b": (MINUTE, 1)})
    spoil(queue.client, getattr(queue.app, key))
    calls.enqueue(queue, {"c": "1"})
    for wanted, expected in ((1, ["a"]), (10, ["c"])):
        reply = calls.cycle(queue, done=["b"], indexed=indexed, wanted=wanted)
        assert reply.ids == expected
        assert [number for number, _ in reply.spoilt] == ([] if key == "wake" else [0])
    queue.client.delete(queue.keys.ready, getattr(queue.app, key))
    calls.enqueue(queue, {"d": "1"})
    assert calls.cycle(queue).ids == ["d"]
    assert queue.index_is_exact()


def test_what_cannot_be_counted_is_done_all_the_same(queue: Queue) -> None:
    spoil(queue.client, queue.keys.stats)
    calls.enqueue(queue, {"a": "1", "b": "2"})
    assert calls.cycle(queue).ids == ["a", "b"]
    assert calls.ack(queue, ("a", 1)) == ["a"]
    assert calls.fail(queue, "b", 1) == "failed"
    assert list(queue.state()["failed"]) == ["b"]


def test_a_memo_of_a_wrong_type_is_overwritten(queue: Queue) -> None:
    queue.given(ready=["a"])
    for memo in (queue.app.memo(SESSION), queue.keys.memo(SESSION)):
        queue.client.rpush(memo, "somebody else's")
        queue.client.pexpire(memo, MINUTE)
    assert calls.cycle(queue, number=5).ids == ["a"]
    assert calls.cycle(queue, number=5).ids == ["a"]
    assert calls.ack(queue, ("a", 1)) == ["a"]
