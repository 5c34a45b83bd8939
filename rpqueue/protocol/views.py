"""
Looking into queues, clearing them, and the dead-letter view: the buried messages of many queues, oldest first.

A flow over several queues takes them in chunks; on Cluster, where a script may touch one queue only, *chunk* is 1.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..keys import AppKeys, QueueKeys, text_of, wire
from ..states import State
from . import scripts
from .moves import Index, Taken, Whereabouts, put_back, row_read, whereabouts
from .operation import Flow, Operation, Word, command

#: Queues whose sizes one call asks for, and whose graves one call looks into.
CHUNK = 250
#: Messages that one call moves or deletes.
BATCH = 1000
#: Messages whose bodies one call hands out.
WHOLE_BATCH = 100


class Sizes(NamedTuple):
    """How many messages of one queue are where."""

    ready: int
    scheduled: int
    leased: int
    parked: int
    dead: int
    lost: int
    failed: int
    seen: int  #: put in since the queue began
    done: int  #: finished since the queue began
    retired: int  #: given up, and deleted since they were too old or too many
    age: float  #: seconds for which the first ready message has been waiting; 0 when none is ready


class Buried(NamedTuple):
    """A message in a grave, and the queue that it was in."""

    queue: QueueKeys
    where: Whereabouts


class PageRead(NamedTuple):
    """Some messages of a queue, in the order of its places."""

    rows: list[Whereabouts]
    cursor: str  #: for the next page of one place; ``"0"``: that has no more
    cursors: list[str]  #: to go on behind each of the rows; empty where there is no order, as of what is parked


def chunks(queues: Sequence[QueueKeys], size: int) -> list[Sequence[QueueKeys]]:
    """*queues* in parts of at most *size*."""
    return [queues[at : at + size] for at in range(0, len(queues), size)]


def set_priority(app: AppKeys, queue: str, priority: float) -> Operation[bool]:
    """Lower goes first; infinity removes it. Returns whether the queue is known then."""
    word = "inf" if priority == float("inf") else repr(priority)
    return Operation(scripts.load("priority"), (app.queues, app.ready_queues), (queue, word), bool)


def names(listed_in: bytes) -> Operation[list[str]]:
    """The names of all queues in one of the app's lists."""
    return command(_texts, "ZRANGE", listed_in, 0, -1)


def sizes(queues: Sequence[QueueKeys]) -> Operation[list[Sizes]]:
    """How much is where, in each of *queues*."""

    def read(reply: list[Any]) -> list[Sizes]:
        now = reply[0]
        return [Sizes._make((*row[:10], max(now - row[10], 0) / 1000 if row[10] else 0.0)) for row in reply[1:]]

    return Operation(scripts.load("sizes"), [key for queue in queues for key in queue.block], (), read)


def sizing(queues: Sequence[QueueKeys], chunk: int = CHUNK) -> Flow[list[Sizes]]:
    """The sizes of any number of queues, in order."""
    found: list[Sizes] = []
    for some in chunks(queues, chunk):
        found += yield from sizes(some)
    return found


def clear(keys: QueueKeys, index: Index, limit: int, *, forget: bool) -> Operation[tuple[int, int]]:
    """Delete what waits, runs or is parked, a batch of it. Returns how many were deleted, and how many are left."""
    words: list[Word] = [keys.name, str(limit), "1" if forget else "0"]
    return Operation(scripts.load("clear"), (*keys.block, keys.schedules, *index), words, _pair, keys.memo)


def _pair(reply: Any) -> tuple[int, int]:
    return int(reply[0]), int(reply[1])


def clearing(keys: QueueKeys, index: Index, *, forget: bool = False) -> Flow[int]:
    """Delete what waits, runs or is parked; returns how many. What is put in meanwhile is not run after for ever."""
    deleted, left = yield from clear(keys, index, BATCH, forget=forget)
    total, most = deleted, deleted + left
    while left and total < most:
        deleted, left = yield from clear(keys, index, BATCH, forget=forget)
        total += deleted
    return total


def page(
    keys: QueueKeys,
    places: Sequence[State],
    limit: int,
    *,
    skip: int = 0,
    after: str = "",
    newest: bool = False,
    most: int = 0,
    records: int = 1,
) -> Operation[PageRead]:
    """
    The messages in *places*, one place after the other.

    Args:
        keys: of the queue.
        places: any of them but parked, or parked alone.
        limit: most messages to return, 1 to 1000.
        skip: how many to pass over.
        after: the cursor of the page before, instead of *skip*, where there is one place.
        newest: whether each place is shown the other way round.
        most: bytes of each message to return; 0: all.
        records: records of failed runs to return of each, the newest ones.

    Of what is parked, which is in no order, a page may be empty and have a next one.
    """
    passed = int(after) if after and places[0] is State.READY else skip

    def read(reply: list[Any]) -> PageRead:
        now, found = reply[0] / 1000, reply[2:]
        rows = [row_read(text_of(row[5]), State(row[0].decode()), row[1:5], now, b"", row[6]) for row in found]
        cursors = [
            str(passed + number) if row[0] == b"ready" else f"{row[1].decode()} {text_of(row[5])}"
            for number, row in enumerate(found, 1)
            if row[0] != b"parked"
        ]
        return PageRead(rows, text_of(reply[1]), cursors)

    words = (str(limit), str(skip), wire(after), "1" if newest else "0", str(most), str(records))
    places_said = (place.value for place in places)
    return Operation(scripts.load("page"), keys.block, (*words, *places_said), read)


def purge(
    keys: QueueKeys, grave: State, ids: Sequence[str] = (), limit: int = BATCH, before: float = 0
) -> Operation[list[str]]:
    """
    Delete buried messages for good: these ids, or the *limit* oldest.

    Args:
        before: epoch seconds before which they were buried, where no ids are given; 0: whenever that was.

    Returns:
        The ids that were deleted.
    """
    words = (grave.value, str(limit), str(round(before * 1000)), *ids)
    return Operation(scripts.load("purge"), keys.block, words, _texts, keys.memo)


def _texts(reply: list[bytes]) -> list[str]:
    return [text_of(text) for text in reply]


def oldest(graves: Sequence[bytes], limit: int) -> Operation[list[tuple[float, int, str]]]:
    """``(at in ms, number of the grave, id)`` of the *limit* messages that were buried first, oldest first."""

    def read(reply: list[list[Any]]) -> list[tuple[float, int, str]]:
        return [(float(at), number - 1, text_of(message_id)) for number, message_id, at in reply]

    return Operation(scripts.load("oldest"), graves, (str(limit),), read)


def finding_oldest(
    queues: Sequence[QueueKeys], grave: State, limit: int, chunk: int = CHUNK
) -> Flow[list[tuple[QueueKeys, str]]]:
    """The *limit* messages of all *queues* that were buried first, oldest first: ``(queue, id)``."""
    found: list[list[tuple[float, int, str]]] = []
    for number, some in enumerate(chunks(queues, chunk)):
        rows = yield from oldest([getattr(queue, grave.value) for queue in some], limit)
        found.append([(at, number * chunk + place, message_id) for at, place, message_id in rows])
    # By instant alone, so that ties of one queue keep their order in it.
    merged = list(heapq.merge(*found, key=lambda row: row[:2]))[:limit]
    return [(queues[place], message_id) for _, place, message_id in merged]


def _by_queue(found: Sequence[tuple[QueueKeys, str]], most: int) -> list[tuple[QueueKeys, list[str]]]:
    """The ids of each queue, at most *most* in a part."""
    ids: dict[QueueKeys, list[str]] = {}
    for queue, message_id in found:
        ids.setdefault(queue, []).append(message_id)
    return [(queue, some[at : at + most]) for queue, some in ids.items() for at in range(0, len(some), most)]


def reading_buried(
    queues: Sequence[QueueKeys], grave: State, limit: int, *, skip: int = 0, chunk: int = CHUNK
) -> Flow[list[Buried]]:
    """The messages of all *queues* that were buried first, oldest first, and left where they are."""
    found = (yield from finding_oldest(queues, grave, skip + limit, chunk))[skip:]
    known: dict[tuple[bytes, str], Buried] = {}
    for queue, ids in _by_queue(found, WHOLE_BATCH):
        for where in (yield from whereabouts(queue, ids)):
            if where.state is grave:
                known[queue.stem, where.id] = Buried(queue, where)
    return [known[queue.stem, message_id] for queue, message_id in found if (queue.stem, message_id) in known]


def taking_buried(queues: Sequence[QueueKeys], grave: State, limit: int, *, chunk: int = CHUNK) -> Flow[list[Buried]]:
    """Hand out the messages that were buried first, oldest first, and delete exactly those. Each goes to one taker."""
    taken: list[Buried] = []
    while len(taken) < limit:
        read = yield from reading_buried(queues, grave, limit - len(taken), chunk=chunk)
        if not read:
            break
        mine: set[tuple[bytes, str]] = set()
        for queue, ids in _by_queue([(row.queue, row.where.id) for row in read], BATCH):
            mine.update((queue.stem, message_id) for message_id in (yield from purge(queue, grave, ids)))
        taken += [row for row in read if (row.queue.stem, row.where.id) in mine]
    return taken


def giving_back_buried(letters: Sequence[Buried], grave: State) -> Flow[None]:
    """Put back what `taking_buried` handed out to somebody who went away before he had it."""
    taken: dict[QueueKeys, list[Taken]] = {}
    for queue, where in letters:
        # The token of its last lease is not known here; an instant is greater than any that it can have had.
        counts = f"{where.now * 1000:.0f} {where.failures} {where.crashes} {where.interruptions}"
        last = f"{where.reason} {where.at * 1000:.0f}|".encode() + where.error
        taken.setdefault(queue, []).append(Taken(where.id, where.message, counts, where.at, last))
    for queue, some in taken.items():
        yield from put_back(queue, (), grave, some)


def purging(queues: Sequence[QueueKeys], grave: State, *, chunk: int = CHUNK) -> Flow[int]:
    """Delete all that is buried in *grave* of these queues now; returns how many."""
    total = 0
    counts = yield from sizing(queues, chunk)
    for queue, size in zip(queues, counts, strict=True):
        left = getattr(size, grave.value)
        while left > 0:
            gone = yield from purge(queue, grave, limit=min(left, BATCH))
            total += len(gone)
            left = left - len(gone) if gone else 0
    return total


def finding(queues: Sequence[QueueKeys], message_id: str, chunk: int = CHUNK) -> Flow[list[QueueKeys]]:
    """Those of *queues* that hold the message, or an outcome of it."""
    found: list[QueueKeys] = []
    for some in chunks(queues, chunk):
        places = [key for keys in some for key in (keys.messages, keys.outcome(message_id))]
        numbers: list[int] = yield from Operation(scripts.load("find"), places, (message_id,), list)
        found += [some[number - 1] for number in numbers]
    return found


def force(keys: QueueKeys, index: Index, limit: int = BATCH) -> Operation[int]:
    """Scheduled → ready before it is due, earliest first. Returns how many."""
    return Operation(scripts.load("force"), (*keys.block, *index), (keys.name, str(limit)), int)


class Unfinished(NamedTuple):
    """The ids of one queue's messages that wait or run, each list in order."""

    ready: list[str]
    scheduled: list[str]
    leased: list[str]


def unfinished(keys: QueueKeys) -> Operation[Unfinished]:
    """What waits and runs at one instant."""

    def read(reply: list[list[bytes]]) -> Unfinished:
        return Unfinished(*([text_of(message_id) for message_id in place] for place in reply))

    return Operation(scripts.load("unfinished"), keys.block, (), read)


#: What `progress` says of messages that have no lease; a positive number is a lease's token.
OVER, WAITS, WAITS_AGAIN = 0, -1, -2


def progress(keys: QueueKeys, ids: Sequence[str]) -> Operation[list[int]]:
    """For each id OVER, WAITS (for its first delivery), WAITS_AGAIN (for a further one), or the token of its lease."""
    return Operation(scripts.load("progress"), keys.block, tuple(ids), lambda reply: [int(word) for word in reply])
