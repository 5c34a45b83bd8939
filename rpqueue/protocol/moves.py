"""
The moves of a message, one function each: what is said to Redis, and what its answer means.

Tasks and data queues share them. *index* are the app's keys that a move keeps true, or ``()`` on Cluster, where no
script may touch them together with a queue's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from ..errors import IdTaken, QueueFull
from ..keys import QueueKeys, text_of
from ..states import State
from . import scripts
from .operation import Operation, Word, as_is, command

T = TypeVar("T")

Index = tuple[bytes, ...]
Lease = tuple[str, "int | str"]  #: id and token; an empty token stands for whoever holds the lease
Reason = Literal["unstarted", "interrupted", "crashed"]


class Rules(NamedTuple):
    """What becomes of messages that are given up."""

    kind: Literal["tasks", "data"]
    poison: int = 0  #: crashes after which a message is buried, whatever its attempts say; 0: never
    keep: int = 0  #: failed messages of one queue to keep; 0: none
    history: int = 10  #: records of failures to keep of one message


def ms(seconds: float) -> int:
    """Seconds as whole milliseconds, never 0 unless *seconds* is."""
    return max(round(seconds * 1000), 1) if seconds > 0 else 0


class Due(float):
    """An instant by Redis's clock, in epoch seconds, in the place of a delay."""


def _wait(delay: float) -> str:
    """A delay or an instant, as scripts take it."""
    return f"@{round(delay * 1000)}" if isinstance(delay, Due) else str(ms(delay))


def _instant(reply: Any) -> float:
    return int(reply) / 1000


def _texts(reply: list[bytes]) -> list[str]:
    return [text_of(text) for text in reply]


def enqueue(
    keys: QueueKeys,
    index: Index,
    messages: Sequence[tuple[str, bytes]],
    *,
    delay: float = 0,
    tail: str = "",
    chosen: bool = False,
    most: int = 0,
) -> Operation[float]:
    """
    New messages, ready or scheduled.

    Args:
        messages: ``(id, body)``, at most 3,000.
        delay: seconds until they are due; or a `Due`, the instant, and now if it is past.
        tail: of their header, from `messages.header_tail`.
        chosen: whether a user chose the ids. Then an id that is there already with the same body is left as it is.
        most: messages that the queue may hold; 0: as many as there are.

    Returns:
        The instant by Redis's clock. Reading the reply raises IdTaken when an id is there with another body, and
        QueueFull when there is no room.
    """
    words: list[Word]
    if not chosen and not delay and not most:
        words = [keys.name, tail, *(word for message in messages for word in message)]
        task_index = (index[0], index[1], index[3]) if len(index) > 1 else index
        script = scripts.load("enqueue_ready")
        return listed(Operation(script, (*keys.entrance, *task_index), words, _instant, keys.memo), keys, index)
    words = [keys.name, _wait(delay), tail, "1" if chosen else "0", str(most)]
    words += (word for message in messages for word in message)

    def read(reply: Any) -> float:
        if isinstance(reply, list) and reply[0] == -1:
            raise QueueFull(
                f"queue {keys.name!r}: expected at most {most} messages in it (max_queue_size), it holds {reply[1]}, "
                f"and {len(messages)} more are too many; try again when some are done"
            )
        if isinstance(reply, list):
            raise IdTaken(
                f"id {reply[1].decode()!r}: expected one that queue {keys.name!r} does not hold, but another message "
                "has it; choose another id, or wait until that message is done"
            )
        return _instant(reply)

    return listed(Operation(scripts.load("enqueue"), (*keys.block, *index), words, read, keys.memo), keys, index)


def listed(operation: Operation[T], keys: QueueKeys, index: Index) -> Operation[T]:
    """An operation that may bring the first message of a queue. Without *index*, the queue is listed before."""
    if not index:
        operation.before = enlist(keys)
    return operation


def enlist(keys: QueueKeys) -> Operation[int]:
    """List a queue, at the end of all if it is not listed yet."""
    return command(as_is, "ZADD", keys.listed_in, "NX", "0" if keys.is_data else "inf", keys.name)


def ack(keys: QueueKeys, leases: Iterable[Lease]) -> Operation[list[str]]:
    """Leased → done. Returns the ids that were held."""
    leases = list(leases)
    plain = [message_id for message_id, token in leases if token == 1]
    words: list[Word] = [str(len(plain)), *plain]
    if len(plain) < len(leases):
        words += [word for message_id, token in leases if token != 1 for word in (message_id, str(token))]

    def read(late: list[bytes]) -> list[str]:
        not_held = {text_of(message_id) for message_id in late}
        return [message_id for message_id, _ in leases if message_id not in not_held]

    return Operation(scripts.load("ack"), keys.block, words, read, keys.memo)


def extend(keys: QueueKeys, leases: Iterable[tuple[str, int | str, float]], lease_for: float) -> Operation[list[str]]:
    """
    Push leases out to *lease_for* seconds from now.

    Args:
        leases: id, token and deadline (epoch seconds; 0: none), which the lease is never pushed past. Below 0: only if
            it is one of a message that is delivered once at most. None ends earlier
            than before for a deadline.

    Returns:
        The ids that were held.
    """
    words: list[Word] = [str(ms(lease_for))]
    for message_id, token, deadline in leases:
        words += (message_id, str(token), str(ms(deadline)) if deadline >= 0 else "-1")
    return Operation(scripts.load("extend"), keys.block, words, _texts)


#: What becomes of a message whose run failed: as its attempts say; it runs again; it is given up; it is forgotten; it
#: counts as cancelled.
Again = Literal["auto", "retry", "stop", "drop", "cancel"]


def fail(
    keys: QueueKeys,
    index: Index,
    lease: Lease,
    rules: Rules,
    *,
    delay: float = 0,
    error: bytes = b"",
    reason: Literal["failed", "undecodable"] = "failed",
    again: Again = "auto",
    keep_for: float = 0,
    outcome: bytes = b"",
) -> Operation[str]:
    """
    Leased → scheduled, ready, buried or forgotten.

    Args:
        delay: seconds until the next delivery.
        error: JSON that says what happened, in one line.
        again: what becomes of it.
        keep_for: seconds to keep the *outcome* of what is dropped or cancelled; 0: not at all.
        outcome: JSON.

    Returns:
        Where it went, ``"stale"`` when the lease was not held.
    """
    words: list[Word] = [lease[0], str(lease[1]), str(ms(delay)), error, reason]
    words += (rules.kind, str(rules.poison), str(rules.keep), keys.name)
    words += (again, str(rules.history), str(ms(keep_for)), outcome)
    script, places = scripts.load("fail"), (*keys.block, keys.outcome(lease[0]), *index)
    return Operation(script, places, words, lambda reply: str(reply.decode()), keys.memo)


def release(
    keys: QueueKeys,
    index: Index,
    leases: Iterable[tuple[str, int | str, Reason]],
    rules: Rules,
    *,
    delay: float = 0,
    error: bytes = b"",
) -> Operation[dict[str, str]]:
    """
    End leases early.

    Args:
        delay: seconds before what was interrupted may be claimed again.
        error: JSON that says how the crashed ones ended, in one line.

    Returns:
        ``{id: where it went}`` of those that were held.
    """
    words: list[Word] = [keys.name, rules.kind, str(rules.poison), str(rules.keep), str(ms(delay))]
    words += (error, str(rules.history))
    for message_id, token, reason in leases:
        words += (message_id, str(token), reason)

    def read(reply: list[list[bytes]]) -> dict[str, str]:
        return {text_of(message_id): place.decode() for message_id, place in reply}

    return Operation(scripts.load("release"), (*keys.block, *index), words, read, keys.memo)


def park(keys: QueueKeys, leases: Iterable[tuple[str, int, str]]) -> Operation[list[str]]:
    """Leased → parked, for ``(id, token, task name)``. Returns the ids that were held."""
    words = [str(word) for lease in leases for word in lease]
    return Operation(scripts.load("park"), keys.block, words, _texts, keys.memo)


def unpark(keys: QueueKeys, index: Index, ids: Iterable[str]) -> Operation[int]:
    """Parked → ready, at the head. Returns how many."""
    return Operation(scripts.load("unpark"), (*keys.block, *index), [keys.name, *ids], int, keys.memo)


def parked(queues: Sequence[QueueKeys], limit: int = 1000) -> Operation[list[tuple[QueueKeys, dict[str, str]]]]:
    """``(queue, {id: task name})`` for each of *queues* that has parked messages; about *limit* of each at most."""

    def read(reply: list[list[Any]]) -> list[tuple[QueueKeys, dict[str, str]]]:
        return [
            (queues[number - 1], dict(zip(_texts(words[::2]), _texts(words[1::2]), strict=True)))
            for number, *words in reply
        ]

    return Operation(scripts.load("parked"), [keys.parked for keys in queues], [str(limit)], read)


def redrive(
    keys: QueueKeys,
    index: Index,
    grave: State | None,
    ids: Sequence[str] = (),
    limit: int = 1000,
    *,
    delay: float = 0,
    step: float = 0,
) -> Operation[list[str]]:
    """
    Buried → ready, or scheduled one after the other.

    Args:
        grave: out of which; None: any.
        ids: which messages; none: the oldest ones.
        limit: most messages to move where no ids are given, 1 to 1,000.
        delay: seconds until the first of them is due; counts only with *step*.
        step: seconds from one to the next; 0: all are ready at once.

    Returns:
        The ids that went back, in the order in which they will start.
    """
    words: list[Word] = [keys.name, "any" if grave is None else grave.value, str(limit)]
    words += (f"{delay * 1000:.3f}", f"{step * 1000:.6f}" if step else "0", *ids)
    return Operation(scripts.load("redrive"), (*keys.block, *index), words, _texts, keys.memo)


class Taken(NamedTuple):
    """A message that was taken out for good, as it was."""

    id: bytes | str
    message: bytes
    counts: str = ""  #: what stood in the queue's `counts`
    at: float = 0.0  #: epoch seconds at which it was buried, or is due
    last: bytes = b""  #: what stood in the queue's `errors`


def put_back(keys: QueueKeys, index: Index, place: State, messages: Iterable[Taken]) -> Operation[list[str]]:
    """Put messages back, ready, scheduled or buried, in this order. Returns the ids that are there again."""
    words: list[Word] = [keys.name, place.value]
    for one in messages:
        words += (one.id, one.message, one.counts, f"{one.at * 1000:.3f}", one.last)
    return Operation(scripts.load("put_back"), (*keys.block, *index), words, _texts, keys.memo)


#: The outcome of what was cancelled.
CANCELLED = b'{"state":"cancelled"}'


#: Seconds for which it is remembered that a run is to be stopped.
ASKED_FOR = 86_400


def cancel(keys: QueueKeys, message_id: str, keep_for: float, *, running: bool = False) -> Operation[int]:
    """
    Remove what has not started; with *running*, ask who runs it to stop.

    Returns:
        1: removed. 2: its run is asked to stop. -1: it had finished, its outcome is deleted. 0: running or not known.
    """
    words: list[Word] = [message_id, str(ms(keep_for)), CANCELLED, "1" if running else "0", str(ms(ASKED_FOR))]
    places = (*keys.block, keys.outcome(message_id), keys.asked(message_id), keys.checkpoint(message_id))
    return Operation(scripts.load("cancel"), places, words, int, keys.memo)


@dataclass(frozen=True)
class Whereabouts:
    """Where one message is, and what happened to it."""

    id: str
    state: State | None  #: None: nothing is known of the id
    at: float  #: epoch seconds: when it is due, its lease ends, or it was buried; 0 when it is ready or gone
    now: float  #: epoch seconds by Redis's clock
    failures: int
    crashes: int
    interruptions: int
    message: bytes  #: header and body, empty when it is gone
    reason: str  #: why it was buried or failed last, empty when it never did
    error: bytes  #: JSON of its last error, or empty
    earlier: tuple[bytes, ...]  #: JSON of the errors before that one, newest first
    outcome: bytes  #: JSON of what it ended with, or empty
    recorded: int = 0  #: records of failed runs that are kept of it, of which a page shows the newest


def whereabouts(keys: QueueKeys, ids: Sequence[str]) -> Operation[list[Whereabouts]]:
    """Where messages are. Writes nothing."""

    def read(reply: list[Any]) -> list[Whereabouts]:
        now = int(reply[0]) / 1000
        return [
            row_read(message_id, None if row[0] == b"gone" else State(row[0].decode()), row[1:5], now, row[5])
            for message_id, row in zip(ids, reply[1:], strict=True)
        ]

    outcomes = (keys.outcome(message_id) for message_id in ids)
    return Operation(scripts.load("states"), (*keys.block, *outcomes), tuple(ids), read)


def ended(message_id: str, outcome: bytes) -> Whereabouts:
    """Of a message that is done and left an outcome."""
    return Whereabouts(message_id, State.DONE, 0.0, 0.0, 0, 0, 0, b"", "", b"", (), outcome)


def numbers_of(counts: bytes) -> tuple[int, int, int]:
    """``(failures, crashes, interruptions)`` as stored; what cannot be read counts as none, as in the scripts."""
    words = counts.split(b" ")
    if len(words) != 4 or not all(word.isdigit() and len(word) <= 15 for word in words):
        return 0, 0, 0
    return int(words[1]), int(words[2]), int(words[3])


def told_by(last: bytes) -> list[bytes]:
    """What an entry of `errors` tells: the reason, JSON of the last error or nothing, and that of earlier ones."""
    reason, _, records = last.partition(b"|")
    return [reason.partition(b" ")[0], *records.split(b"\n")]


def row_read(
    message_id: str,
    state: State | None,
    row: Sequence[bytes],
    now: float,
    outcome: bytes,
    recorded: int | None = None,
) -> Whereabouts:
    """Where a message is, from a row ``[at, counts, message, last]`` of a script's reply; None: *last* is whole."""
    at, counts, message, last = row
    failures, crashes, interruptions = numbers_of(counts)
    reason, error, *earlier = told_by(last)
    return Whereabouts(
        message_id,
        state,
        float(at) / 1000,
        now,
        failures,
        crashes,
        interruptions,
        message,
        text_of(reason),
        error,
        tuple(earlier),
        outcome,
        (bool(error) + len(earlier)) if recorded is None else recorded,
    )
