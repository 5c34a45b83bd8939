"""
Testing code that makes calls and puts items: in a prefix of its own, with a worker and a clock in the test's hands.

::

    with rpqueue.testing.sandbox() as box:
        sign_up("ada@example.org")                       # enqueues
        box.assert_enqueued(send_mail, args=("ada@example.org",), delay=60)
        box.clock.advance(60)
        [ran] = box.worker.run()

The functions of this module mean the sandbox that was entered last. With pytest, the plugin ``rpqueue`` has fixtures
for all of it: `rpqueue_app`, `rpqueue_worker`, `rpqueue_clock`, `rpqueue_sandbox` and `rpqueue_server`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ..data import Data
from ..tasks import Task
from .expectations import ANYTHING
from .sandbox import Sandbox, current, sandbox
from .servers import server
from .turning import Clock
from .waiting import Call, Item
from .worker import BurstWorker, Ran

__all__ = [
    "BurstWorker",
    "Call",
    "Clock",
    "Item",
    "Ran",
    "Sandbox",
    "all_enqueued",
    "all_put",
    "assert_enqueued",
    "assert_put",
    "current",
    "refute_enqueued",
    "refute_put",
    "sandbox",
    "server",
]


def all_enqueued() -> list[Call]:
    """All calls that wait in the current sandbox. See `Sandbox.all_enqueued`."""
    return current().all_enqueued()


def assert_enqueued(
    task: Task[..., Any] | str | None = None,
    args: Any = None,
    kwargs: Any = None,
    queue: str | bytes | None = None,
    delay: float | timedelta | None = None,
    count: int | None = None,
) -> list[Call]:
    """Say that calls wait in the current sandbox. See `Sandbox.assert_enqueued`."""
    return current().assert_enqueued(task, args, kwargs, queue, delay, count)


def refute_enqueued(
    task: Task[..., Any] | str | None = None,
    args: Any = None,
    kwargs: Any = None,
    queue: str | bytes | None = None,
    delay: float | timedelta | None = None,
) -> None:
    """Say that no such call waits in the current sandbox. See `Sandbox.assert_enqueued`."""
    current().refute_enqueued(task, args, kwargs, queue, delay)


def all_put() -> list[Item]:
    """All items in data queues of the current sandbox. See `Sandbox.all_put`."""
    return current().all_put()


def assert_put(
    queue: Data | str | bytes | None = None,
    item: Any = ANYTHING,
    delay: float | timedelta | None = None,
    count: int | None = None,
) -> list[Item]:
    """Say that items are in a data queue of the current sandbox. See `Sandbox.assert_put`."""
    return current().assert_put(queue, item, delay, count)


def refute_put(
    queue: Data | str | bytes | None = None, item: Any = ANYTHING, delay: float | timedelta | None = None
) -> None:
    """Say that no such item is in the current sandbox. See `Sandbox.assert_put`."""
    current().refute_put(queue, item, delay)
