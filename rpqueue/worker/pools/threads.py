"""Threads: one task at a time in each of some threads. Coroutine tasks are passed on to the event loop."""

from __future__ import annotations

import logging
import threading
import time

from ..claims import Claim
from ..fetcher import Fetcher
from ..patience import Stopped
from ..runner import Runner
from .asyncio import Coroutines

log = logging.getLogger("rpqueue.worker")


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
        self._runner = runner
        self._coroutines = coroutines
        self._current: list[Claim | None] = [None] * slots
        # Daemons: a task that does not end must not keep a process alive that was told to stop.
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"rpqueue-{number}", daemon=True)
            for number in range(slots)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def running(self) -> list[Claim]:
        """What runs now, coroutines included."""
        return [claim for claim in self._current if claim is not None] + self._coroutines.running()

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

    def _serve(self, number: int) -> None:
        fetcher, run, is_async, current = self._fetcher, self._runner.run, self._runner.is_async, self._current
        while True:
            try:
                claim = fetcher.next()
                if claim is None:
                    return
                if is_async(claim):
                    self._pass_on(claim)
                    continue
                fetcher.async_room = 0
                current[number] = claim
                try:
                    run(claim)
                finally:
                    current[number] = None
            except Stopped:
                return
            except Exception:
                # A slot never ends by an error: what it could not finish is a lease that ends.
                log.exception("a slot failed outside of its task; going on")

    def _pass_on(self, claim: Claim) -> None:
        """Hand a claim to the event loop. When that is full, it waits in the queue, where other workers see it."""
        if not self._coroutines.submit(claim, self._fetcher.system.settings.claim_ahead):
            self._fetcher.put_back(claim)
            self._coroutines.wait_for_room()
