"""priority.lua: queues go by their priority, the lowest first."""

from __future__ import annotations

import pytest

from tests.redis.calls import cycle, enqueue
from tests.redis.harness import Queue

pytestmark = pytest.mark.one_server("priorities of queues there are a plain ZADD")


def priority(queue: Queue, value: str) -> int:
    return queue.run("priority", queue.index_keys[:2], [queue.name, value])


@pytest.mark.parametrize(
    ("before", "value", "reply", "known"),
    [(None, "3", 1, 3), (5, "-1.5", 1, -1.5), (5, "inf", 1, float("inf")), (None, "inf", 0, None)],
    ids=["unknown", "another", "none any more", "none, and unknown"],
)
def test_a_queue_is_known_by_its_priority(
    queue: Queue, before: float | None, value: str, reply: int, known: float | None
) -> None:
    if before is not None:
        queue.client.zadd(queue.app.queues, {queue.name: before})
    for _ in range(2):
        assert priority(queue, value) == reply
        assert queue.index() == {"priority": known, "ready": None, "due": None}


@pytest.mark.any_server
def test_ready_queues_change_their_order_at_once(queue: Queue) -> None:
    other = Queue(queue.client, "other", like=queue)
    for each in (queue, other):
        enqueue(each, {each.name: "1"})
    priority(other, "1")
    assert cycle(queue, wanted=0).ready == ["other", "1", "mail", "inf"]
    priority(other, "inf")
    assert cycle(queue, wanted=0).ready == ["mail", "inf", "other", "inf"]
