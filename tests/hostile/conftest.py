"""Benches with workers, as in tests/worker, and a hand that writes to Redis past the library."""

from __future__ import annotations

import pytest

from tests.hostile.hand import Hand
from tests.worker.conftest import bench, make_bench, module_bench
from tests.worker.harness import Bench

__all__ = ["bench", "hand", "make_bench", "module_bench"]


@pytest.fixture
def hand(bench: Bench) -> Hand:
    """Writes into the queues of `bench`."""
    return Hand(bench.client, bench.app)
