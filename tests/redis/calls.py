"""Calls of the scripts with their keys and arguments in the order of their headers: one function per script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rpqueue.messages import header_tail
from rpqueue.protocol.cycle import Ack, Acks
from tests.redis.harness import SESSION, Queue

#: An ack of a cycle: id, token, ms to keep the outcome, outcome.
FullAck = tuple[str, int, int, str]


class Round(NamedTuple):
    """What cycle returns."""

    now: int
    stale: list[Any]
    claimed: list[Any]
    due: int
    ready: list[str]
    hands: list[str]
    tries: dict[str, int]  #: of the claimed that failed or crashed before
    spoilt: list[Any]  #: [queue number, what Redis says]

    @property
    def ids(self) -> list[str]:
        return [lease[1] for lease in self.claimed]


class Haul(NamedTuple):
    """What lease returns."""

    now: int
    items: list[Any]
    due: int
    tries: dict[str, int]  #: of the items that failed or crashed before

    @property
    def ids(self) -> list[str]:
        return [item[0] for item in self.items]


def enqueue(
    queue: Queue,
    messages: Mapping[str, str] | Sequence[tuple[str, str]],
    *,
    delay: int = 0,
    chosen: bool = False,
    lease: float = 0,
    attempts: int = 1,
    flags: int = 0,
    most: int = 0,
    number: int | None = None,
    on_cluster: bool = False,
) -> Any:
    """By the one of the two scripts that the library would choose."""
    index = queue.index_keys if queue.kind == "tasks" else (queue.app.data_queues,)
    pairs = messages.items() if isinstance(messages, Mapping) else messages
    words = [word for pair in pairs for word in pair]
    if not delay and not chosen and not most:
        index = (index[0], index[1], index[3]) if len(index) > 1 else index
        return queue.run(
            "enqueue_ready",
            [*queue.keys.entrance, queue.memo, *(() if on_cluster else index)],
            [number or queue.number(), queue.name, header_tail(lease, attempts, flags), *words],
        )
    return queue.call(
        "enqueue",
        [queue.memo, *(() if on_cluster else index)],
        [number or queue.number(), queue.name, delay, header_tail(lease, attempts, flags), int(chosen), most, *words],
    )


def cycle(
    *queues: Queue,
    done: Sequence[str] = (),
    full: Sequence[FullAck] = (),
    acks: Mapping[str, tuple[Sequence[str], Sequence[FullAck]]] | None = None,
    wanted: int = 10,
    starting: int = 10,
    worker_ttl: int = 15_000,
    limit: int = 100,
    poison: int = 3,
    keep: int = 100,
    indexed: int = 1,
    number: int | None = None,
) -> Round:
    """`done` and `full` are acks of the first queue; `acks` has those of queues by name. indexed 2: see the script."""
    first = queues[0]
    said = dict(acks or {}) or {first.name: (done, full)}
    words: list[Any] = []
    outcomes = []
    for queue in queues:
        plain_ids, full_acks = said.get(queue.name, ((), ()))
        told = [Ack(id, 1) for id in plain_ids]
        told += [Ack(id, token, keep_for / 1000, outcome.encode()) for id, token, keep_for, outcome in full_acks]
        sorted_acks = Acks(told)
        words += [queue.name, *sorted_acks.words()]
        outcomes += map(queue.keys.outcome, sorted_acks.keeping())
    keys = [
        *[first.app.memo(SESSION), *(first.index_keys if indexed else ())],
        *[key for queue in queues for key in queue.keys.block],
        *outcomes,
    ]
    head = [number or first.number(), worker_ttl, wanted, starting, limit, poison, keep, int(indexed), len(queues)]
    now, stale, came, due, ready, hands, spoilt = first.run("cycle", keys, [*head, *words])
    claimed, tries = [], {}
    for place, ids, messages, again in came:
        claimed += [[place, *row] for row in rows(ids, messages, again)]
        tries |= tries_in(ids, again)
    return Round(now, stale, claimed, due, ready, hands, tries, spoilt)


def rows(ids: list[str], messages: list[str], again: list[int], token: int = 1) -> list[list[Any]]:
    """[id, token, message] of what was popped."""
    tokens = dict(zip(again[::4], again[1::4], strict=True))
    return [[id, tokens.get(place, token), messages[place - 1]] for place, id in enumerate(ids, 1)]


def tries_in(ids: list[str], again: list[int]) -> dict[str, int]:
    """Those of them that failed or crashed before, and how often."""
    rows = zip(again[::4], again[2::4], again[3::4], strict=True)
    return {ids[place - 1]: failures + crashes for place, failures, crashes in rows if failures + crashes}


def lease(
    queue: Queue,
    wanted: int,
    lease_for: int,
    *,
    limit: int = 100,
    leaving: bool = False,
    poison: int = 3,
    keep: int = 0,
    number: int | None = None,
) -> Haul:
    now, ids, messages, again, due = queue.call(
        "lease",
        [queue.memo, *queue.index_keys],
        [
            *[number or queue.number(), wanted, lease_for, limit, int(leaving)],
            *[queue.name, queue.kind, poison, keep],
        ],
    )
    return Haul(now, rows(ids, messages, again, token=1 if lease_for >= 0 else 0), due, tries_in(ids, again))


def ack(queue: Queue, *leases: tuple[str, int | str], number: int | None = None, session: bytes = SESSION) -> Any:
    """The ids that were held."""
    plain = [id for id, token in leases if token == 1]
    full = [word for id, token in leases if token != 1 for word in (id, token)]
    words = [number or queue.number(), len(plain), *plain, *full]
    late = queue.call("ack", [queue.keys.memo(session)], words)
    return [id for id, _ in leases if id not in late]


def extend(queue: Queue, lease_for: int, *leases: tuple[str, int | str, int]) -> Any:
    """The deadlines are since the queue's start; 0 is none."""
    words: list[Any] = []
    for id, token, deadline in leases:
        words += [id, token, deadline and deadline + queue.clock.start]
    return queue.call("extend", [], [lease_for, *words])


def fail(
    queue: Queue,
    id: str,
    token: int,
    *,
    delay: int = 0,
    error: str = '{"type":"Oops"}',
    reason: str = "failed",
    poison: int = 3,
    keep: int = 100,
    again: str = "auto",
    history: int = 10,
    keep_for: int = 0,
    outcome: str = "",
    number: int | None = None,
) -> Any:
    words = [number or queue.number(), id, token, delay, error, reason, queue.kind, poison, keep, queue.name]
    return queue.call(
        "fail",
        [queue.memo, queue.keys.outcome(id), *queue.index_keys],
        [*words, again, history, keep_for, outcome],
    )


def release(
    queue: Queue,
    *leases: tuple[str, int | str, str],
    delay: int = 0,
    poison: int = 3,
    keep: int = 100,
    error: str = "",
    history: int = 10,
    number: int | None = None,
) -> Any:
    return queue.call(
        "release",
        [queue.memo, *queue.index_keys],
        [
            number or queue.number(),
            queue.name,
            queue.kind,
            poison,
            keep,
            delay,
            error,
            history,
            *(word for lease in leases for word in lease),
        ],
    )


def cancel(
    queue: Queue,
    id: str,
    *,
    keep_for: int = 0,
    outcome: str = "",
    running: bool = False,
    mark_for: int = 60_000,
    number: int | None = None,
) -> Any:
    return queue.call(
        "cancel",
        [queue.memo, queue.keys.outcome(id), queue.keys.asked(id), queue.keys.checkpoint(id)],
        [number or queue.number(), id, keep_for, outcome, int(running), mark_for],
    )


def note(
    queue: Queue, place: bytes, id: str, token: int | str, text: str, *, keep_for: int = 60_000, news: str = ""
) -> Any:
    return queue.call("note", [place], [id, token, text, keep_for, news])


def noted(queue: Queue, place: bytes, id: str) -> Any:
    return queue.call("noted", [place], [id])


def asked_to_stop(queue: Queue, *leases: tuple[str, int | str]) -> Any:
    marks = [queue.keys.asked(id) for id, _ in leases]
    return queue.call("asked_to_stop", marks, [word for lease in leases for word in lease])


def park(queue: Queue, *leases: tuple[str, int, str], number: int | None = None) -> Any:
    return queue.call("park", [queue.memo], [number or queue.number(), *(word for lease in leases for word in lease)])


def unpark(queue: Queue, *ids: str, number: int | None = None) -> Any:
    return queue.call("unpark", [queue.memo, *queue.index_keys], [number or queue.number(), queue.name, *ids])


def redrive(
    queue: Queue,
    grave: str,
    *ids: str,
    limit: int = 100,
    delay: float = 0,
    step: float = 0,
    number: int | None = None,
) -> Any:
    keys = [queue.memo, *queue.index_keys]
    return queue.call("redrive", keys, [number or queue.number(), queue.name, grave, limit, delay, step, *ids])


def purge(
    queue: Queue, grave: str, *ids: str, limit: int = 100, before: int | None = None, number: int | None = None
) -> Any:
    """*before* is since the queue's start; None: whenever it was."""
    instant = 0 if before is None else queue.clock.start + before
    return queue.call("purge", [queue.memo], [number or queue.number(), grave, limit, instant, *ids])


def delete(queue: Queue, id: str, *, keep_for: int = 0, number: int | None = None) -> Any:
    beside = [queue.keys.outcome(id), queue.keys.progress(id), queue.keys.checkpoint(id)]
    return queue.call("delete", [queue.memo, *beside], [number or queue.number(), id, keep_for, "cancelled"])


def reschedule(queue: Queue, id: str, due: int, *, from_now: bool = True, number: int | None = None) -> Any:
    """*due* is from now on, or since the queue's start."""
    instant = due if from_now else queue.clock.start + due
    words = [number or queue.number(), queue.name, id, instant, int(from_now)]
    return queue.call("reschedule", [queue.memo, *queue.index_keys], words)


#: ttl in ms and how many are kept of one grave. All are, for ever.
ALL = (0, -1)


def retire(
    queue: Queue,
    *,
    dead: tuple[int, int] = ALL,
    lost: tuple[int, int] = ALL,
    failed: tuple[int, int] = ALL,
    limit: int = 100,
    number: int | None = None,
) -> Any:
    return queue.call("retire", [queue.memo], [number or queue.number(), limit, *dead, *lost, *failed])


def aging(
    *queues: Queue, dead: tuple[int, int] = ALL, lost: tuple[int, int] = ALL, failed: tuple[int, int] = ALL
) -> Any:
    keys = [grave for queue in queues for grave in (queue.keys.dead, queue.keys.lost, queue.keys.failed)]
    return queues[0].run("aging", keys, [*dead, *lost, *failed])


def states(queue: Queue, *ids: str) -> Any:
    return queue.call("states", [queue.keys.outcome(id) for id in ids], ids)


def fire(
    queue: Queue,
    schedule: str,
    slot: int | str,
    next_slot: int,
    *,
    id: str = "",
    body: str = "[]",
    early: bool = False,
    overlap: str = "allow",
    delay: int = 0,
    lease: float = 0,
    attempts: int = 1,
    flags: int = 0,
) -> Any:
    """Slots are in Redis's milliseconds."""
    return queue.call(
        "fire",
        [queue.keys.schedules, *queue.index_keys],
        [
            queue.name,
            schedule,
            slot,
            next_slot,
            id,
            header_tail(lease, attempts, flags),
            body,
            int(early),
            overlap,
            delay,
        ],
    )
