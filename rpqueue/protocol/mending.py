"""What people do to single messages and to what was given up long ago, and what the answers mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..keys import QueueKeys
from . import scripts
from .moves import CANCELLED, Due, Index, ms
from .operation import Operation, Word


def delete(keys: QueueKeys, message_id: str, keep_for: float) -> Operation[str]:
    """
    Delete one message for good, unless it is leased.

    Args:
        keep_for: seconds to remember of one that waited that it was cancelled; 0: not at all.

    Returns:
        Where it was: the word of a State. ``"done"`` when only its outcome was left, which is gone now; ``"leased"``
        when nothing was done; ``"gone"`` when nothing is known of it.
    """
    beside = (keys.outcome(message_id), keys.progress(message_id), keys.checkpoint(message_id))
    words: list[Word] = [message_id, str(ms(keep_for)), CANCELLED]
    return Operation(scripts.load("delete"), (*keys.block, *beside), words, lambda reply: reply.decode(), keys.memo)


def reschedule(keys: QueueKeys, index: Index, message_id: str, delay: float | Due) -> Operation[str]:
    """
    Scheduled → scheduled at another instant, or ready.

    Args:
        delay: seconds from now until it is due, or a Due; what is over means now.

    Returns:
        ``"scheduled"`` or ``"ready"``; ``"elsewhere"`` when it is not scheduled, and nothing was done.
    """
    words: list[Word] = [keys.name, message_id, str(round(delay * 1000)), "0" if isinstance(delay, Due) else "1"]
    script = scripts.load("reschedule")
    return Operation(script, (*keys.block, *index), words, lambda reply: reply.decode(), keys.memo)


class Bound(NamedTuple):
    """Which messages of one grave stay."""

    ttl: float  #: seconds; 0: for ever
    keep: int | None  #: the newest ones; None: however many

    @property
    def words(self) -> tuple[str, str]:
        """For the scripts."""
        return str(ms(self.ttl)), str(-1 if self.keep is None else self.keep)


class Bounds(NamedTuple):
    """Which given up messages of each queue stay."""

    dead: Bound
    lost: Bound
    failed: Bound

    @property
    def are_any(self) -> bool:
        """Whether there is any bound at all."""
        return any(bound.ttl or bound.keep is not None for bound in self)

    @property
    def words(self) -> list[Word]:
        """For the scripts."""
        return [word for bound in self for word in bound.words]


class Retired(NamedTuple):
    """How many messages of a queue were deleted."""

    dead: int
    lost: int
    failed: int
    left: int  #: to be deleted by further calls


def aging(queues: Sequence[QueueKeys], bounds: Bounds) -> Operation[list[QueueKeys]]:
    """Those of *queues* that hold more than *bounds* let stay."""
    graves = [grave for keys in queues for grave in (keys.dead, keys.lost, keys.failed)]
    return Operation(scripts.load("aging"), graves, bounds.words, lambda reply: [queues[n - 1] for n in reply])


def retire(keys: QueueKeys, bounds: Bounds, limit: int) -> Operation[Retired]:
    """Delete the oldest of what *bounds* do not let stay, at most *limit* messages, 1 to 1,000."""
    words: list[Word] = [str(limit), *bounds.words]
    return Operation(scripts.load("retire"), keys.block, words, lambda reply: Retired(*reply), keys.memo)
