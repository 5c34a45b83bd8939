"""Recurring tasks: which slot comes next, and who fires it."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..keys import QueueKeys
from ..recurring import Overlap
from . import scripts
from .moves import Index, listed, ms
from .operation import Operation, as_is, command


class Fired(NamedTuple):
    """What came of an attempt to fire a slot."""

    won: bool  #: this call moved the schedule on
    slot: int | None  #: the slot that now comes next, ms since the epoch; None: the schedule has none
    now: int  #: ms since the epoch by Redis's clock


def next_slot(keys: QueueKeys, name: str) -> Operation[int | None]:
    """The schedule's next slot in ms, None when it has none yet."""
    return command(lambda reply: None if reply is None else int(reply), "HGET", keys.schedules, name)


def forget(keys: QueueKeys, name: str) -> Operation[Any]:
    """Drop a schedule's next slot; it begins anew when it is set again."""
    return command(as_is, "HDEL", keys.schedules, name, "\1" + name)


def slot_id(name: str, slot: int | None) -> str:
    """The id of the message that is enqueued for a slot (ms)."""
    return f"{name}@{slot}"


def fire(
    keys: QueueKeys,
    index: Index,
    name: str,
    slot: int | None,
    following: int,
    *,
    body: bytes = b"",
    tail: str = "",
    early: bool = False,
    overlap: Overlap = "queue_one",
    delay: float = 0,
) -> Operation[Fired]:
    """
    Enqueue the task for *slot* if nobody did, and move the schedule on to *following*.

    Args:
        slot: ms; None for a schedule that has no slot yet, which then gets its first.
        following: ms, the slot after it.
        body: of the message; empty: only move the schedule on.
        tail: of the message's header.
        early: whether a slot that has not come may be fired.
        overlap: whether to enqueue while the last slot's message is there; see `recurrence_of`.
        delay: seconds until the message is due.
    """
    message_id = slot_id(name, slot) if body else ""
    words = (keys.name, name, "" if slot is None else str(slot), str(following), message_id, tail, body)
    options = ("1" if early else "0", overlap, str(ms(delay)))

    def read(reply: Any) -> Fired:
        won, stored, now = reply
        return Fired(won == 1, int(stored) if stored else None, now)

    fired = Operation(scripts.load("fire"), (*keys.block, keys.schedules, *index), (*words, *options), read)
    return listed(fired, keys, index)
