"""Fate: whether messages that were sent together with others are in their queues."""

from __future__ import annotations

from typing import Any, NamedTuple

from .errors import NotEnqueued


class Fate:
    """
    Whether messages are in their queue, for as long as that is not certain.

    Messages of one `Put` share one: all of them are in, or none is.
    """

    __slots__ = ("is_in", "is_sent", "why")

    def __init__(self) -> None:
        self.is_sent = False
        self.is_in: bool | None = False  #: None: Redis was told and has not answered
        self.why = "it waits in a pipeline, which sends it when its block ends"  #: of not being in, for certain or not

    def check(self, what: object) -> None:
        """Raise NotEnqueued when it is certain that *what* is not in its queue."""
        if self.is_in is False:
            raise NotEnqueued(f"{what!r} is not in its queue: {self.why}")

    def check_gone(self, what: object) -> None:
        """Raise NotEnqueued when nobody knows whether *what*, which is not in its queue now, ever was."""
        if not self.is_in:
            raise NotEnqueued(f"{what!r} is not in its queue, and may never have been: {self.why}")


class Fates(NamedTuple):
    """What became of calls and items that were sent together: EnqueuedTasks, and ids of items, each list in order."""

    done: list[Any]  #: they are in their queues
    refused: list[Any]  #: they are not, and will not be
    unknown: list[Any]  #: they may be or not: Redis was told and did not answer

    @property
    def summary(self) -> str:
        """How many of each."""
        parts = ((self.done, "are in"), (self.unknown, "may be in"), (self.refused, "are not in"))
        told = ", ".join(f"{len(some)} {what}" for some, what in parts if some)
        return f"of {sum(map(len, self))} that were sent together, {told}"

    def __reduce__(self) -> Any:
        return type(None), ()  # it holds live objects; an error that goes to another process goes without it
