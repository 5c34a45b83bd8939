"""parked.lua: which messages are parked in some queues."""

from __future__ import annotations

from typing import Any

import pytest

from tests.redis.harness import Queue


def parked(*queues: Queue, limit: int = 1000) -> Any:
    return queues[0].run("parked", [queue.keys.parked for queue in queues], [limit])


@pytest.mark.any_server
def test_each_queue_that_has_any_tells_ids_and_task_names(queue: Queue) -> None:
    other, empty = Queue(queue.client, "other", like=queue), Queue(queue.client, "empty", like=queue)
    queue.given(parked={"a": "send"})
    other.given(parked={"b": "größer"}, ready=["c"])
    there = queue.snapshot()
    assert parked(empty, other, queue) == [[2, "b", "größer"], [3, "a", "send"]]
    assert queue.snapshot() == there


def test_none_are_none(queue: Queue) -> None:
    assert parked(queue) == []


def test_of_many_about_the_limit_is_told(queue: Queue) -> None:
    queue.client.hset(queue.keys.parked, mapping={f"id{n:05}-{'x' * 70}": "t" for n in range(2000)})
    [answer] = parked(queue, limit=100)
    assert 200 <= len(answer) - 1 < 1000
