"""Undertaker: sees to what dead worker processes held."""

from __future__ import annotations

import json
import logging
from typing import Any

from ..broker import Broker
from ..protocol import moves
from ..protocol.moves import Reason
from ..protocol.workers import recall
from ..system import System
from .ledger import Held, Ledger, Stage

log = logging.getLogger("rpqueue.worker")


class Undertaker:
    """
    Gives back, reports or acks everything in dead processes' ledgers, at once instead of when the leases end.

    What had not started goes to the head of its queue. What was running counts as a crash: it runs again, or is listed
    as lost when it may run at most once. What had run to its end, and keeps no outcome, is acked. Doing it twice
    changes nothing, because each of these ends the lease.

    Args:
        system: keys and settings.
        broker: carries what is said to Redis.
    """

    def __init__(self, system: System, broker: Broker) -> None:
        self.system = system
        self.broker = broker
        self._waiting: list[tuple[Ledger, dict[str, Any]]] = []

    def take(self, ledger: Ledger, record: dict[str, Any]) -> None:
        """A process died; this is its ledger, and what is kept of the runs that it took along."""
        self._waiting.append((ledger, record))

    @property
    def is_done(self) -> bool:
        """Whether every ledger that it was given has been seen to."""
        return not self._waiting

    def tick(self) -> float:
        """See to every ledger that waits; what Redis is not there for waits on."""
        while self._waiting:
            ledger, record = self._waiting[0]
            count = self._bury(ledger, json.dumps(record).encode())
            self._waiting.pop(0)
            ledger.close()
            if any(count.values()):
                log.warning("a dead process's messages were seen to", extra=count)
        return 60.0

    def _bury(self, ledger: Ledger, error: bytes) -> dict[str, int]:
        held = list(ledger.held())
        held += self._unrecorded(ledger, {(record.queue, record.id) for record in held})
        count = {"unstarted": 0, "crashed": 0, "finished": 0}
        for queue in dict.fromkeys(record.queue for record in held):
            mine = [record for record in held if record.queue == queue]
            keys = self.system.task_keys(queue)
            finished = [(record.id, record.token) for record in mine if record.stage is Stage.FINISHED]
            if finished:
                count["finished"] += len(self.broker.execute(moves.ack(keys, finished)))
            ended: list[tuple[str, int | str, Reason]] = [
                (record.id, record.token, "crashed" if record.stage is Stage.STARTED else "unstarted")
                for record in mine
                if record.stage in (Stage.CLAIMED, Stage.STARTED)
            ]
            if ended:
                released = moves.release(keys, self.system.index, ended, self.system.task_rules, error=error)
                went = self.broker.execute(released)
                for message_id, _, reason in ended:
                    count[reason] += message_id in went
        return count

    def _unrecorded(self, ledger: Ledger, known: set[tuple[str, str]]) -> list[Held]:
        """What the process had been given by a round whose reply it never wrote down. None of that started."""
        stamp = ledger.unrecorded()
        if stamp is None:
            return []
        place = self.system.task_keys(ledger.queue) if ledger.queue else self.system.keys.app
        leases = self.broker.execute(recall(place, stamp))
        return [
            Held(Stage.CLAIMED, lease.queue, lease.id, lease.token, 0.0, 0.0)
            for lease in leases
            if (lease.queue, lease.id) not in known
        ]
