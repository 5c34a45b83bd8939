"""Undertaker: sees to what a dead worker process held."""

from __future__ import annotations

import logging

from ..protocol import moves
from ..protocol.moves import Reason
from ..protocol.operation import Operation
from ..protocol.workers import recall
from ..system import System
from .ledger import Held, Ledger, Stage
from .patience import Patience

log = logging.getLogger("rpqueue.worker")


def bury(system: System, ledger: Ledger, patience: Patience) -> dict[str, int]:
    """
    Give back, report or ack everything in a dead process's ledger, at once instead of when the leases end.

    What had not started goes to the head of its queue. What was running counts as a crash: it runs again, or is listed as
    lost when it may run at most once. What had run to its end, and keeps no outcome, is acked.

    Returns:
        ``{"unstarted": n, "crashed": n, "finished": n}``.
    """
    held = [record for _, record in ledger.held()]
    held += _unrecorded(system, ledger, patience, {(record.queue, record.id) for record in held})
    count = {"unstarted": 0, "crashed": 0, "finished": 0}
    queues = dict.fromkeys(record.queue for record in held)
    for queue in queues:
        mine = [record for record in held if record.queue == queue]
        keys = system.task_keys(queue)
        finished = [(record.id, record.token) for record in mine if record.stage is Stage.FINISHED]
        ended: list[tuple[str, int | str, Reason]] = [
            (record.id, record.token, "crashed" if record.stage is Stage.STARTED else "unstarted")
            for record in mine
            if record.stage in (Stage.CLAIMED, Stage.STARTED)
        ]
        if finished:
            acks: Operation[list[str]] = moves.ack(keys, finished)
            count["finished"] += len(patience.execute(acks))
        if ended:
            went = patience.execute(moves.release(keys, system.index, ended, system.task_rules))
            for message_id, _, reason in ended:
                if message_id in went:
                    count[str(reason)] += 1
    return count


def _unrecorded(system: System, ledger: Ledger, patience: Patience, known: set[tuple[str, str]]) -> list[Held]:
    """What the process had been given by a round whose reply it never wrote down. None of that started."""
    stamp = ledger.unrecorded()
    if stamp is None:
        return []
    leases = patience.execute(recall(system.keys.app, stamp))
    return [
        Held(Stage.CLAIMED, lease.queue, lease.id, lease.token, 0.0, 0.0)
        for lease in leases
        if (lease.queue, lease.id) not in known
    ]
