"""clear.lua: what waits, runs or is parked is deleted; the queue may be forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from tests.redis.calls import ack
from tests.redis.harness import Queue

MINUTE = 60_000


def clear(queue: Queue, limit: int = 100, *, forget: bool = False, number: int | None = None) -> Any:
    index = queue.index_keys or (queue.app.data_queues,)
    words = [number or queue.number(), queue.name, limit, int(forget)]
    return queue.call("clear", [queue.memo, queue.keys.schedules, *index], words)


def fill(queue: Queue) -> None:
    queue.given(
        ready=["r1", "r2", "r3"],
        scheduled={"s1": 1, "s2": MINUTE},
        leased={"l1": (MINUTE, 4)},
        parked={"p1": "t", "p2": "t"},
        dead={"d1": 0},
        counts={"r1": "2 1 0 0", "d1": "3 2 0 0"},
    )


@pytest.mark.any_server
def test_in_batches_until_only_what_was_buried_is_left(queue: Queue) -> None:
    fill(queue)
    assert clear(queue, 4) == [4, 4]
    assert queue.index_is_exact()
    assert clear(queue, 4) == [4, 0]
    assert queue.state() == {"dead": {"d1": 0}, "counts": {"d1": "3 2 0 0"}, "errors": {"d1": "dead|"}}
    assert queue.index_is_exact()
    assert clear(queue, 4) == [0, 0]
    assert ack(queue, ("l1", 4)) == []


def test_sent_twice_it_deletes_one_batch(queue: Queue) -> None:
    fill(queue)
    assert [clear(queue, 2, number=5) for _ in range(2)] == [[2, 6], [2, 6]]
    assert queue.state()["ready"] == ["r3"]


@pytest.mark.any_server
@pytest.mark.parametrize("kind", ["tasks", "data"])
def test_a_queue_that_is_empty_then_is_forgotten_if_asked(queue: Queue, kind: str) -> None:
    each = Queue(queue.client, "each", kind, like=queue)
    fill(each)
    each.client.hset(each.keys.schedules, "daily", 5)
    each.client.zadd(each.app.data_queues if kind == "data" else each.app.queues, {each.name: 0})
    assert clear(each, 5, forget=True) == [5, 3]
    assert "schedules" in each.lasting()
    assert clear(each, 5, forget=True) == [3, 0]
    assert each.lasting() == set()


def test_an_empty_queue_has_nothing_to_delete(queue: Queue) -> None:
    assert clear(queue) == [0, 0]
    assert list(queue.client.scan_iter()) == []
