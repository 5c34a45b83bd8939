"""lock_refresh.lua: the holder holds on; nobody else changes anything."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from rpqueue.keys import Keys
from rpqueue.protocol import locks
from tests.redis.harness import run

KEY = Keys("test").lock("reports")
MINUTE = 60_000


def refresh(client: redis.Redis, token: str, ttl: int = MINUTE) -> Any:
    return run(client, "lock_refresh", [KEY], [token, ttl])


@pytest.mark.any_server
def test_a_held_lock_ends_the_given_time_from_now(redis_client: redis.Redis) -> None:
    redis_client.set(KEY, "mine", px=5_000)
    for _ in range(2):  # and sending it twice does no harm
        assert refresh(redis_client, "mine") == 1
        assert redis_client.get(KEY) == b"mine"
        assert 50_000 < redis_client.pttl(KEY) <= MINUTE


def test_a_shorter_time_is_taken_too(redis_client: redis.Redis) -> None:
    redis_client.set(KEY, "mine", px=MINUTE)
    assert refresh(redis_client, "mine", ttl=5_000) == 1
    assert 0 < redis_client.pttl(KEY) <= 5_000


@pytest.mark.any_server
def test_the_lock_of_somebody_else_is_not_refreshed(redis_client: redis.Redis) -> None:
    redis_client.set(KEY, "theirs", px=5_000)
    assert refresh(redis_client, "mine") == 0
    assert redis_client.get(KEY) == b"theirs"
    assert redis_client.pttl(KEY) <= 5_000


def test_a_lock_that_ended_is_not_brought_back(redis_client: redis.Redis) -> None:
    assert refresh(redis_client, "mine") == 0
    assert not redis_client.exists(KEY)


def test_the_operation_speaks_in_seconds() -> None:
    operation = locks.refresh(KEY, b"mine", 0.001)
    assert (operation.keys, operation.args) == ((KEY,), (b"mine", "1"))
    assert operation.read(1) is True
    assert operation.read(0) is False
