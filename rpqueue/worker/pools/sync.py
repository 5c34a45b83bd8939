"""Sync: one task at a time in the thread that the worker was started in; whatever else there is to do has another."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from .. import timeouts
from ..claims import Claim
from ..fetcher import Fetcher
from ..own_loop import OwnLoop
from ..runner import Runner
from .asyncio import Coroutines
from .slots import Slot


class Interrupted(BaseException):
    """The worker has stopped, and given back what runs."""


class Sync:
    """
    A pool of one.

    Args:
        fetcher: where claims come from.
        runner: what runs them.
        coroutines: takes those of tasks that ask for a loop in a thread.
        loop: in which other coroutines run; closed with the pool.
    """

    slots = 1

    def __init__(self, fetcher: Fetcher, runner: Runner, coroutines: Coroutines, loop: OwnLoop) -> None:
        self._fetcher = fetcher
        self._coroutines = coroutines
        self._loop = loop
        self._slot = Slot(fetcher, runner, coroutines)
        self._is_serving = True

    def run(self, monitor: Callable[[], None]) -> None:
        """Run tasks in this thread, and *monitor* in another one."""
        self._thread = threading.current_thread()
        self._is_main = self._thread is threading.main_thread()
        if self._is_main:
            timeouts.listen()
        with ThreadPoolExecutor(1, "rpqueue-monitor") as other:
            monitoring = other.submit(monitor)
            with contextlib.suppress(Interrupted):
                self._slot.serve()
            self._is_serving = False
            with contextlib.suppress(Interrupted):  # it came too late, and has nothing to interrupt any more
                wait([monitoring])
            monitoring.result()
        self._loop.close()

    def running(self) -> list[Claim]:
        """What runs now."""
        claim = self._slot.claim
        return ([] if claim is None else [claim]) + self._coroutines.running()

    def cancel(self, claim: Claim) -> None:
        """Cancel a coroutine of the loop in a thread. What runs here has to look."""
        self._coroutines.cancel(claim)

    def join(self, timeout: float) -> bool:
        """Wait until nothing runs, at most *timeout* seconds. Returns whether that is so."""
        ends_at = time.monotonic() + timeout
        while not self._is_over() and time.monotonic() < ends_at:
            time.sleep(0.01)
        return self._coroutines.join(max(ends_at - time.monotonic(), 0)) and self._is_over()

    def close(self) -> None:
        """Interrupt what still runs."""
        self._coroutines.close()
        if self._is_over():
            return
        if self._is_main:
            timeouts.raise_in_main_thread(Interrupted())
        elif self._thread.ident is not None:
            timeouts.throw(self._thread.ident, Interrupted)

    def _is_over(self) -> bool:
        return not self._is_serving or self._fetcher.idle_slots > 0
