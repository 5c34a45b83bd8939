"""Fate: whether messages that were sent together with others are in their queues."""

from __future__ import annotations

from typing import Any, NamedTuple

from .errors import NotEnqueued


class Fate:
    """
    Whether messages are in their queue, for as long as that is not certain.

    Messages of one `Put` share one: all of them are in, or none is.
    """

    __slots__ = ("_leader", "is_in", "is_sent", "why")

    def __init__(self) -> None:
        self.is_sent = False
        self.is_in: bool | None = False  #: None: Redis was told and has not answered
        self.why = "it waits in a pipeline, which sends it when its block ends"  #: of not being in, for certain or not
        self._leader: Fate | None = None

    def settle(self, is_in: bool | None, why: str, *, is_sent: bool = True) -> None:
        """Say what became of them."""
        self.is_in, self.why, self.is_sent = is_in, why, is_sent

    def follow(self, leader: Fate) -> None:
        """Be that of others from now on, which they travel with."""
        self._leader = leader

    def check(self, what: object) -> None:
        """Raise NotEnqueued when it is certain that *what* is not in its queue."""
        last = self._last()
        if last.is_in is False:
            raise NotEnqueued(f"{what!r} is not in its queue: {last.why}")

    def check_gone(self, what: object) -> None:
        """Raise NotEnqueued when nobody knows whether *what*, which is not in its queue now, ever was."""
        last = self._last()
        if not last.is_in:
            raise NotEnqueued(f"{what!r} is not in its queue, and may never have been: {last.why}")

    def _last(self) -> Fate:
        last = self
        while last._leader is not None:
            last = last._leader
        return last


class Fates(NamedTuple):
    """What became of calls and items that were sent together: EnqueuedTasks, and ids of items, each list in order."""

    done: list[Any]  #: they are in their queues
    refused: list[Any]  #: they are not, and will not be
    unknown: list[Any]  #: they may be or not: Redis was told and did not answer

    @property
    def summary(self) -> str:
        """How many of each."""
        parts = ((self.done, "in"), (self.unknown, "perhaps in"), (self.refused, "not in"))
        told = ", ".join(f"{len(some)} {what}" for some, what in parts if some)
        return f"of {sum(map(len, self))} sent together: {told}"

    def __reduce__(self) -> Any:
        return type(None), ()  # it holds live objects; an error that goes to another process goes without it
