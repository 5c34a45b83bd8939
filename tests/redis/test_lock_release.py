"""lock_release.lua: the holder gives the lock back; nobody else can."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from rpqueue.keys import Keys, lock_memo
from rpqueue.protocol import locks
from tests.redis.harness import run

KEY = Keys("test").lock("reports")


def release(client: redis.Redis, token: str, number: int = 1) -> Any:
    return run(client, "lock_release", [KEY, lock_memo(KEY, b"session")], [number, token])


@pytest.mark.any_server
def test_a_held_lock_is_free_afterwards(redis_client: redis.Redis) -> None:
    redis_client.set(KEY, "mine", px=5_000)
    assert release(redis_client, "mine") == 1
    assert not redis_client.exists(KEY)


@pytest.mark.any_server
def test_the_lock_of_somebody_else_is_not_released(redis_client: redis.Redis) -> None:
    redis_client.set(KEY, "theirs", px=5_000)
    assert release(redis_client, "mine") == 0
    assert redis_client.get(KEY) == b"theirs"


def test_sent_twice_it_takes_nothing_from_the_next_holder(redis_client: redis.Redis) -> None:
    redis_client.set(KEY, "mine", px=5_000)
    assert release(redis_client, "mine") == 1
    redis_client.set(KEY, "theirs", px=5_000)
    assert release(redis_client, "mine") == 1, "the answer of then"
    assert release(redis_client, "mine", number=2) == 0
    assert redis_client.get(KEY) == b"theirs"


def test_a_lock_that_nobody_holds_is_not_released(redis_client: redis.Redis) -> None:
    assert release(redis_client, "mine") == 0


def test_the_operation_answers_whether_it_was_held() -> None:
    operation = locks.release(KEY, b"mine")
    assert (operation.keys, operation.args) == ((KEY,), (b"mine",))
    assert operation.read(1) is True
    assert operation.read(0) is False
