"""unpark.lua: parked messages go back to the head of their queue."""

from __future__ import annotations

import pytest

from tests.redis.calls import cycle, unpark
from tests.redis.harness import Queue


@pytest.mark.any_server
def test_they_come_first_in_the_order_of_the_call(queue: Queue) -> None:
    queue.given(ready=["z"], parked={"a": "t", "b": "t", "c": "u"}, counts={"a": "2 0 0 0", "b": "3 1 0 0"})
    assert unpark(queue, "a", "b") == 2
    assert queue.state() == {
        "ready": ["a", "b", "z"],
        "parked": {"c": "u"},
        "counts": {"a": "2 0 0 0", "b": "3 1 0 0"},
    }
    assert queue.wakes() == (True, True)


@pytest.mark.parametrize(
    "before",
    [{"ready": ["a"]}, {"scheduled": {"a": 9000}}, {"leased": {"a": (9000, 1)}}, {"dead": {"a": 0}}, {}],
    ids=["ready", "scheduled", "leased", "dead", "unknown"],
)
def test_what_is_not_parked_stays_as_it_is(queue: Queue, before: dict) -> None:
    queue.given(**before)
    there = queue.snapshot()
    assert unpark(queue, "a", "b") == 0
    assert queue.snapshot() == there


def test_sent_twice_it_moves_each_once_and_says_so_again(queue: Queue) -> None:
    queue.given(parked={"a": "t"})
    assert [unpark(queue, "a", "a", number=number) for number in (7, 7, 8)] == [1, 1, 0]
    assert queue.state() == {"ready": ["a"]}


def test_the_index_knows_it_is_ready(queue: Queue) -> None:
    queue.client.zadd(queue.app.queues, {"mail": 4})
    queue.given(parked={"a": "t"})
    unpark(queue, "a")
    assert queue.index() == {"priority": 4, "ready": 4, "due": None}
    assert cycle(queue).ids == ["a"]
