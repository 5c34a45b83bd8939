"""Canceller: stops runs whose call was cancelled, or whose lease is lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from itertools import islice

from ..broker import Broker
from ..logs import fields_of
from ..protocol import runs
from ..system import System
from .claims import Claim

log = logging.getLogger("rpqueue.worker")

#: Leases that are asked about at once.
AT_ONCE = 500


class Canceller:
    """
    Asks Redis every HEARTBEAT seconds which runs are to stop. Coroutines are cancelled and children killed; threads
    have to look. Runs that are not so old are left alone: those that are over sooner are not worth a question.

    Args:
        system: keys and settings.
        broker: carries what is said to Redis.
        running: what runs in this process.
        stop: stops a run, if it can be stopped from outside; may be called again.
    """

    def __init__(
        self,
        system: System,
        broker: Broker,
        running: Callable[[], Iterable[Claim]],
        stop: Callable[[Claim], object],
    ) -> None:
        self.system = system
        self.broker = broker
        self._running = running
        self._stop = stop

    def tick(self) -> float:
        """Ask about what runs for a while, and stop what is to stop."""
        look = self.system.settings.heartbeat
        settled, by_queue = time.monotonic() - look, dict[str, list[Claim]]()
        for claim in self._running():
            if claim.stop_asked:
                self._stop(claim)  # it had just not begun, the last time
            elif 0 < claim.started < settled:
                by_queue.setdefault(claim.keys.name, []).append(claim)
        for claims in by_queue.values():
            those = iter(claims)
            while some := list(islice(those, AT_ONCE)):
                self._ask(some)
        return look

    def _ask(self, claims: list[Claim]) -> None:
        leases = [(claim.id, claim.token) for claim in claims]
        standings = self.broker.execute(runs.asked_to_stop(claims[0].keys, leases))
        for claim, standing in zip(claims, standings, strict=True):
            if standing != "held":
                claim.stop_asked = standing
                log.info("a run is to stop: it is %s", standing, extra=fields_of(claim))
                self._stop(claim)
