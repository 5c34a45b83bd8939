"""find.lua: which queues know a message."""

from __future__ import annotations

from typing import Any

import pytest

from tests.redis.harness import Queue


def find(queues: list[Queue], id: str) -> Any:
    keys = [key for each in queues for key in (each.keys.messages, each.keys.outcome(id))]
    return queues[0].run("find", keys, [id])


@pytest.mark.any_server
def test_queues_that_hold_the_message_or_its_outcome_are_told_in_order(queue: Queue) -> None:
    held, done = Queue(queue.client, "held", like=queue), Queue(queue.client, "done", like=queue)
    held.given(ready=["a", "b"])
    done.client.set(done.keys.outcome("a"), '{"state":"done"}', ex=60)
    before = queue.snapshot()
    assert find([queue, held, done], "a") == [2, 3]
    assert find([done, queue, held], "b") == [3]
    assert find([queue], "a") == []
    assert queue.snapshot() == before


def test_a_message_that_died_is_found(queue: Queue) -> None:
    queue.given(dead={"a": 5})
    assert find([queue], "a") == [1]
