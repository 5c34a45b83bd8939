"""cycle.lua: from which queue a round claims first, and that it yields to more urgent ones that were not named."""

from __future__ import annotations

import pytest

from tests.redis.calls import cycle, enqueue
from tests.redis.harness import Queue

YIELDS = 2


@pytest.fixture
def urgent(queue: Queue) -> Queue:
    """A queue that goes before *queue*."""
    other = Queue(queue.client, "urgent", like=queue)
    queue.client.zadd(queue.app.queues, {"urgent": 1, "mail": 5})
    return other


@pytest.mark.any_server
@pytest.mark.parametrize("indexed", [1, YIELDS])
def test_it_claims_by_the_priorities_of_the_moment_whatever_the_callers_order(
    queue: Queue, urgent: Queue, indexed: int
) -> None:
    enqueue(queue, {"a": "1", "b": "2"})
    enqueue(urgent, {"c": "3"})
    assert cycle(queue, urgent, wanted=2, indexed=indexed).ids == ["c", "a"]


@pytest.mark.any_server
def test_without_the_index_the_callers_order_holds(queue: Queue, urgent: Queue) -> None:
    enqueue(queue, {"a": "1"})
    enqueue(urgent, {"c": "3"})
    assert cycle(queue, urgent, wanted=2, indexed=False).ids == ["a", "c"]


@pytest.mark.any_server
def test_it_claims_nothing_while_a_queue_that_was_not_named_goes_first(queue: Queue, urgent: Queue) -> None:
    enqueue(queue, {"a": "1"})
    enqueue(urgent, {"c": "3"})
    round_ = cycle(queue, wanted=2, indexed=YIELDS)
    assert round_.ids == []
    assert round_.ready[:2] == ["urgent", "1"]
    assert queue.wakes()[1], "somebody has to come for it"
    assert cycle(queue, urgent, wanted=2, indexed=YIELDS).ids == ["c", "a"]


@pytest.mark.any_server
def test_it_claims_nothing_while_a_due_message_of_a_queue_that_was_not_named_goes_first(
    queue: Queue, urgent: Queue
) -> None:
    enqueue(queue, {"a": "1"})
    urgent.given(scheduled={"c": -10})
    round_ = cycle(queue, wanted=2, indexed=YIELDS)
    assert round_.ids == []
    assert round_.hands == ["urgent"]
    assert cycle(queue, urgent, wanted=2, indexed=YIELDS).ids == ["c", "a"]


@pytest.mark.any_server
@pytest.mark.parametrize("other", [{"ready": ["c"]}, {"scheduled": {"c": -10}}])
def test_it_does_not_yield_to_less_urgent_or_equal_queues(queue: Queue, other: dict[str, object]) -> None:
    enqueue(queue, {"a": "1"})
    Queue(queue.client, "other", like=queue).given(**other)  # type: ignore[arg-type]
    assert cycle(queue, indexed=YIELDS).ids == ["a"]
    queue.client.zadd(queue.app.queues, {"mail": 5, "other": 6})
    queue.client.zadd(queue.app.ready_queues, {"other": 6}, xx=True)
    enqueue(queue, {"b": "1"})
    assert cycle(queue, indexed=YIELDS).ids == ["b"]


@pytest.mark.any_server
def test_it_does_not_yield_to_a_queue_that_is_due_later(queue: Queue, urgent: Queue) -> None:
    enqueue(queue, {"a": "1"})
    enqueue(urgent, {"c": "3"}, delay=60_000)
    assert cycle(queue, indexed=YIELDS).ids == ["a"]


@pytest.mark.any_server
def test_among_many_equal_queues_every_one_is_told_in_turn(queue: Queue) -> None:
    names = {f"queue {number:02}" for number in range(40)}
    for name in names:
        enqueue(Queue(queue.client, name, like=queue), {name: "1"})
    told = [cycle(queue, wanted=0).ready[::2] for _ in range(80)]
    assert all(len(set(names)) == 16 for names in told)
    counts = {name: sum(name in some for some in told) for name in names}
    assert set(counts) == names
    assert max(counts.values()) <= 2 * min(counts.values())
