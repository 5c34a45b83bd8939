"""dead_take.lua: dead messages that were shown are taken out of Redis."""

from __future__ import annotations

from typing import Any

import pytest

from tests.redis.harness import Queue


def take(queue: Queue, *dead: tuple[str, int], number: int | None = None) -> Any:
    words = [word for id, died in dead for word in (id, queue.clock.start + died)]
    return queue.call("dead_take", [queue.memo], [number or queue.number(), *words])


@pytest.mark.any_server
def test_what_died_when_it_is_said_to_is_removed_whole(items: Queue) -> None:
    items.given(dead={"a": -9, "b": -8, "c": -7}, counts={"a": "2 1 0 0"}, lost={"d": -6})
    assert take(items, ("b", -8), ("a", -9), ("c", -1), ("d", -6), ("x", 0)) == ["b", "a"]
    assert items.state() == {"dead": {"c": -7}, "lost": {"d": -6}, "errors": {"c": "dead|", "d": "lost|"}}


def test_sent_twice_it_takes_once_and_spares_what_died_since(items: Queue) -> None:
    items.given(dead={"a": -9})
    assert take(items, ("a", -9), number=5) == ["a"]
    items.given(dead={"a": -9})
    assert take(items, ("a", -9), number=5) == ["a"]
    assert list(items.state()["dead"]) == ["a"]


def test_a_message_that_is_alive_again_is_left_alone(items: Queue) -> None:
    items.given(ready=["a"])
    there = items.snapshot()
    assert take(items, ("a", -9)) == []
    assert items.snapshot() == there
