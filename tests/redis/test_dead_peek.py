"""dead_peek.lua: the messages of one queue that died first."""

from __future__ import annotations

import pytest

from tests.redis.harness import Queue


@pytest.mark.any_server
def test_the_oldest_are_shown_with_all_that_is_known_and_stay(items: Queue) -> None:
    items.given(dead={"b": -5, "a": -9, "c": -1}, counts={"a": "4 3 0 0"}, errors={"a": 'failed|{"x":[]}'})
    items.client.hdel(items.keys.messages, "b")
    items.client.hdel(items.keys.errors, "b")
    there = items.snapshot()
    start = items.clock.start
    assert items.call("dead_peek", [], [2]) == [
        ["a", str(start - 9), items.message("a"), "4 3 0 0", f'failed {start - 9}|{{"x":[]}}'],
        ["b", str(start - 5), "", "", ""],
    ]
    assert items.snapshot() == there


def test_without_dead_messages_there_is_nothing_to_show(items: Queue) -> None:
    items.given(ready=["a"], lost={"b": 0})
    assert items.call("dead_peek", [], [9]) == []
