"""lock_acquire.lua: a free lock is taken until it ends by itself, a held one is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from rpqueue.keys import Keys
from rpqueue.protocol import locks
from tests.redis.harness import run

KEY = Keys("test").lock("reports")
MINUTE = 60_000


def acquire(client: redis.Redis, token: str, ttl: int = MINUTE) -> Any:
    return run(client, "lock_acquire", [KEY], [token, ttl])


@pytest.mark.any_server
def test_a_free_lock_is_taken_for_the_time_given(redis_client: redis.Redis) -> None:
    assert acquire(redis_client, "mine") == 0
    assert redis_client.get(KEY) == b"mine"
    assert 0 < redis_client.pttl(KEY) <= MINUTE
    assert redis_client.pttl(KEY) > MINUTE - 10_000


@pytest.mark.any_server
def test_a_held_lock_stays_with_its_holder_and_says_how_long(redis_client: redis.Redis) -> None:
    redis_client.set(KEY, "theirs", px=30_000)
    assert 20_000 < acquire(redis_client, "mine") <= 30_000
    assert redis_client.get(KEY) == b"theirs"
    assert redis_client.pttl(KEY) <= 30_000


def test_sent_twice_it_answers_the_holder_the_same(redis_client: redis.Redis) -> None:
    redis_client.set(KEY, "mine", px=30_000)
    assert acquire(redis_client, "mine") == 0
    assert redis_client.get(KEY) == b"mine"
    assert redis_client.pttl(KEY) <= 30_000  # a resend that comes late must not hold it longer


def test_a_lock_in_its_last_millisecond_is_still_held(redis_client: redis.Redis) -> None:
    redis_client.set(KEY, "theirs")  # PTTL then says less than 1, as it does in the last millisecond
    assert acquire(redis_client, "mine") == 1
    redis_client.delete(KEY)


def test_a_lock_that_ended_can_be_taken(redis_client: redis.Redis, wait_until: Callable[..., Any]) -> None:
    assert acquire(redis_client, "theirs", ttl=20) == 0
    wait_until(lambda: acquire(redis_client, "mine") == 0)
    assert redis_client.get(KEY) == b"mine"


def test_what_is_no_lock_is_left_alone(redis_client: redis.Redis) -> None:
    redis_client.rpush(KEY, "x")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        acquire(redis_client, "mine")
    assert redis_client.lrange(KEY, 0, -1) == [b"x"]
    redis_client.delete(KEY)


def test_the_operation_speaks_in_seconds() -> None:
    operation = locks.acquire(KEY, b"mine", 1.5)
    assert operation.script is not None
    assert operation.script.keys == ("lock",)
    assert operation.script.args == ("token", "ttl")
    assert (operation.keys, operation.args) == ((KEY,), (b"mine", "1500"))
    assert operation.read(0) == 0.0
    assert operation.read(250) == 0.25


def test_tokens_differ() -> None:
    assert len({locks.new_token() for _ in range(100)}) == 100
