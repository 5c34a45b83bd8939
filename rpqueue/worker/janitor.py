"""Janitor: deletes what was given up long ago, or more of it than is to be kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from ..broker import Broker
from ..errors import RedisUnsuitable
from ..keys import QueueKeys
from ..protocol import locks, views
from ..protocol.mending import aging, retire
from ..system import System

log = logging.getLogger("rpqueue.worker")


class Janitor:
    """
    Goes over the dead, lost and failed messages of all queues, once a minute.

    Every worker has one; whoever takes the turn first goes, and if two go, each message is deleted and counted once all
    the same. A tick makes a few short calls, so neither its worker nor Redis is held up, however much there is to do.

    Args:
        system: settings and keys.
        broker: carries what is said to Redis.
    """

    #: Seconds from one turn to the next, and until the next tick of a turn that is not over.
    INTERVAL, SOON = 60.0, 0.02
    #: Calls of one tick, and messages that one of them deletes at most.
    CALLS, BATCH = 4, 250

    def __init__(self, system: System, broker: Broker) -> None:
        self.system = system
        self.broker = broker
        self._turn: Iterator[None] | None = None

    def tick(self) -> float:
        """Go on with a turn, or begin one."""
        if self._turn is None:
            bounds = self.system.bounds
            if not bounds.are_any:
                return self.INTERVAL
            asked = locks.acquire(self.system.keys.app.janitor, locks.new_token(), self.INTERVAL)
            if self.broker.execute(asked) > 0:
                return self.INTERVAL
            self._turn = self._go()
        turn, self._turn = self._turn, None
        for _ in range(self.CALLS):
            if next(turn, StopIteration) is StopIteration:
                return self.INTERVAL
        self._turn = turn
        return self.SOON

    def _go(self) -> Iterator[None]:
        """One turn over all queues, a call to Redis in each step."""
        app = self.system.keys.app
        tasks = self.broker.execute(views.names(app.queues))
        items = self.broker.execute(views.names(app.data_queues))
        yield
        queues = [*map(self.system.keys.tasks, tasks), *map(self.system.keys.data, items)]
        for some in views.chunks(queues, 1 if self.broker.is_cluster else views.CHUNK):
            overdue = self._overdue(some)
            yield
            for keys in overdue:
                yield from self._clean(keys)

    def _overdue(self, queues: Sequence[QueueKeys]) -> list[QueueKeys]:
        try:
            return self.broker.execute(aging(queues, self.system.bounds))
        except RedisUnsuitable as error:
            # Somebody else's key keeps nobody from cleaning the other queues.
            if len(queues) > 1:
                return [keys for one in queues for keys in self._overdue([one])]
            log.warning("a queue's given up messages cannot be looked at: %s", error, extra={"queue": queues[0].name})
            return []

    def _clean(self, keys: QueueKeys) -> Iterator[None]:
        gone = {"dead": 0, "lost": 0, "failed": 0}
        try:
            left = 1
            while left:
                *counts, left = self.broker.execute(retire(keys, self.system.bounds, self.BATCH))
                for grave, count in zip(gone, counts, strict=True):
                    gone[grave] += count
                yield
        except RedisUnsuitable as error:
            log.warning("a queue's given up messages cannot be deleted: %s", error, extra={"queue": keys.name})
        finally:
            if any(gone.values()):
                log.warning(
                    "messages that were given up are deleted, being too old or too many",
                    extra={"queue": keys.name, "kind": "data" if keys.is_data else "tasks", **gone},
                )
