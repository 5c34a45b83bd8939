"""The queues that the tests of the scripts work on."""

from __future__ import annotations

import pytest
import redis

from tests.redis.harness import Queue


@pytest.fixture
def queue(redis_client: redis.Redis) -> Queue:
    """An empty task queue."""
    return Queue(redis_client)


@pytest.fixture
def items(redis_client: redis.Redis) -> Queue:
    """An empty data queue."""
    return Queue(redis_client, kind="data")
