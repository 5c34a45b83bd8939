"""purge.lua: buried messages are deleted for good."""

from __future__ import annotations

import pytest

from tests.redis.calls import purge
from tests.redis.harness import Queue

GRAVES = ("dead", "lost", "failed")


@pytest.mark.any_server
@pytest.mark.parametrize("grave", GRAVES)
def test_the_named_ones_leave_nothing_behind(queue: Queue, grave: str) -> None:
    queue.given(ready=["z"], counts={"a": "4 2 1 7"}, **{grave: {"a": -9, "b": -8, "c": -7}})
    assert purge(queue, grave, "c", "x", "z", "a") == ["c", "a"]
    assert queue.state() == {"ready": ["z"], grave: {"b": -8}, "errors": {"b": f"{grave}|"}}
    assert queue.stats() == {"purged": 2}


def test_without_names_the_oldest_go_at_most_the_limit(queue: Queue) -> None:
    queue.given(dead={"new": -1, "old": -9, "older": -10})
    assert purge(queue, "dead", limit=2) == ["older", "old"]
    assert queue.state()["dead"] == {"new": -1}


@pytest.mark.any_server
def test_those_go_that_were_buried_before_an_instant(queue: Queue) -> None:
    queue.given(lost={"new": -1, "old": -9, "older": -10})
    assert purge(queue, "lost", before=-10) == []
    assert purge(queue, "lost", before=-1, limit=1) == ["older"]
    assert purge(queue, "lost", before=-1) == ["old"]
    assert queue.state()["lost"] == {"new": -1}


def test_an_empty_grave_has_nothing_to_delete(queue: Queue) -> None:
    queue.given(ready=["a"], lost={"b": 0})
    there = queue.snapshot()
    assert purge(queue, "dead") == purge(queue, "dead", "a", "b") == []
    assert queue.snapshot() == there


def test_sent_twice_it_deletes_one_batch(queue: Queue) -> None:
    queue.given(dead={"a": -9, "b": -8})
    assert [purge(queue, "dead", limit=1, number=5) for _ in range(2)] == [["a"], ["a"]]
    assert queue.state()["dead"] == {"b": -8}
