"""census.lua: how much is where, and what the index says, at one instant."""

from __future__ import annotations

import pytest

from rpqueue.protocol.checkups import Census, census
from tests.redis.harness import Queue, run


def taken(queue: Queue) -> Census:
    index = queue.index_keys or (queue.app.data_queues,)
    operation = census(queue.keys, index)
    return operation.read(run(queue.client, "census", operation.keys, operation.args))


@pytest.mark.any_server
def test_of_nothing_there_is_nothing(queue: Queue) -> None:
    found = taken(queue)
    assert found.now > queue.clock.start - 1000
    assert found[1:] == (0,) * 10 + (None,) * 5
    assert found.is_empty


@pytest.mark.any_server
def test_everything_is_counted(queue: Queue) -> None:
    queue.given(ready=["a", "b"], scheduled={"c": 5000}, leased={"d": (9000, 2), "e": (7000, 1)}, parked={"f": "t"})
    queue.given(dead={"g": 0}, lost={"h": 0}, failed={"i": 0})
    queue.client.zadd(queue.app.queues, {queue.name: 3})
    found = taken(queue)
    assert found[1:11] == (9, 2, 1, 2, 1, 1, 1, 1, 1, 3)
    assert found.placed == found.messages == 9
    start = queue.clock.start
    assert (found.first_due, found.first_expiry) == (start + 5000, start + 7000)
    assert (found.priority, found.ready_priority, found.due_at) == (3, float("inf"), start + 5000)
    assert not found.is_empty


def test_of_a_data_queue_it_tells_whether_it_is_listed(items: Queue) -> None:
    assert taken(items).priority is None
    items.client.zadd(items.app.data_queues, {items.name: 0})
    assert taken(items).priority == 0
