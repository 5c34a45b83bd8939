"""Benches: an App here and its workers in processes of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.cluster.nodes import Cluster
from tests.conftest import ON_CLUSTER, default_flavour
from tests.servers import Server
from tests.worker.harness import Bench


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """`make_bench(server, prefix="test", worker_ttl=1, ...)`: settings by their lower-case names."""
    with contextlib.ExitStack() as stack:

        def make(server: Server, prefix: str = "test", **settings: Any) -> Bench:
            logs = tmp_path / prefix
            logs.mkdir(exist_ok=True)
            bench = Bench(server, logs, prefix, **settings)
            stack.callback(bench.close)
            return bench

        yield make


@pytest.fixture
def bench(server: Server, redis_client: redis.Redis, make_bench: Callable[..., Bench]) -> Bench:
    """A Bench on the shared server, which is empty, with the default settings."""
    return make_bench(server)


@pytest.fixture(scope="module")
def module_bench(shared_servers: Callable[[str], Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A Bench for all tests of a module, in a database of its own that nobody flushes."""
    server: Any = Cluster(default_flavour()) if ON_CLUSTER else Server(default_flavour())
    bench = Bench(server, tmp_path_factory.mktemp("logs"), "test")
    yield bench
    bench.close()
    server.close()


@pytest.fixture
def own_bench(own_server: Server, make_bench: Callable[..., Bench]) -> Bench:
    """A Bench on a private server, to kill and to pause."""
    return make_bench(own_server)


@pytest.fixture
def quick(server: Server, redis_client: redis.Redis, make_bench: Callable[..., Bench]) -> Bench:
    """A Bench whose workers count as dead after a second."""
    return make_bench(server, worker_ttl=1.0)
