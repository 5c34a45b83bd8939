"""lock_acquire.lua: a lock that nobody holds is taken."""

from __future__ import annotations

from typing import Any

import pytest

from rpqueue.keys import Keys
from tests.redis.harness import Queue

LOCK = Keys("test").lock("door")


def acquire(queue: Queue, token: str, ttl: int = 5000) -> Any:
    return queue.run("lock_acquire", [LOCK], [token, ttl])


@pytest.mark.any_server
def test_one_holds_it_and_others_are_told_how_long(queue: Queue) -> None:
    assert acquire(queue, "mine") == 0
    assert 0 < acquire(queue, "other", 60_000) <= 5000
    assert queue.client.get(LOCK) == b"mine"
    assert 0 < queue.client.pttl(LOCK) <= 5000


def test_sent_twice_it_is_held_once_for_the_first_time_given(queue: Queue) -> None:
    assert [acquire(queue, "mine"), acquire(queue, "mine", 60_000)] == [0, 0]
    assert queue.client.pttl(LOCK) <= 5000


def test_a_lock_that_has_ended_can_be_taken(queue: Queue) -> None:
    acquire(queue, "mine")
    queue.client.pexpireat(LOCK, 1)
    assert acquire(queue, "other") == 0
