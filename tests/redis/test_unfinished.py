"""unfinished.lua: all that waits or runs, at one instant."""

from __future__ import annotations

import pytest

from tests.redis.harness import Queue


@pytest.mark.any_server
def test_ready_scheduled_and_leased_ids_in_their_order(queue: Queue) -> None:
    assert queue.call("unfinished", [], []) == [[], [], []]
    queue.given(
        ready=["z", "a"],
        scheduled={"s2": 20, "s1": 10},
        leased={"l2": (-1, 1), "l1": (-2, 1)},
        parked={"p": "t"},
        dead={"d": 0},
    )
    there = queue.snapshot()
    assert queue.call("unfinished", [], []) == [["z", "a"], ["s1", "s2"], ["l1", "l2"]]
    assert queue.snapshot() == there
