"""What the tests of security share: an App whose messages are signed, and workers for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from rpqueue import App

OLD, NEW = "old secret, long enough", "new secret, long enough"


@pytest.fixture
def signed(app: App) -> App:
    """An App whose messages are signed and must be."""
    app.settings.signing_keys = {"new": NEW, "old": OLD}
    app.settings.signing_required = True
    return app


@pytest.fixture
def start_worker(app: App) -> Iterator[Callable[..., None]]:
    """start_worker(threads=1, app=app): run an App's tasks in threads of this process until the test is over."""
    workers: list[tuple[App, threading.Thread]] = []

    def start(threads: int = 1, app: App = app) -> None:
        thread = threading.Thread(target=lambda: app.execute_task_threads(threads=threads, wait_per_thread=5))
        workers.append((app, thread))
        thread.start()

    yield start
    for app, thread in workers:
        app.settings.should_quit[0] = 1
        thread.join(20)
