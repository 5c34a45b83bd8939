"""measure.lua: how many messages a consumer would get now, and how many it would not yet."""

from __future__ import annotations

from typing import Any

import pytest

from tests.redis.harness import Queue

MINUTE = 60_000


def measure(queue: Queue, limit: int = 100) -> Any:
    return queue.call("measure", queue.index_keys, [limit, queue.name, queue.kind, 3, 0])


@pytest.mark.any_server
def test_due_and_expired_messages_count_as_what_they_become(items: Queue) -> None:
    items.given(ready=["r"], scheduled={"s": -1, "later": MINUTE}, leased={"l": (MINUTE, 1)}, parked={"p": "t"})
    items.given(leased={"again": (-2, 1)}, attempts=2)
    items.given(leased={"spent": (-1, 1)})
    assert measure(items) == [3, 2]
    assert items.state()["ready"] == ["r", "s", "again"]
    assert items.wakes() == (True, False)


def test_an_empty_queue_holds_nothing(items: Queue) -> None:
    assert measure(items) == [0, 0]
    assert list(items.client.scan_iter()) == []


def test_what_is_over_the_limit_counts_as_available(queue: Queue) -> None:
    queue.given(scheduled={"a": -3, "b": -2, "c": MINUTE})
    assert measure(queue, limit=1) == [2, 1]
    assert queue.state() == {"ready": ["a"], "scheduled": {"b": -2, "c": MINUTE}}
    assert queue.index_is_exact()
    assert queue.wakes() == (True, True)


def test_nothing_that_moves_wakes_nobody(queue: Queue) -> None:
    queue.given(ready=["a"], leased={"b": (MINUTE, 1)})
    there = queue.snapshot()
    assert measure(queue) == [1, 1]
    assert queue.snapshot() == there
