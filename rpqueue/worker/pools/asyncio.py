"""Coroutines: ``async def`` tasks, many at a time, on one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..claims import Claim
from ..fetcher import Fetcher
from ..runner import Runner

log = logging.getLogger("rpqueue.worker")


class Coroutines:
    """
    A pool of coroutines; its loop starts with the first one.

    Args:
        fetcher: told how many more could start.
        runner: what runs them.
        slots: coroutines that run at the same time; a thread that brings one more waits.
    """

    def __init__(self, fetcher: Fetcher, runner: Runner, slots: int) -> None:
        self.slots = slots
        self._fetcher = fetcher
        self._runner = runner
        self._room = threading.BoundedSemaphore(slots)
        self._running: dict[asyncio.Task[None], Claim] = {}
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._blocking = ThreadPoolExecutor(max_workers=4, thread_name_prefix="rpqueue-async-steps")

    def submit(self, claim: Claim) -> None:
        """Start a coroutine; blocks while all slots are taken."""
        self._room.acquire()
        self._fetcher.async_room = max(self.slots - len(self._running) - 1, 0)
        self._get_loop().call_soon_threadsafe(self._spawn, claim)

    def running(self) -> list[Claim]:
        """What runs now."""
        return list(self._running.values())

    def join(self, timeout: float) -> bool:
        """Wait until all are over, at most *timeout* seconds; then cancel those that are not. Returns whether all were."""
        ends_at = time.monotonic() + timeout
        while self._running and time.monotonic() < ends_at:
            time.sleep(0.01)
        over = not self._running
        if self._loop is not None and not over:
            for task in list(self._running):
                self._loop.call_soon_threadsafe(task.cancel)
        return over

    def _get_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="rpqueue-asyncio", daemon=True).start()
            return self._loop

    def _spawn(self, claim: Claim) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._runner.run_async(claim, self._in_thread))
        self._running[task] = claim
        task.add_done_callback(self._over)

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """A step that waits for Redis, off the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._blocking, function, *args)

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._room.release()
        self._fetcher.async_room = self.slots - len(self._running)
        self._fetcher.busy.set()  # its ack wants to be sent
        if not task.cancelled() and task.exception() is not None:
            log.error("a coroutine failed outside of its task; going on", exc_info=task.exception())
