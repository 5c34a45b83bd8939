"""force.lua: scheduled messages are ready before they are due."""

from __future__ import annotations

import pytest

from tests.redis.harness import Queue

MINUTE = 60_000


def force(queue: Queue, limit: int = 100) -> int:
    return queue.call("force", queue.index_keys, [queue.name, limit])


@pytest.mark.any_server
def test_the_earliest_go_behind_what_is_ready_at_most_the_limit(queue: Queue) -> None:
    queue.given(ready=["r"], scheduled={"c": 3 * MINUTE, "b": 2 * MINUTE, "a": MINUTE})
    assert force(queue, 2) == 2
    assert queue.state() == {"ready": ["r", "a", "b"], "scheduled": {"c": 3 * MINUTE}}
    assert queue.index_is_exact()
    assert queue.wakes() == (True, True)
    assert force(queue, 2) == 1, "sent twice, it moves the next ones"
    assert queue.index_is_exact()


def test_without_scheduled_messages_nothing_is_written(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    there = queue.snapshot()
    assert force(queue) == 0
    assert queue.snapshot() == there


def test_a_data_queue_has_no_index(items: Queue) -> None:
    items.given(scheduled={"a": MINUTE})
    assert force(items) == 1
    assert items.state() == {"ready": ["a"]}
    assert items.wakes() == (True, False)
