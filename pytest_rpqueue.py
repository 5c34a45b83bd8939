"""
The pytest plugin ``rpqueue``: fixtures for tests of code that makes calls and puts items. See `rpqueue.testing`.

It stands beside the package and imports nothing of it before a fixture is asked for, so it costs suites nothing that do
not use it, and modules are not imported before coverage is measured. ``-p no:rpqueue`` leaves it out.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rpqueue import App
    from rpqueue.testing import BurstWorker, Clock, Sandbox


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare what may stand in the ini file."""
    parser.addini("rpqueue_app", "package.module:name of the App, or of its module, that tests use", default="rpqueue")


@pytest.fixture(scope="session")
def rpqueue_server() -> Iterator[str]:
    """The URL of a server for tests, in each test process: RPQUEUE_TEST_URL, or an embedded one that ends with it."""
    from rpqueue.testing import server

    with server() as url:
        yield url


@pytest.fixture
def rpqueue_sandbox(rpqueue_server: str, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A prefix for this test alone: its `app`, `worker` and `clock`, and what may be asserted of it."""
    from rpqueue.testing import sandbox

    with sandbox(_app_named(request.config.getini("rpqueue_app")), rpqueue_server) as box:
        yield box


@pytest.fixture
def rpqueue_app(rpqueue_sandbox: Sandbox) -> App:
    """The App of the ini option `rpqueue_app`, else the default one, connected to the server for tests."""
    return rpqueue_sandbox.app


@pytest.fixture
def rpqueue_worker(rpqueue_sandbox: Sandbox) -> BurstWorker:
    """A worker in the test's own thread: `run` runs what is ready until nothing is, and returns what ran."""
    return rpqueue_sandbox.worker


@pytest.fixture
def rpqueue_clock(rpqueue_sandbox: Sandbox) -> Clock:
    """A clock that can be turned on: `advance` by seconds, or `move_to` a datetime."""
    return rpqueue_sandbox.clock


def _app_named(words: str) -> Any:
    """The App, or its module, that the ini option names."""
    path, _, names = words.partition(":")
    try:
        found: Any = importlib.import_module(path)
        for name in names.split(".") if names else ():
            found = getattr(found, name)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(
            f"ini option rpqueue_app: expected package.module:name, as in tasks:app, got {words!r} ({error})"
        ) from error
    from rpqueue import App

    if not isinstance(getattr(found, "app", found), App):
        raise pytest.UsageError(f"ini option rpqueue_app: expected the place of an App, got {words!r}, a {found!r}")
    return found
