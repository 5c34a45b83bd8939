"""Threads: a slot in each of some threads. Coroutine tasks are passed on to the event loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..claims import Claim
from ..fetcher import Fetcher
from ..runner import Runner
from .asyncio import Coroutines
from .slots import Slot


class Threads:
    """
    A pool of threads.

    Args:
        fetcher: where claims come from.
        runner: what runs them.
        coroutines: takes those of ``async def`` tasks, so that a thread is free again at once.
        slots: number of threads.
    """

    def __init__(self, fetcher: Fetcher, runner: Runner, coroutines: Coroutines, slots: int) -> None:
        self.slots = slots
        self._fetcher = fetcher
        self._coroutines = coroutines
        self._slots = [Slot(fetcher, runner, coroutines) for _ in range(slots)]
        # Daemons: a task that does not end must not keep a process alive that was told to stop.
        self._threads = [
            threading.Thread(target=slot.serve, name=f"rpqueue-{number}", daemon=True)
            for number, slot in enumerate(self._slots)
        ]

    def run(self, monitor: Callable[[], None]) -> None:
        """Start the threads, and look after them in this one."""
        for thread in self._threads:
            thread.start()
        monitor()

    def running(self) -> list[Claim]:
        """What runs now, coroutines included."""
        claims = [slot.claim for slot in self._slots]
        return [claim for claim in claims if claim is not None] + self._coroutines.running()

    def cancel(self, claim: Claim) -> None:
        """Cancel a coroutine. Threads cannot be cancelled; they have to look."""
        self._coroutines.cancel(claim)

    def join(self, timeout: float) -> bool:
        """Wait until no thread runs a task, and no coroutine is left. Threads that look for work do not count."""
        ends_at = time.monotonic() + timeout
        while not self._is_over():
            left = ends_at - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(0.01, left))
        return self._coroutines.join(max(ends_at - time.monotonic(), 0)) and self._is_over()

    def close(self) -> None:
        """Cancel coroutines that still run. Threads cannot be cancelled; what they bring now changes nothing."""
        self._coroutines.close()

    def _is_over(self) -> bool:
        return sum(thread.is_alive() for thread in self._threads) <= self._fetcher.idle_slots
