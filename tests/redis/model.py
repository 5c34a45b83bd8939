"""
What task queues should hold: the engine's moves in plain Python, for test_engine_model.py to compare with Redis.

Instants are milliseconds by Redis's clock where the reply of the call says them, an `After` where it does not, and
small numbers, which say in what order, where the test moved them into the past.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from rpqueue.messages import VERSION
from rpqueue.protocol.cycle import Ack
from rpqueue.protocol.moves import Lease

HOUR = 3_600_000
POISON = 3
PAST = 1e9  #: what is less is over
NEVER = float("inf")
GRAVES = ("dead", "lost", "failed")
CANCELLED = b'{"state":"cancelled"}'


class After(NamedTuple):
    """So many milliseconds after the call that wrote it."""

    delay: int


Instants = dict[str, "float | After"]


@dataclass
class Message:
    """A message and what happened to it."""

    available_at: int
    tail: str
    body: bytes
    lease: int
    attempts: int
    use_dead: bool
    recover: bool = False
    fence: int = 1
    failures: int = 0
    crashes: int = 0
    interruptions: int = 0
    is_counted: bool = False  #: whether `counts` has an entry for it

    @property
    def stored(self) -> bytes:
        return f"{VERSION} {self.available_at}{self.tail}|".encode() + self.body

    @property
    def counts(self) -> str:
        return f"{self.fence} {self.failures} {self.crashes} {self.interruptions}"

    @property
    def tries(self) -> int:
        return self.failures + self.crashes


@dataclass
class Model:
    """One task queue. Each move returns what its call should answer."""

    name: str
    messages: dict[str, Message] = field(default_factory=dict)
    ready: list[str] = field(default_factory=list)
    scheduled: Instants = field(default_factory=dict)
    leased: Instants = field(default_factory=dict)
    parked: dict[str, str] = field(default_factory=dict)
    dead: Instants = field(default_factory=dict)
    lost: Instants = field(default_factory=dict)
    failed: Instants = field(default_factory=dict)
    errors: dict[str, tuple[str, str]] = field(default_factory=dict)  #: reason, and records as JSON
    outcomes: dict[str, bytes] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)  #: id -> instant of the message whose run was asked to stop
    notes: dict[tuple[str, str], tuple[int, str]] = field(
        default_factory=dict
    )  #: kind and id -> that instant, and text
    stats: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, int] = field(default_factory=dict)  #: id -> the last that was handed out, also of ids long gone

    # ---- questions

    def place(self, id: str) -> str | None:
        places = ("ready", "scheduled", "leased", "parked", *GRAVES)
        return next((place for place in places if id in getattr(self, place)), None)

    def has(self, *places: str) -> bool:
        """Whether one of these holds something."""
        return any(getattr(self, place) for place in places)

    def grave(self, id: str) -> Instants | None:
        return next((grave for grave in self.graves() if id in grave), None)

    def graves(self) -> Iterator[Instants]:
        return (getattr(self, grave) for grave in GRAVES)

    def holds(self, id: str, token: int | str) -> bool:
        return id in self.leased and token in ("", self.messages[id].fence)

    def taken(self, messages: Iterable[tuple[str, bytes]]) -> bool:
        """Whether one of these chosen ids has another body."""
        bodies = {id: message.body for id, message in self.messages.items() if self.grave(id) is None}
        return any(bodies.setdefault(id, body) != body for id, body in messages)

    # ---- moves

    def enqueue(self, messages: Iterable[tuple[str, bytes]], new: Message, delay: int, chosen: bool) -> None:
        """*new* tells what all of them share."""
        fresh = 0
        for id, body in messages:
            grave, fence = self.grave(id), 1
            if id in self.messages and grave is None:
                continue
            if chosen:
                fence = max(new.available_at - delay, self.messages[id].fence + 1 if grave is not None else 0)
            if grave is not None:
                del grave[id]
                self.errors.pop(id, None)
            self.messages[id] = replace(new, body=body, fence=fence, is_counted=chosen)
            if delay:
                self.scheduled[id] = new.available_at + fresh / 4096
            else:
                self.ready.append(id)
            fresh += 1
        self.stats["seen"] += fresh

    def ack(self, acks: Iterable[Ack]) -> list[str]:
        done = []
        for ack in acks:
            if self.holds(ack.id, ack.token):
                done.append(ack.id)
                del self.leased[ack.id]
                self.forget(ack.id)
                if ack.keep_for:
                    self.outcomes[ack.id] = ack.outcome
                self.stats["done"] += 1
            else:
                self.stats["stale"] += 1
        return done

    def promote(self, limit: int) -> int:
        due = come(self.scheduled)[:limit]
        for id in due:
            del self.scheduled[id]
            self.ready.append(id)
        return len(due)

    def reap(self, limit: int, keep: int) -> int:
        expired = come(self.leased)[:limit]
        for id in expired:
            message = self.messages[id]
            message.crashes += message.recover
            message.failures += not message.recover
            self.end_lease(id, "expired", keep)
        self.stats["expired"] += len(expired)
        return len(expired)

    def claim(self, wanted: int, now: int) -> list[tuple[str, int, bytes, int, int]]:
        claimed = []
        for id in self.ready[:wanted]:
            message = self.messages[id]
            assert message.fence > self.tokens.get(id, 0), "a token came twice"
            self.tokens[id] = message.fence
            self.leased[id] = now + min(message.lease or HOUR, HOUR)
            claimed.append((id, message.fence, message.stored, message.failures, message.crashes))
        del self.ready[:wanted]
        self.stats["claimed"] += len(claimed)
        return claimed

    def extend(self, leases: Iterable[tuple[str, int | str, int]], now: int) -> list[str]:
        held = []
        for id, token, deadline in leases:
            if self.holds(id, token):
                held.append(id)
                present = self.leased[id]
                latest = deadline if isinstance(present, After) else max(deadline, present)
                self.leased[id] = latest if 0 < deadline < now + HOUR else After(HOUR)
        return held

    def fail(self, lease: Lease, reason: str, error: str, delay: int, keep: int, again: str, outcome: bytes) -> str:
        id, token = lease
        if not self.holds(id, token):
            self.stats["stale"] += 1
            return "stale"
        self.stats["cancelled" if again == "cancel" else "errors"] += 1
        if again in ("drop", "cancel"):
            del self.leased[id]
            self.forget(id)
            if outcome:
                self.outcomes[id] = outcome
            return "dropped" if again == "drop" else "cancelled"
        self.errors[id] = (reason, self.recorded(id, error))
        self.messages[id].failures += 1
        return self.end_lease(id, reason, keep, delay, verdict=again)

    def recorded(self, id: str, error: str) -> str:
        """Records of failures, newest first, ten at most; a failure without one leaves those of before."""
        _, before = self.errors.get(id, ("", ""))
        return "\n".join([one for one in (error, *before.split("\n")) if one][:10])

    def release(
        self, leases: Sequence[tuple[str, int | str, str]], delay: int, keep: int, error: str = ""
    ) -> dict[str, str]:
        went = {}
        for id, token, reason in reversed(leases):
            if self.holds(id, token):
                message = self.messages[id]
                message.crashes += reason == "crashed"
                message.interruptions += reason == "interrupted"
                self.stats["crashed"] += reason == "crashed"
                if reason == "crashed" and error:
                    self.errors[id] = (reason, self.recorded(id, error))
                later = delay if reason == "interrupted" else 0
                went[id] = self.end_lease(id, reason, keep, later, at_head=True)
        return dict(reversed(went.items()))

    def end_lease(
        self, id: str, reason: str, keep: int, delay: int = 0, at_head: bool = False, verdict: str = "auto"
    ) -> str:
        """A lease ended without an ack, which one of the counters knows."""
        message = self.messages[id]
        del self.leased[id]
        message.fence += 1
        message.is_counted = True
        given_up = "dead" if message.use_dead else "failed"
        if reason == "undecodable":
            return self.bury(id, "dead", reason, keep)
        if verdict == "stop":
            return self.bury(id, given_up, reason, keep)
        if reason != "unstarted" and verdict != "retry":
            if not message.lease:
                return self.bury(id, given_up if reason == "failed" else "lost", reason, keep)
            if message.crashes >= POISON:
                return self.bury(id, "dead", "poison", keep)
            if message.tries - message.crashes * message.recover >= message.attempts:
                return self.bury(id, given_up, reason, keep)
        if delay:
            self.scheduled[id] = After(delay)
            return "scheduled"
        self.ready.insert(0 if at_head else len(self.ready), id)
        return "ready"

    def bury(self, id: str, grave: str, reason: str, keep: int) -> str:
        self.stats[grave] += 1
        self.errors[id] = (reason, self.errors.get(id, ("", ""))[1])
        getattr(self, grave)[id] = After(0)
        if grave == "failed":
            for old in in_order(self.failed)[: max(len(self.failed) - keep, 0) if keep else 0]:
                del self.failed[old]
                self.forget(old)
            if not keep:
                del self.failed[id]
                self.forget(id)
        return grave

    def standing(self, id: str, token: int | str) -> str:
        """What a worker hears that asks whether a run is to stop."""
        if not self.holds(id, token):
            return "lost"
        return "cancelled" if self.asked.get(id) == self.messages[id].available_at else "held"

    def note(self, kind: str, id: str, token: int | str, text: str) -> bool:
        if not self.holds(id, token):
            return False
        self.notes.pop((kind, id), None)
        if text:
            self.notes[kind, id] = self.messages[id].available_at, text
        return True

    def noted(self, kind: str, id: str) -> str:
        """A note of the message; of one that is gone, its last."""
        at, text = self.notes.get((kind, id), (0, ""))
        return text if id not in self.messages or self.messages[id].available_at == at else ""

    def forget(self, id: str) -> None:
        del self.messages[id]
        self.errors.pop(id, None)

    def park(self, leases: Iterable[tuple[str, int, str]]) -> list[str]:
        held = []
        for id, token, task in leases:
            if self.holds(id, token):
                held.append(id)
                del self.leased[id]
                self.messages[id].fence += 1
                self.messages[id].is_counted = True
                self.parked[id] = task
        return held

    def unpark(self, ids: Iterable[str]) -> int:
        moved = [id for id in ids if self.parked.pop(id, None)]
        self.ready[:0] = moved
        return len(moved)

    def cancel(self, id: str, keeps: bool, running: bool) -> int:
        place = self.place(id)
        if place in ("ready", "scheduled", "parked"):
            if place == "ready":
                self.ready.remove(id)
            else:
                del getattr(self, place)[id]
            self.forget(id)
            if keeps:
                self.outcomes[id] = CANCELLED
            self.stats["cancelled"] += 1
            self.notes.pop(("checkpoint", id), None)
            return 1
        if running and place == "leased":
            self.asked[id] = self.messages[id].available_at
            return 2
        if place is not None or id not in self.outcomes:
            return 0
        if self.outcomes[id] == CANCELLED:
            return 1
        del self.outcomes[id]
        return -1

    def redrive(self, grave: str | None, ids: Sequence[str], limit: int, paced: bool) -> list[str]:
        moved: list[str] = []
        for buried in self.graves() if grave is None else [getattr(self, grave)]:
            those = ids or in_order(buried)[: limit - len(moved)]
            moved += [id for id in those if buried.pop(id, None) is not None]
        for number, id in enumerate(moved, 1):
            message = self.messages[id]
            message.failures = message.crashes = message.interruptions = 0
            message.is_counted = True
            if paced:
                self.scheduled[id] = After(number * HOUR)
        self.ready += () if paced else moved
        self.stats["redriven"] += len(moved)
        return moved

    def is_new(self, id: str) -> bool:
        """Whether a message is scheduled for its first delivery: at the instant that its header says."""
        at = self.scheduled.get(id, 0.0)
        return not isinstance(at, After) and int(at) == self.messages[id].available_at

    def reschedule(self, id: str, due: int, now: int) -> str:
        """*now* is the instant of the call, and tells whether *due* is over."""
        if id not in self.scheduled:
            return "elsewhere"
        if self.is_new(id):
            self.messages[id].available_at = max(due, now)
        del self.scheduled[id]
        if due > now:
            self.scheduled[id] = due
            return "scheduled"
        self.ready.append(id)
        return "ready"

    def delete(self, id: str, keeps: bool) -> str:
        place = self.place(id)
        if place == "leased":
            return place
        beside = [
            self.outcomes.pop(id, None),
            *(self.notes.pop((kind, id), None) for kind in ("progress", "checkpoint")),
        ]
        if place is None:
            return "done" if any(beside) else "gone"
        if place == "ready":
            self.ready.remove(id)
        else:
            del getattr(self, place)[id]
        self.forget(id)
        if place not in GRAVES and keeps:
            self.outcomes[id] = CANCELLED
        self.stats["purged" if place in GRAVES else "cancelled"] += 1
        return place

    def retire(self, keeps: Sequence[int | None], limit: int) -> tuple[int, int, int, int]:
        counts, left = [], 0
        for grave, keep in zip(self.graves(), keeps, strict=True):
            excess = 0 if keep is None else max(len(grave) - keep, 0)
            gone = in_order(grave)[: min(excess, limit - sum(counts))]
            for id in gone:
                del grave[id]
                self.forget(id)
            counts.append(len(gone))
            left += excess - len(gone)
        self.stats["retired"] += sum(counts)
        return counts[0], counts[1], counts[2], left


class Index(NamedTuple):
    """What the app's index says."""

    priorities: dict[str, float]
    ready: dict[str, float]
    due: dict[str, float]


def go_round(
    models: Sequence[Model],
    acks: dict[str, list[Ack]],
    wanted: int,
    limit: int,
    keep: int,
    now: int,
    index: Index,
    yields: bool,
) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
    """
    One round over these queues: what it finds stale, and what it claims.

    With *yields* it goes by the index, which may name a queue whose ready messages were cancelled, or whose due ones
    are done, until the next round over that queue.
    """
    stale, claimed, ready = [], [], dict(index.ready)
    names = {model.name for model in models}

    def look(model: Model) -> None:
        ready.pop(model.name, None)
        if model.ready:
            ready[model.name] = priority(model)

    def priority(model: Model) -> float:
        return index.priorities.get(model.name, NEVER)

    for model in models:
        done = model.ack(acks[model.name])
        stale += [(model.name, ack.id) for ack in acks[model.name] if ack.id not in done]
        model.promote(limit)
        model.reap(limit, keep)
    due = [index.priorities[name] for name, at in index.due.items() if name not in names and is_past(at)]
    for model in sorted(models, key=priority):
        if not wanted or (yields and min([*ready.values(), *due], default=NEVER) < priority(model)):
            break
        got = model.claim(wanted, now)
        wanted -= len(got)
        claimed += [(model.name, id.encode(), *rest) for id, *rest in got]
        look(model)
    return stale, claimed


def in_order(instants: Instants) -> list[str]:
    """Ids as a zset has them: what this call wrote comes last, and equal scores go by the id's bytes."""

    def score(id: str) -> tuple[bool, float, bytes]:
        at = instants[id]
        return isinstance(at, After), at.delay if isinstance(at, After) else at, id.encode()

    return sorted(instants, key=score)


def come(instants: Instants) -> list[str]:
    """Ids whose instant the test moved into the past."""
    return [id for id in in_order(instants) if is_past(instants[id])]


def is_past(at: float | After) -> bool:
    return not isinstance(at, After) and at < PAST
