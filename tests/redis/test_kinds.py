"""kinds.lua: what keys hold, and for how long."""

from __future__ import annotations

import pytest
import redis

from rpqueue.protocol.checkups import kinds
from tests.redis.harness import run


@pytest.mark.any_server
def test_type_and_time_to_live(redis_client: redis.Redis) -> None:
    redis_client.set("test:{k}a", "x", px=60_000)
    redis_client.rpush("test:{k}b", "x")
    operation = kinds([b"test:{k}a", b"test:{k}b", b"test:{k}c"])
    first, second, third = operation.read(run(redis_client, "kinds", operation.keys, operation.args))
    assert first.type == "string"
    assert 50_000 < first.ttl <= 60_000
    assert second == ("list", -1)
    assert third.type == "none"
    redis_client.delete("test:{k}b")
