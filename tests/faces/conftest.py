"""An App on a real server, and a worker for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from rpqueue import App


@pytest.fixture
def start_worker(app: App) -> Iterator[Callable[..., None]]:
    """start_worker(threads=1): run the App's tasks in threads of this process until the test is over."""
    workers: list[threading.Thread] = []

    def start(threads: int = 1) -> None:
        workers.append(threading.Thread(target=lambda: app.execute_task_threads(threads=threads, wait_per_thread=5)))
        workers[-1].start()

    yield start
    app.settings.should_quit[0] = 1
    for worker in workers:
        worker.join(20)
