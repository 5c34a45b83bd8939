"""Checking the bookkeeping of queues, and mending it: what is asked, and what the answers mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from ..keys import QueueKeys, text_of, wire
from . import scripts
from .moves import Index
from .operation import Operation, Word, command

#: Where a message may be, and what else is kept of it.
PLACES = ("ready", "scheduled", "leased", "dead", "lost", "failed", "parked")

Place = Literal["ready", "scheduled", "leased", "dead", "lost", "failed", "parked", "messages", "counts", "errors"]


class Census(NamedTuple):
    """A queue at one instant: how many are where, and what the index says. Instants in ms; None: there is none."""

    now: int
    messages: int
    ready: int
    scheduled: int
    leased: int
    parked: int
    dead: int
    lost: int
    failed: int
    counts: int
    errors: int
    first_due: float | None
    first_expiry: float | None
    priority: float | None  #: of a data queue, whether it is listed: 0
    ready_priority: float | None
    due_at: float | None

    @property
    def placed(self) -> int:
        """Entries in all places. As many as there are messages, or something is wrong."""
        return sum(self[2:9])

    @property
    def is_empty(self) -> bool:
        """Whether nothing of any message is there."""
        return not any(self[1:11])


def census(keys: QueueKeys, index: Index) -> Operation[Census]:
    """Count what there is."""

    def read(reply: list[Any]) -> Census:
        return Census(*reply[:11], *(float(word) if word else None for word in reply[11:]))

    return Operation(scripts.load("census"), (*keys.block, *index), (keys.name,), read)


class Part(NamedTuple):
    """A part of a place that was looked through."""

    on: str  #: where to go on; ``"0"``: this was the last one
    wrong: list[str]


def audit(keys: QueueKeys, place: Place, from_: str, count: int) -> Operation[Part]:
    """Look through a part of one place."""

    def read(reply: list[Any]) -> Part:
        on, wrong = reply
        return Part(on.decode(), [text_of(one) for one in wrong])

    return Operation(scripts.load("audit"), keys.block, (place, from_, str(count)), read)


def ready_ids(keys: QueueKeys, passed: int, count: int) -> Operation[list[str]]:
    """Ids of ready messages, in front of the last *passed* ones."""

    def read(reply: list[bytes]) -> list[str]:
        return [text_of(one) for one in reply]

    return command(read, "LRANGE", keys.ready, -passed - count, -passed - 1)


class Verdict(NamedTuple):
    """What is wrong with a message, and where it is when that is mended."""

    what: str  #: fine, no message, twice or nowhere
    where: str


def mend(
    keys: QueueKeys,
    index: Index,
    kind: Literal["tasks", "data"],
    message_id: str,
    *,
    mends: bool,
    misses: bool = False,
) -> Operation[Verdict]:
    """
    Look at one message; with *mends*, set right what is wrong.

    *misses* looks only whether it has a message that is in no place.
    """
    words: tuple[Word, ...] = (keys.name, kind, wire(message_id), "1" if mends else "0", "1" if misses else "0")

    def read(reply: list[bytes]) -> Verdict:
        return Verdict(*(word.decode() for word in reply))

    return Operation(scripts.load("mend"), (*keys.block, *index), words, read)


def relist(keys: QueueKeys, index: Index) -> Operation[int]:
    """Make the index true of a task queue, and list it."""
    return Operation(scripts.load("relist"), (*keys.block, *index), (keys.name,), int)


class Held(NamedTuple):
    """What a key holds."""

    type: str  #: Redis's word; none: the key is gone
    ttl: int  #: ms; -1: it has none


def kinds(keys: Sequence[bytes]) -> Operation[list[Held]]:
    """What these keys hold; on Cluster it may be asked of one slot only."""

    def read(reply: list[Any]) -> list[Held]:
        return [Held(kind.decode(), int(ttl)) for kind, ttl in reply]

    return Operation(scripts.load("kinds"), keys, (), read)


def listed_at(keys: QueueKeys) -> Operation[float | None]:
    """The score under which a queue is listed: its priority, 0 of a data queue. None: it is not listed."""
    return command(lambda reply: None if reply is None else float(reply), "ZSCORE", keys.listed_in, wire(keys.name))


def memory(key: bytes) -> Operation[int]:
    """About how many bytes a key takes; 0 when it is not there."""
    return command(lambda reply: int(reply or 0), "MEMORY", "USAGE", key)


def length(key: bytes) -> Operation[int]:
    """Fields of a hash."""
    return command(int, "HLEN", key)
