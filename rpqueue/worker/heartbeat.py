"""Heartbeat: keeps the leases of what runs, and says which workers are alive."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from ..broker import Broker
from ..protocol import moves
from ..protocol.workers import Beat, beat
from ..system import System
from .ledger import Ledger

log = logging.getLogger("rpqueue.worker")


class Heartbeat:
    """
    Extends leases for some worker processes, from their ledgers, so a task that never lets go of the GIL keeps its own.

    Args:
        system: keys and settings.
        broker: carries what is said to Redis.
        ledgers: asked at each tick, since processes come and go.
    """

    def __init__(self, system: System, broker: Broker, ledgers: Callable[[], Iterable[Ledger]]) -> None:
        self.system = system
        self.broker = broker
        self._ledgers = ledgers

    def tick(self) -> float:
        """Extend what has used up a third of its lease."""
        ttl = self.system.settings.worker_ttl
        horizon = time.monotonic() + ttl * 2 / 3
        for ledger in self._ledgers():
            due = [(number, held) for number, held in ledger.held() if held.ends_at < horizon]
            by_queue: dict[str, list[tuple[int, str, int, float]]] = {}
            for number, held in due:
                by_queue.setdefault(held.queue, []).append((number, held.id, held.token, held.deadline))
            for queue, leases in by_queue.items():
                self._extend(ledger, queue, leases, ttl)
        return ttl / 6

    def _extend(self, ledger: Ledger, queue: str, leases: list[tuple[int, str, int, float]], ttl: float) -> None:
        keys = self.system.task_keys(queue)
        said = [(message_id, token, deadline) for _, message_id, token, deadline in leases]
        started = time.monotonic()
        extended = self.broker.execute(moves.extend(keys, said, ttl))
        held = set(extended)
        for number, message_id, _, _ in leases:
            # One that is not held any more is not asked about again: its ack will be told that it is stale.
            ledger.extended(number, started + ttl if message_id in held else float("inf"))
            if message_id not in held:
                log.warning("lease ended while the task runs", extra={"task_id": message_id, "queue": queue})


class Presence:
    """
    Tells Redis which workers are alive.

    Args:
        system: keys and settings.
        broker: carries what is said to Redis.
        beats: asked at each tick for what to say of each process.
    """

    def __init__(self, system: System, broker: Broker, beats: Callable[[], list[Beat]]) -> None:
        self.system = system
        self.broker = broker
        self._beats = beats

    def tick(self) -> float:
        """One call for all processes."""
        ttl = self.system.settings.worker_ttl
        self.broker.execute(beat(self.system.keys.app, self._beats(), forget_after=10 * ttl))
        return ttl / 3
