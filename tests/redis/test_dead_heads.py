"""dead_heads.lua: how many dead messages several queues hold, and since when."""

from __future__ import annotations

from tests.redis.harness import Queue


def test_each_dead_set_is_counted_with_its_oldest_death(items: Queue) -> None:
    other = Queue(items.client, "other", "data", like=items)
    items.given(dead={"a": -5, "b": -9})
    there = items.snapshot()
    reply = items.run("dead_heads", [other.keys.dead, items.keys.dead], [])
    assert reply == [0, "0", 2, str(items.clock.start - 9)]
    assert items.snapshot() == there
