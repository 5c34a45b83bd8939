"""sizes.lua: how many messages are where, of several queues at once."""

from __future__ import annotations

import pytest

from tests.redis.calls import cycle
from tests.redis.harness import Queue

MINUTE = 60_000


@pytest.mark.any_server
def test_every_place_is_counted_and_nothing_written(queue: Queue) -> None:
    other = Queue(queue.client, "other", like=queue)
    empty = Queue(queue.client, "empty", like=queue)
    queue.given(
        ready=["a", "b"],
        scheduled={"c": MINUTE, "d": 1, "e": 2},
        leased={"f": (MINUTE, 1)},
        parked={"g": "t", "h": "t"},
        dead={"i": 0, "j": 0, "k": 0},
        lost={"l": 0},
        failed={"m": 0, "n": 0},
    )
    other.given(leased={"x": (MINUTE, 1)})
    cycle(other, done=["x"])
    queue.client.hset(queue.keys.stats, "retired", 4)
    there = queue.snapshot()
    now, *rows = queue.run("sizes", [*queue.keys.block, *empty.keys.block, *other.keys.block], [])
    assert queue.since_start(now) == queue.after()
    assert rows == [[2, 3, 1, 2, 3, 1, 2, 0, 0, 4, queue.clock.start], [0] * 11, [0] * 7 + [0, 1, 0, 0]]
    assert queue.snapshot() == there


def test_a_first_message_that_cannot_be_read_has_no_age(queue: Queue) -> None:
    queue.given(ready=["a"])
    queue.client.hset(queue.keys.messages, "a", "9 what|")
    assert queue.run("sizes", queue.keys.block, [])[1][-1] == 0
    queue.client.delete(queue.keys.messages)
    assert queue.run("sizes", queue.keys.block, [])[1][-1] == 0
