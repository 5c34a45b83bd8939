"""Taking over what version 0.33 of this package has left: what is read of its keys, and the move out of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from ..keys import QueueKeys
from . import scripts
from .moves import Index
from .operation import Operation, Word, command

#: What a key of 0.33 holds: ids that are ready, scheduled ones, leased ones, or messages that are in no place.
Source = Literal["list", "scheduled", "invisible", "nowhere"]


class OldQueue(NamedTuple):
    """The keys that 0.33 has for one queue."""

    messages: bytes
    ready: tuple[bytes, ...]  #: lists, the one that goes first in front
    scheduled: bytes  #: of a data queue the same as invisible
    invisible: bytes
    recurring: bytes  #: of a data queue nothing is ever there


def old_queue(prefix: bytes, name: bytes, kind: Literal["tasks", "data"]) -> OldQueue:
    """The keys of 0.33 for one queue, under its key prefix."""

    def key(word: bytes) -> bytes:
        return prefix + word + name

    if kind == "tasks":
        ready = (key(b"pqueue:"), key(b"nqueue:"))
        return OldQueue(key(b"messages:"), ready, key(b"queue:"), key(b"invisible:"), key(b"rqueue:"))
    return OldQueue(key(b"dataqm:"), (key(b"dataq:"),), key(b"dataqv:"), key(b"dataqv:"), key(b"rqueue:"))


class Row(NamedTuple):
    """One entry that was read, and what it is to become; see adopt.lua."""

    verb: Literal["move", "spent", "slot", "bury", "empty"]
    entry: bytes
    raw: bytes = b""  #: the message as it was read
    id: str = ""
    message: bytes = b""


def adopt(
    keys: QueueKeys, index: Index, old: OldQueue, place: bytes, source: Source, rows: Iterable[Row], *, dry: bool
) -> Operation[list[str]]:
    """Move entries that were read from *place*. Returns a word for each: what became of it."""
    words: list[Word] = [keys.name, source, "1" if dry else "0"]
    for row in rows:
        sha = hashlib.sha1(row.raw).hexdigest() if row.raw else ""  # what Redis's scripts can compute
        words += (row.verb, row.entry, sha, row.id, row.message)
    lists = (old.ready[0], old.ready[-1])
    places = (old.messages, place, old.scheduled, old.invisible, old.recurring, *lists)
    script = scripts.load("adopt")
    return Operation(script, (*keys.block, keys.schedules, *places, *index), words, _texts, keys.memo)


def _texts(reply: list[bytes]) -> list[str]:
    return [word.decode() for word in reply]


def scan(cursor: str, pattern: bytes, count: int = 1000) -> Operation[tuple[str, list[bytes]]]:
    """Some of the keys that match, and the cursor to go on with; ``"0"`` ends."""
    return command(_page, "SCAN", cursor, "MATCH", pattern, "COUNT", count)


def fields(key: bytes, cursor: str, count: int) -> Operation[tuple[str, list[tuple[bytes, bytes]]]]:
    """Some fields of a hash with their values, and the cursor to go on with."""

    def read(reply: Any) -> tuple[str, list[tuple[bytes, bytes]]]:
        position, found = reply
        flat = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
        return _text(position), list(flat)

    return command(read, "HSCAN", key, cursor, "COUNT", count)


def entries(key: bytes, source: Source, first: int, count: int) -> Operation[list[bytes]]:
    """Ids of a list or zset, from the *first* one on."""
    return command(list, "LRANGE" if source == "list" else "ZRANGE", key, first, first + count - 1)


def bodies(key: bytes, ids: Sequence[bytes]) -> Operation[list[bytes | None]]:
    """The messages of these ids; None for those that have none."""
    return command(list, "HMGET", key, *ids)


def key_type(key: bytes) -> Operation[str]:
    """What Redis says that a key holds; ``"none"`` when it does not exist."""
    return command(_text, "TYPE", key)


def score(key: bytes, member: bytes) -> Operation[float | None]:
    """Of a zset's member; None when it has it not."""
    return command(lambda reply: None if reply is None else float(reply), "ZSCORE", key, member)


def remove(key: bytes, member: bytes) -> Operation[int]:
    """Take a member out of a zset. Returns how many there were."""
    return command(int, "ZREM", key, member)


def _page(reply: Any) -> tuple[str, list[bytes]]:
    position, found = reply
    return _text(position), list(found)


def _text(word: Any) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)
