"""oldest.lua: what was buried first, over several queues."""

from __future__ import annotations

from tests.redis.harness import Queue


def test_graves_are_merged_by_age_at_most_the_limit(queue: Queue) -> None:
    other = Queue(queue.client, "other", like=queue)
    queue.given(dead={"b": -8, "a": -10, "z": -1})
    other.given(dead={"c": -9, "d": -8})
    there, start = queue.snapshot(), queue.clock.start
    graves = [queue.keys.dead, other.keys.dead, queue.keys.lost]
    order = [[1, "a", -10], [2, "c", -9], [1, "b", -8], [2, "d", -8], [1, "z", -1]]
    for limit in (2, 4, 9):
        expected = [[grave, id, str(start + at)] for grave, id, at in order[:limit]]
        assert queue.run("oldest", graves, [limit]) == expected
    assert queue.run("oldest", [queue.keys.lost], [9]) == []
    assert queue.snapshot() == there
