"""Unparker: puts parked messages back when this process knows their task, or can read what was too new for another."""

from __future__ import annotations

import logging

from ..broker import Broker
from ..keys import QueueKeys, text_of
from ..messages import can_read
from ..protocol import moves
from ..protocol.operation import as_is, command
from ..system import System

log = logging.getLogger("rpqueue.worker")


def queues_of(system: System, broker: Broker, names: list[str] | None) -> list[QueueKeys]:
    """The keys of these task queues; None: of all that are known."""
    if names is None:
        known = broker.execute(command(as_is, "ZRANGE", system.keys.app.queues, 0, -1))
        names = [text_of(name) for name in known]
    return [system.keys.tasks(name) for name in names]


class Unparker:
    """
    Looks through the parked messages of a worker's queues, when it starts and now and then.

    Args:
        system: registry and keys.
        broker: carries what is said to Redis.
        queues: of this worker; None: all.
    """

    #: Seconds between two looks; and after one that found something, since a worker that does not know the task may
    #: have been quicker to claim it again.
    INTERVAL, SOON = 30.0, 1.0
    #: Queues that one call looks at.
    AT_ONCE = 500

    def __init__(self, system: System, broker: Broker, queues: list[str] | None) -> None:
        self.system = system
        self.broker = broker
        self.queues = queues

    def tick(self) -> float:
        """Look through the parked messages of this worker's queues."""
        broker, known = self.broker, self.system.settings.registry
        next_look = self.INTERVAL
        queues = queues_of(self.system, broker, self.queues)
        at_once = 1 if broker.is_cluster else self.AT_ONCE
        for first in range(0, len(queues), at_once):
            for keys, parked in broker.execute(moves.parked(queues[first : first + at_once])):
                ids = [message_id for message_id, task in parked.items() if task in known or can_read(task)]
                if ids:
                    broker.execute(moves.unpark(keys, self.system.index, ids))
                    next_look = self.SOON
                    log.info("parked messages are back", extra={"queue": keys.name, "count": len(ids)})
        return next_look
