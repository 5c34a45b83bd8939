"""Coroutines: ``async def`` tasks, many at a time, on one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
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
        slots: coroutines that run at the same time.
    """

    def __init__(self, fetcher: Fetcher, runner: Runner, slots: int) -> None:
        self.slots = slots
        self._fetcher = fetcher
        self._runner = runner
        self._room = threading.BoundedSemaphore(slots)
        self._running: dict[Claim, asyncio.Task[None] | None] = {}  # None: not started yet
        self._cancelled: set[Claim] = set()
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._blocking = ThreadPoolExecutor(max_workers=4, thread_name_prefix="rpqueue-async-steps")

    def submit(self, claim: Claim, patience: float) -> bool:
        """Start a coroutine. False: no slot was free for *patience* seconds, and the claim is left to the caller."""
        if not self._room.acquire(timeout=patience):
            return False
        self._running[claim] = None
        self._fetcher.async_room = max(self.slots - len(self._running), 0)
        self._get_loop().call_soon_threadsafe(self._spawn, claim)
        return True

    def wait_for_room(self) -> None:
        """Block until a slot is free."""
        self._room.acquire()
        self._room.release()

    def running(self) -> list[Claim]:
        """What was submitted and is not over."""
        return list(self._running)

    def cancel(self, claim: Claim) -> None:
        """Cancel the coroutine of a claim, if it runs here. Once: it may take its time to clean up."""
        task, loop = self._running.get(claim), self._loop
        if task is not None and loop is not None and claim not in self._cancelled:
            self._cancelled.add(claim)
            loop.call_soon_threadsafe(task.cancel)

    def join(self, timeout: float) -> bool:
        """Wait until all are over, at most *timeout* seconds. Returns whether they are."""
        ends_at = time.monotonic() + timeout
        while self._running and time.monotonic() < ends_at:
            time.sleep(0.01)
        return not self._running

    def close(self) -> None:
        """Cancel what still runs, and stop the loop. Somebody else has seen to the messages."""
        self._blocking.shutdown(wait=False)
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._cancel(), loop)
        thread.join(2.0)  # a coroutine that swallows its cancellation is left behind
        if not thread.is_alive():
            loop.close()

    async def _cancel(self) -> None:
        tasks = [task for task in self._running.values() if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=0.9)
        loop = asyncio.get_running_loop()
        with contextlib.suppress(asyncio.TimeoutError):
            # As asyncio.run() does: what tasks have opened for this loop is closed now, such as the connections of aio.
            await asyncio.wait_for(loop.shutdown_asyncgens(), 0.9)
        loop.stop()

    def _get_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="rpqueue-asyncio", daemon=True)
                self._thread.start()
            return self._loop

    def _spawn(self, claim: Claim) -> None:
        task = asyncio.get_running_loop().create_task(self._runner.run_async(claim, self._in_thread))
        self._running[claim] = task
        task.add_done_callback(lambda task: self._over(claim, task))

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """A step that waits for Redis, off the loop."""
        run = contextvars.copy_context().run  # what logs there, too, is to say of which task it is
        return await asyncio.get_running_loop().run_in_executor(self._blocking, run, function, *args)

    def _over(self, claim: Claim, task: asyncio.Task[None]) -> None:
        del self._running[claim]
        self._cancelled.discard(claim)
        self._room.release()
        self._fetcher.async_room = self.slots - len(self._running)
        self._fetcher.busy.set()  # its ack wants to be sent
        if not task.cancelled() and task.exception() is not None:
            log.error("a coroutine failed outside of its task; going on", exc_info=task.exception())
