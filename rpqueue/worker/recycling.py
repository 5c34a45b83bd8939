"""
Recycling: when a worker process has worked enough, and another one takes its place.

The limits of a process lie up to a tenth below what was asked for, each a little elsewhere, so that processes that
started together do not go together. Its memory is compared with the most that it had while it was new: what its tasks
import, and what they use every time, is no growth, so no limit can be so small that every process is replaced for ever.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from .ledger import Ledger
from .memory import resident
from .pools import Pooling

#: The part of each limit that chance takes off.
JITTER = 0.1
#: Seconds, from the first task on, in which a process finds out how much memory it needs.
NEW = 10.0
#: Seconds between two looks at its memory.
LOOK = 1.0


class Term:
    """
    What one worker process may do.

    Args:
        pooling: its limits. Those of the pool "processes" are for the children of the process, and not for itself.
        clock: monotonic seconds.
        memory: bytes that a process has, by its process id; None: nobody knows.
    """

    def __init__(
        self,
        pooling: Pooling,
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[int], int | None] = resident,
    ) -> None:
        self._clock = clock
        self._memory = memory
        part = 1 - random.uniform(0, JITTER)
        counts = pooling.pool != "processes"
        self._max_tasks = max(round(pooling.max_tasks * part), 1) if pooling.max_tasks and counts else None
        self._max_age = pooling.max_age * part if pooling.max_age and counts else None
        self._max_growth = pooling.max_memory * part if pooling.max_memory and counts else None
        self._new_until: float | None = None  #: None: it has no task yet
        self._baseline = 0
        self._look_at = 0.0

    def is_over(self, pid: int, ledger: Ledger, started_at: float) -> str:
        """Why the process is to be replaced now; empty: it is not."""
        if self._max_tasks is not None and ledger.tasks >= self._max_tasks:
            return f"{ledger.tasks} tasks"
        now = self._clock()
        # One that did not get through to Redis yet has done nothing: replacing it for its age would go on for ever.
        if self._max_age is not None and ledger.answered_at and now - started_at >= self._max_age:
            return f"{now - started_at:.0f} seconds"
        if self._max_growth is not None and ledger.tasks and now >= self._look_at:
            self._look_at = now + LOOK
            growth = self._growth(pid, now)
            if growth > self._max_growth:
                return f"{growth / 2**20:.0f} MiB grown"
        return ""

    def _growth(self, pid: int, now: float) -> int:
        bytes_now = self._memory(pid) or 0
        if self._new_until is None:
            self._new_until = now + NEW
        if now < self._new_until:
            self._baseline = max(self._baseline, bytes_now)
        return bytes_now - self._baseline if self._baseline else 0
