"""Slot: a loop that pulls claims and runs them, one at a time, in the thread that it is called in."""

from __future__ import annotations

import logging

from ..claims import Claim
from ..fetcher import Fetcher
from ..patience import Stopped
from ..runner import Runner
from .asyncio import Coroutines

log = logging.getLogger("rpqueue.worker")


class Slot:
    """
    Room for one task.

    Args:
        fetcher: where claims come from.
        runner: what runs them.
        coroutines: takes those of ``async def`` tasks, so that the slot is free again at once.
    """

    __slots__ = ("_coroutines", "_fetcher", "_runner", "claim")

    def __init__(self, fetcher: Fetcher, runner: Runner, coroutines: Coroutines) -> None:
        self._fetcher = fetcher
        self._runner = runner
        self._coroutines = coroutines
        self.claim: Claim | None = None  #: what runs

    def serve(self) -> None:
        """Run claims until no more come."""
        fetcher, run, is_async = self._fetcher, self._runner.run, self._runner.is_async
        while True:
            try:
                claim = fetcher.next()
                if claim is None:
                    return
                if is_async(claim):
                    self._pass_on(claim)
                    continue
                fetcher.async_room = 0
                self.claim = claim
                try:
                    run(claim)
                finally:
                    self.claim = None
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
