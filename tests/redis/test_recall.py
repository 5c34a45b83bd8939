"""recall.lua: what a round leased whose reply nobody read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.redis.calls import ack, cycle, rows
from tests.redis.harness import SESSION, Queue


def recall(queue: Queue, number: int, *, died: bool = True) -> Any:
    answer = queue.run("recall", [queue.app.memo(SESSION)], [number, int(died)])
    return [[name, *row[:2]] for name, _, ids, again in answer for row in rows(ids, ids, again)]


@pytest.mark.any_server
def test_the_leases_of_the_round_by_the_names_of_their_queues(queue: Queue) -> None:
    other = Queue(queue.client, "other", like=queue)
    queue.given(ready=["a"], counts={"a": "3 1 0 0"}, lease=60, attempts=9)
    other.given(ready=["b"])
    cycle(other, queue, number=5)
    there = queue.snapshot()
    assert recall(queue, 5) == [["other", "b", 1], ["mail", "a", 3]]
    assert queue.snapshot() == there
    assert ack(queue, ("a", 3)) == ["a"]


def test_of_another_round_nothing_is_known(queue: Queue) -> None:
    queue.given(ready=["a"])
    cycle(queue, number=5)
    cycle(queue, number=6)
    assert recall(queue, 6) == []
    queue.given(ready=["b"])
    cycle(queue, number=55)
    assert recall(queue, 55) == [["mail", "b", 1]]
    assert recall(queue, 5) == []


@pytest.mark.any_server
def test_a_round_that_comes_after_it_was_recalled_changes_nothing(queue: Queue) -> None:
    queue.given(ready=["a"], leased={"b": (60_000, 1)})
    assert recall(queue, 5) == []
    there = queue.state()
    late = cycle(queue, done=["b"], number=5)
    assert (late.claimed, late.stale) == ([], [])
    assert queue.state() == there
    assert 0 < queue.client.pttl(queue.app.memo(SESSION)) <= 60_000
    assert cycle(queue, done=["b"], number=6).ids == ["a"]


def test_a_round_of_a_living_worker_that_is_asked_for_early_still_does_its_work(queue: Queue) -> None:
    queue.given(ready=["a"])
    assert recall(queue, 5, died=False) == []
    assert cycle(queue, number=5).ids == ["a"]
    assert recall(queue, 5, died=False) == [["mail", "a", 1]]
