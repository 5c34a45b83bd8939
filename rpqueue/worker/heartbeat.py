"""Heartbeat: keeps the leases of what runs, and says which workers are alive."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..broker import Broker
from ..errors import RedisError
from ..protocol import moves
from ..protocol.workers import Beat, beat, redis_time
from ..system import System
from .ledger import Held, Ledger

log = logging.getLogger("rpqueue.worker")

#: In place of the end of a lease that was found ended, and that this was logged: it is not asked about again.
MISSED, TOLD = 1e300, float("inf")


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
        # Not written into the ledger: by the time an answer is here, the record may be another message's.
        self._ends: dict[tuple[str, str, int], float] = {}  #: (queue, id, token) -> monotonic end of the lease

    def tick(self) -> float:
        """Extend what has used up a third of its lease. What has not costs Redis nothing, however often this looks."""
        settings = self.system.settings
        ttl = settings.worker_ttl
        horizon = time.monotonic() + ttl * 2 / 3
        due: dict[str, list[Held]] = {}
        before, self._ends = self._ends, {}
        for ledger in self._ledgers():
            for held in ledger.held():
                lease = (held.queue, held.id, held.token)
                ends_at = self._ends[lease] = before.get(lease, held.ends_at)
                if ends_at < horizon:
                    due.setdefault(held.queue, []).append(held)
                elif ends_at == MISSED:
                    log.warning("lease ended while the task runs", extra={"task_id": held.id, "queue": held.queue})
                    self._ends[lease] = TOLD
        for queue, leases in due.items():
            self._extend(queue, leases, ttl)
        return min(settings.heartbeat, ttl / 6)

    def _extend(self, queue: str, leases: list[Held], ttl: float) -> None:
        said = [(held.id, held.token, held.deadline) for held in leases]
        started = time.monotonic()
        extended = self.broker.execute(moves.extend(self.system.task_keys(queue), said, ttl))
        for held in leases:
            # One that is not held any more may have been acked this moment; the next tick tells.
            self._ends[held.queue, held.id, held.token] = started + ttl if held.id in extended else MISSED


class Presence:
    """
    Tells Redis which worker processes are alive, and notices when Redis has forgotten that.

    Args:
        system: keys and settings.
        broker: carries what is said to Redis.
        queues: that they work on; None: all.
        threads: of each.
        alive: asked at each tick for their process ids, and when each started (monotonic seconds).
        pool: where tasks run there that do not say.
    """

    def __init__(
        self,
        system: System,
        broker: Broker,
        queues: Sequence[str] | None,
        threads: int,
        alive: Callable[[], Mapping[int, float]],
        pool: str = "threads",
    ) -> None:
        self.system = system
        self.broker = broker
        self._alive = alive
        self._host = socket.gethostname()
        self._info = {
            "host": self._host,
            "queues": queues,
            "threads": threads,
            "pool": pool,
            "supervisor": os.getpid(),
        }
        self.reaches: bool | None = None  #: whether Redis answered the last beat; None: there was none
        self._told: set[int] = set()
        self._drift: float | None = None  #: Redis's clock minus the monotonic one; None: not known yet
        self._last = 0.0  #: Redis's clock at the last beat of a living process; 0: there was none

    def tick(self) -> float:
        """One call for all processes."""
        try:
            self._tell(self._alive())
        except RedisError:
            self.reaches = False
            raise
        self.reaches = True
        return self.system.settings.worker_ttl / 3

    def leave(self) -> None:
        """Say that none is there any more."""
        self._tell({})

    def _tell(self, alive: Mapping[int, float]) -> None:
        if self._drift is None:
            self._drift = self.broker.execute(redis_time()) - time.monotonic()
        # What rpqueue doctor compares with Redis's clock; nothing else reads it.
        clock = round(time.time(), 3)
        beats = [
            Beat(
                self._id(pid),
                json.dumps({**self._info, "pid": pid, "started_at": round(self._drift + born, 3), "clock": clock}),
            )
            for pid, born in alive.items()
        ]
        beats += [Beat(self._id(pid), "") for pid in self._told.difference(alive)]
        forget_after = 10 * self.system.settings.worker_ttl
        beaten = self.broker.execute(beat(self.system.keys.app, beats, forget_after))
        self._drift = beaten.now - time.monotonic()
        if self._last and (beaten.last or beaten.now - self._last < forget_after):
            self._compare(beaten.last)
        self._last = beaten.now if alive else 0.0
        self._told = set(alive)

    def _compare(self, remembered: float) -> None:
        """Say so when Redis has lost the last beat: with it went all that was written since the one before, or more."""
        if not remembered:
            log.error(
                "Redis has lost its data: this worker's heartbeat is gone. It was restarted without an append-only"
                " file, flushed, or replaced; what was queued there is gone, too"
            )
        elif remembered < self._last:
            log.error(
                "Redis has lost what was written in the last %.1f s before it stopped, or more: this worker's last"
                " heartbeat is gone. Calls of that time may be missing, or run again",
                self._last - remembered,
            )

    def _id(self, pid: int) -> str:
        return f"{self._host}:{pid}"
