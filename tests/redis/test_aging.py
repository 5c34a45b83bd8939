"""aging.lua: in which queues something was given up long ago, or too much of it."""

from __future__ import annotations

import pytest

from tests.redis.calls import aging
from tests.redis.harness import Queue

DAY = 86_400_000


@pytest.mark.any_server
def test_the_queues_are_told_that_have_something_to_go(queue: Queue) -> None:
    others = [Queue(queue.client, name, like=queue) for name in ("empty", "old", "many")]
    queue.given(dead={"a": 0})
    others[1].given(lost={"b": -DAY})
    others[2].given(failed={"c": 0, "d": 0})
    there = queue.snapshot()
    bounds = {"dead": (DAY, 1), "lost": (DAY - 1000, -1), "failed": (0, 1)}
    assert aging(queue, *others, **bounds) == [3, 4]
    assert aging(queue, *others) == []
    assert queue.snapshot() == there
