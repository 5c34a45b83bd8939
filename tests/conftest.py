"""
Servers, clients, and a look at what each test leaves behind.

``RPQUEUE_TEST_SERVER=cluster`` has all tests that share a server run on a cluster of six instead; those that are about
what a cluster has not, or that take a server of their own, are skipped then. ``RPQUEUE_TEST_SCRIPTS=declared`` has
scripts declare themselves: see tests/declared.py.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings

from rpqueue import App, broker, broker_aio, connections, data, flushing, waiting_aio
from tests import declared, servers
from tests.cluster.nodes import Cluster
from tests.servers import FLAVOURS, Server

# A machine that is busy with something else makes no test wrong.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

#: Whether the tests run on a cluster.
ON_CLUSTER = os.environ.get("RPQUEUE_TEST_SERVER") == "cluster"

declared.declare()


class InPlaceOfOne(Cluster):
    """A cluster where tests expect one server; those that ask for what only that has are skipped."""

    @property
    def host(self) -> str:
        pytest.skip("on a cluster: about the address of one server")

    port = unix_path = pid = log = host


# `prefix:{tag}:kind` and whatever follows. A tag holds no braces.
KEY = re.compile(r"[^{}]*:\{[^{}]*\}:(?P<kind>[^:]+)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("any_server"):
        # Whichever the test asks for: redis_client comes from server, too.
        for name in ("server", "own_server"):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, FLAVOURS, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("one_server")
        if ON_CLUSTER and marker is not None:
            item.add_marker(pytest.mark.skip(reason=f"on a cluster: {marker.args[0]}"))
        if declared.ARE_DECLARED and item.get_closest_marker("undeclared_scripts"):
            item.add_marker(pytest.mark.skip(reason="a full server refuses scripts that declare themselves as a whole"))


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[Callable[[str], Server | Cluster]]:
    """One server, or cluster, per flavour and test process, started when first asked for."""
    running: dict[str, Server | Cluster] = {}

    def server_of(flavour: str) -> Server | Cluster:
        if flavour not in running:
            running[flavour] = InPlaceOfOne(flavour) if ON_CLUSTER else Server(flavour)
        return running[flavour]

    yield server_of
    for server in running.values():
        server.close()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, shared_servers: Callable[[str], Server]) -> Server:
    """The server that tests share: Valkey, or every flavour in turn for tests marked any_server.

    Its data may be flushed at any time; who stops, pauses or configures a server takes own_server.
    """
    return shared_servers(wanted_flavour(request))


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Start private servers: `start_server("redis", appendonly=True, options=["--hz", "50"])`.

    All arguments may be left out. Flavours that the machine has not skip the test.
    """
    with contextlib.ExitStack() as stack:
        if ON_CLUSTER:
            pytest.skip("on a cluster: about one server of its own")

        def start(flavour: str | None = None, **options: Any) -> Server:
            server = Server(installed(flavour or default_flavour()), **options)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def own_server(request: pytest.FixtureRequest, start_server: Callable[..., Server]) -> Server:
    """A private server to kill, pause or fill. It has an append-only file, fsync always."""
    return start_server(wanted_flavour(request), appendonly=True)


@pytest.fixture
def redis_client(server: Server) -> Iterator[redis.Redis]:
    """A client, bytes in and out, of a shared server that is empty. Looks for leaks afterwards."""
    with contextlib.closing(server.client()) as client:
        client.flushall()
        yield client
        leaks = leaked_keys(client)
        client.flushall()
    assert not leaks, "left in Redis: " + ", ".join(leaks)


@pytest.fixture
def app(server: Server, redis_client: redis.Redis) -> Iterator[App]:
    """An App whose Redis is empty."""
    app = App(server.url, prefix="test")
    yield app
    app.broker.close()


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """wait_until(predicate, timeout=10, description=""): see tests.servers."""
    return servers.wait_until


def wanted_flavour(request: pytest.FixtureRequest) -> str:
    return installed(getattr(request, "param", None) or default_flavour())


def default_flavour() -> str:
    return next((flavour for flavour in FLAVOURS if servers.program(flavour)), FLAVOURS[0])


def installed(flavour: str) -> str:
    if reason := servers.why_not(flavour):
        pytest.skip(reason)
    if flavour == "redis62" and declared.ARE_DECLARED:
        pytest.skip("Redis 6.2 knows no script that declares itself")
    return flavour


def leaked_keys(client: redis.Redis) -> list[str]:
    """List the keys that a test may not leave, each with the reason."""
    try:
        from rpqueue.keys import LASTING_KINDS
    except ImportError:
        return []
    keys = list(client.scan_iter(count=1000))
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.pttl(key)
        expiries = pipe.execute()
    leaks = []
    for key, expiry in zip(keys, expiries, strict=True):
        name = key.decode(errors="backslashreplace")
        shape = KEY.match(name)
        if not name.startswith(("rpqueue", "test")):
            leaks.append(f"{name!r} (not under the prefix)")
        elif expiry == -1 and (shape is None or shape["kind"] not in LASTING_KINDS):
            leaks.append(f"{name!r} (has no TTL and is not of a lasting kind)")
    return leaks


@pytest.fixture
def rare_looks(monkeypatch: pytest.MonkeyPatch) -> float:
    """Have who waits look by himself after 20 seconds only; returns half of that. What comes sooner was woken."""
    for module in (broker, broker_aio, connections, data, waiting_aio):
        monkeypatch.setattr(module, "LONGEST_BLOCK", 20.0)
    monkeypatch.setattr(flushing, "LOOK_AGAIN", 20.0)
    return 10.0
