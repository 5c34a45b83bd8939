"""Benches with workers, as in tests/worker, and a hand that writes to Redis past the library."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from tests.hostile.hand import Hand
from tests.servers import Server
from tests.worker.conftest import bench, make_bench, module_bench
from tests.worker.harness import Bench

__all__ = ["bench", "hand", "make_bench", "module_bench"]


@pytest.fixture
def hand(bench: Bench) -> Hand:
    """Writes into the queues of `bench`."""
    return Hand(bench.client, bench.app)


@pytest.fixture
def quick_bench(server: Server, redis_client: redis.Redis, make_bench: Callable[..., Bench]) -> Bench:
    """A Bench whose workers count as dead after a second."""
    return make_bench(server, worker_ttl=1.0)
