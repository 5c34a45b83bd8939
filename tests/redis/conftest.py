"""The queues that the tests of the scripts work on, and a way to Redis on which replies are lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from rpqueue import App
from tests.conftest import ON_CLUSTER
from tests.redis.harness import Queue
from tests.redis.proxy import Proxy, proxy_to
from tests.servers import Server


@pytest.fixture
def queue(redis_client: redis.Redis) -> Queue:
    """An empty task queue."""
    return Queue(redis_client)


@pytest.fixture
def items(redis_client: redis.Redis) -> Queue:
    """An empty data queue."""
    return Queue(redis_client, kind="data")


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    if ON_CLUSTER:
        pytest.skip("on a cluster: the proxy stands before one server")
    with proxy_to(server.port) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy: Proxy, redis_client: redis.Redis) -> Iterator[App]:
    """An App whose replies may be lost."""
    app = App(f"redis://127.0.0.1:{proxy.port}/0", prefix="test")
    yield app
    app.broker.close()
