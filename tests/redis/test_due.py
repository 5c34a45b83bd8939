"""due.lua: how much could be run at once, in several queues."""

from __future__ import annotations

import pytest

from rpqueue.protocol.workers import due
from tests.redis.cases import send
from tests.redis.harness import Queue

MINUTE = 60_000


@pytest.mark.any_server
def test_what_is_ready_due_or_let_go_counts_and_what_is_later_or_held_does_not(queue: Queue) -> None:
    other = Queue(queue.client, "other", like=queue)
    queue.given(
        ready=["a", "b"],
        scheduled={"c": MINUTE, "d": -1},
        leased={"e": (MINUTE, 1), "f": (-1, 2)},
        parked={"g": "t"},
        dead={"h": 0},
    )
    other.given(ready=["i"])
    there = queue.snapshot()
    assert send(queue.client, due([queue.keys])) == 4
    assert send(queue.client, due([queue.keys, other.keys])) == 5
    assert queue.snapshot() == there


def test_a_key_of_a_wrong_type_counts_as_empty(queue: Queue) -> None:
    other = Queue(queue.client, "other", like=queue)
    other.given(ready=["a"])
    for key in (queue.keys.ready, queue.keys.scheduled, queue.keys.leased):
        queue.client.set(key, "odd")
    assert send(queue.client, due([queue.keys, other.keys])) == 1


def test_of_no_queue_it_is_none(queue: Queue) -> None:
    assert send(queue.client, due([])) == 0
