"""
Unread: keeps what a worker process was given, and has not read yet because a task holds the GIL.

A round may be on its way while tasks run. Where one of these never lets go of the GIL, nobody reads what the round has
brought, and no record of it is in the Ledger. If the lease of a message ended that is delivered once at most, it would
be listed as lost, though it had not started. Others come to another worker when their lease ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ..broker import Broker
from ..protocol import moves
from ..protocol.operation import Stamp
from ..protocol.workers import recall
from ..system import System
from .ledger import Ledger


class UnreadRounds:
    """
    Extends the leases that rounds gave which nobody reads, for some worker processes.

    Args:
        system: keys and settings.
        broker: carries what is said to Redis.
        ledgers: asked at each tick, since processes come and go.
    """

    def __init__(self, system: System, broker: Broker, ledgers: Callable[[], Iterable[Ledger]]) -> None:
        self.system = system
        self.broker = broker
        self._ledgers = ledgers
        self._seen: dict[Stamp, float] = {}  #: monotonic instant since which a round is unread, or its leases extended

    def tick(self) -> float:
        """Extend what has used up a third of its lease. Costs Redis nothing as long as all rounds are read soon."""
        ttl = self.system.settings.worker_ttl
        now, before, self._seen = time.monotonic(), self._seen, {}
        for ledger in self._ledgers():
            stamp = ledger.unrecorded()
            if stamp is None:
                continue
            since = before.get(stamp, now)
            if now - since > ttl / 3:
                self._extend(ledger, stamp, ttl)
                since = now
            self._seen[stamp] = since
        return ttl / 6

    def _extend(self, ledger: Ledger, stamp: Stamp, ttl: float) -> None:
        place = self.system.task_keys(ledger.queue) if ledger.queue else self.system.keys.app
        by_queue: dict[str, list[tuple[str, int | str, float]]] = {}
        for lease in self.broker.execute(recall(place, stamp, died=False)):
            by_queue.setdefault(lease.queue, []).append((lease.id, lease.token, -1.0))
        for queue, leases in by_queue.items():
            self.broker.execute(moves.extend(self.system.task_keys(queue), leases, ttl))
