"""The states of a message, and the words that `EnqueuedTask.status` uses for them."""

from __future__ import annotations

from enum import Enum


class State(str, Enum):
    """Where a message is. A message is in exactly one state."""

    SCHEDULED = "scheduled"  #: waits for its due instant
    READY = "ready"  #: may be claimed
    LEASED = "leased"  #: a worker or consumer holds it
    PARKED = "parked"  #: no worker that claimed it knew its task name
    DONE = "done"  #: finished and removed
    FAILED = "failed"  #: given up, and its declaration asked for no dead-lettering
    DEAD = "dead"  #: given up and dead-lettered
    LOST = "lost"  #: its worker died, and it may be run at most once
    CANCELLED = "cancelled"  #: removed before it started

    def __str__(self) -> str:
        return self.value


#: The zsets in which given-up messages are kept.
GRAVES = (State.DEAD, State.LOST, State.FAILED)
