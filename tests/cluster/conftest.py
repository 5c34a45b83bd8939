"""Clusters for the tests: one that they share, and ones to break."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import redis

from rpqueue import App
from tests.cluster.hands import spread
from tests.cluster.nodes import Cluster
from tests.conftest import default_flavour, installed, leaked_keys
from tests.worker.conftest import make_bench

__all__ = ["make_bench"]


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    """One cluster per test process, whose data may be flushed at any time; who breaks one takes own_cluster."""
    with contextlib.closing(Cluster(installed(default_flavour()))) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """The shared cluster, empty. Looks for leaks afterwards."""
    client = shared_cluster.client()
    client.flushall()
    yield shared_cluster
    leaks = leaked_keys(client)
    client.flushall()
    client.close()
    assert not leaks, "left in Redis: " + ", ".join(leaks)


@pytest.fixture
def start_cluster() -> Iterator[Callable[..., Cluster]]:
    """`start_cluster(flavour=None, masters=3, node_timeout=1.0)`; without that program, the test is skipped."""
    with contextlib.ExitStack() as stack:

        def start(flavour: str | None = None, **options: Any) -> Cluster:
            made = Cluster(installed(flavour or default_flavour()), **options)
            stack.callback(made.close)
            return made

        yield start


@pytest.fixture
def own_cluster(request: pytest.FixtureRequest, start_cluster: Callable[..., Cluster]) -> Cluster:
    """A cluster of one's own, to break."""
    return start_cluster(getattr(request, "param", None))


@pytest.fixture
def client(cluster: Cluster) -> redis.RedisCluster:
    return cluster.client()


@pytest.fixture
def app(cluster: Cluster) -> Iterator[App]:
    """An App on the shared cluster, which is empty."""
    app = App(cluster.url, prefix="test")
    yield app
    app.broker.close()


@pytest.fixture
def queues(app: App, cluster: Cluster) -> list[str]:
    """Three task queues, one on each master."""
    return list(islice(spread(cluster, app), 3))


@pytest.fixture
def add(app: App, queues: list[str]) -> Any:
    @app.task(queue=queues[0], name="add", save_results=60, vis_timeout=30, use_dead=True)
    def add(one: int, other: int) -> int:
        return one + other

    return add


@pytest.fixture
def start() -> Iterator[Any]:
    """start(function, ...): in a thread; what it returns, or raises, is in the list that comes back."""
    threads = []

    def start(function: Any, *args: Any) -> list[Any]:
        ends: list[Any] = []

        def run() -> None:
            try:
                ends.append(function(*args))
            except Exception as error:
                ends.append(error)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return ends

    yield start
    for thread in threads:
        thread.join(20)
