"""relist.lua: the index says what is true of a queue."""

from __future__ import annotations

import pytest

from rpqueue.protocol.checkups import relist
from tests.redis.harness import Queue, run


def relisted(queue: Queue) -> int:
    operation = relist(queue.keys, queue.index_keys)
    return operation.read(run(queue.client, "relist", operation.keys, operation.args))


@pytest.mark.one_server("there is no index")
@pytest.mark.any_server
def test_a_queue_that_nobody_finds_is_listed_and_workers_are_woken(queue: Queue) -> None:
    queue.given(ready=["a"], scheduled={"b": 5000})
    queue.client.delete(*queue.index_keys)
    for _ in range(2):
        assert relisted(queue) == 1
        assert queue.index_is_exact()
        assert queue.index()["priority"] == float("inf")
        assert queue.wakes() == (True, True)
        queue.state()


@pytest.mark.one_server("there is no index")
def test_a_priority_stays(queue: Queue) -> None:
    queue.given(ready=["a"])
    queue.client.zadd(queue.app.queues, {queue.name: 3})
    assert relisted(queue) == 1
    assert queue.index()["ready"] == 3


@pytest.mark.one_server("there is no index")
def test_what_the_index_says_too_much_is_taken_back(queue: Queue) -> None:
    queue.client.zadd(queue.app.ready_queues, {queue.name: 3})
    queue.client.zadd(queue.app.due_queues, {queue.name: 3})
    assert relisted(queue) == 1
    assert queue.index() == {"priority": float("inf"), "ready": None, "due": None}
    assert queue.wakes() == (False, False)
