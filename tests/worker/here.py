"""A worker in a thread of the test's own process: for tests that need no process of their own, or that look inside."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from rpqueue import App


@contextlib.contextmanager
def working(app: App, **options: Any) -> Iterator[None]:
    """Run `app.execute_task_threads(**options)` for the length of a block."""
    app.settings.should_quit[0] = 0
    thread = threading.Thread(target=app.execute_task_threads, kwargs={"wait_per_thread": 10, **options}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        app.settings.should_quit[0] = 1
        thread.join(30)
        assert not thread.is_alive(), "the worker does not stop"
