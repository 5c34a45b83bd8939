"""quarantine.lua: what its reader could not decode is buried byte for byte."""

from __future__ import annotations

from typing import Any

import pytest

from tests.redis.calls import lease
from tests.redis.harness import Queue

MINUTE = 60_000


def quarantine(queue: Queue, *messages: tuple[str, int | str, str], number: int | None = None) -> Any:
    words = [queue.name, *(word for message in messages for word in (*message, '{"exception":"Bad"}'))]
    return queue.call("quarantine", [queue.memo, *queue.index_keys], [number or queue.number(), *words])


@pytest.mark.any_server
def test_held_messages_and_taken_ones_are_buried_as_they_were(items: Queue) -> None:
    items.given(leased={"a": (MINUTE, 3), "b": (MINUTE, 2)})
    before = items.message("a")
    assert quarantine(items, ("a", 3, ""), ("b", 1, ""), ("taken", "", "1 5|no json")) == ["a", "taken"]
    assert items.message("a") == before
    assert items.message("taken") == "1 5|no json"
    state = items.state()
    assert state["dead"] == {"a": items.after(), "taken": items.after()}
    assert state["leased"] == {"b": (MINUTE, 2)}
    assert state["errors"] == dict.fromkeys(("a", "taken"), 'undecodable|{"exception":"Bad"}')
    assert state["counts"]["a"] == "4 1 0 0"


def test_sent_twice_it_buries_once(items: Queue) -> None:
    items.given(ready=["a"])
    [[_, _, message]] = lease(items, 1, 0).items
    assert [quarantine(items, ("a", "", message), number=5) for _ in range(2)] == [["a"], ["a"]]
    assert items.stats()["dead"] == 1


def test_a_stale_token_changes_nothing(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 2)})
    there = queue.snapshot()
    assert quarantine(queue, ("a", 1, "")) == []
    assert queue.snapshot() == there


def test_an_id_that_is_in_use_again_is_left_alone(items: Queue) -> None:
    items.given(ready=["a"])
    there = items.snapshot()
    assert quarantine(items, ("a", "", "1 5|no json")) == []
    assert items.snapshot() == there


def test_the_index_knows_that_the_lease_has_ended(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    assert quarantine(queue, ("a", 1, "")) == ["a"]
    assert queue.index_is_exact()
