"""The story of one message: what the histories and the drain say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.stress.history import Event
from tests.stress.remains import Remains
from tests.stress.work import KINDS, TICKS, Kind

#: Of a recurring task's firings; they are enqueued by Redis.
TICK = Kind({}, attempts=KINDS["again"].attempts, lease=KINDS["again"].lease)


@dataclass
class Story:
    """One message, by its key."""

    key: str
    of: str = ""  #: name of its kind
    sent: Event | None = None  #: the invoke of its enqueue
    answer: str = ""  #: ok, fail, unknown; empty: its producer died before there was one
    answered_at: int = 0
    begins: list[Event] = field(default_factory=list)
    starts: list[Event] = field(default_factory=list)
    ends: list[Event] = field(default_factory=list)
    accepts: list[Event] = field(default_factory=list)
    cancels: list[Event] = field(default_factory=list)
    results: list[Event] = field(default_factory=list)
    found: list[tuple[Remains, str]] = field(default_factory=list)  #: queue and id under which it is left in Redis
    places: list[str] = field(default_factory=list)
    reason: str = ""  #: why it was given up
    is_forgiven: bool = False  #: a server may have forgotten some of this

    @property
    def kind(self) -> Kind:
        return TICK if self.of == TICKS else KINDS.get(self.of, Kind({}))

    @property
    def is_known(self) -> bool:
        """Whether anybody sent it."""
        return self.sent is not None or self.of == TICKS

    @property
    def ended(self) -> list[Event]:
        """Its runs that ended well."""
        return [end for end in self.ends if end.kind == "ok"]

    @property
    def ids(self) -> set[str]:
        """The ids under which it was seen."""
        return {start.id for start in self.starts} | {message_id for _, message_id in self.found}

    @property
    def was_cancelled(self) -> bool:
        return any(event.kind == "ok" for event in self.cancels)

    @property
    def may_be_cancelled(self) -> bool:
        """Whether a cancel was tried whose answer nobody knows."""
        return bool(self.cancels) and self.cancels[-1].kind in ("invoke", "unknown")

    @property
    def outcome(self) -> str:
        """Its class, after the drain."""
        if self.places:
            return {"dead": "dead", "failed": "dead", "lost": "lost-listed"}.get(self.places[0], "queued")
        if self.was_cancelled:
            return "cancelled"
        if self.ended:
            return "completed"
        if self.may_be_cancelled:
            return "cancelled"
        if self.answer == "ok" or self.starts:
            return "lost"
        return "refused" if self.answer == "fail" else "never"

    def tell(self) -> str:
        """The evidence: all its events, one a line."""
        sent = [self.sent] if self.sent else []
        events = [*sent, *self.begins, *self.starts, *self.ends, *self.accepts, *self.cancels, *self.results]
        lines = [
            f"  {event.at / 1e9:.6f} pid {event.pid} {event.step} {event.kind} token {event.token} "
            f"attempt {event.attempt} {event.id} {event.more or ''}"
            for event in sorted(events, key=lambda event: event.at)
        ]
        answered = f"  answered {self.answer or 'never'} {self.answered_at / 1e9:.6f}"
        return "\n".join([*lines[:40], answered, f"  found in {self.places} {self.reason}"])


def stories(events: Sequence[Event], left: Sequence[Remains]) -> dict[str, Story]:
    """The story of every key that a process or Redis speaks of."""
    told: dict[str, Story] = {}
    lists = {
        "begin": "begins",
        "start": "starts",
        "end": "ends",
        "accept": "accepts",
        "cancel": "cancels",
        "result": "results",
    }
    for event in events:
        if event.step == "enqueue":
            story = told.setdefault(event.key, Story(event.key))
            if event.kind == "invoke":
                story.sent, story.of = event, event.more["of"]
            else:
                story.answer, story.answered_at = event.kind, event.at
        elif event.step in lists:
            story = told.setdefault(event.key, Story(event.key))
            getattr(story, lists[event.step]).append(event)
    for queue in left:
        _add_found(told, queue)
    for story in told.values():
        story.of = story.of or (TICKS if story.key.startswith("tick ") else story.key.partition("-")[0])
    return told


def _add_found(told: dict[str, Story], queue: Remains) -> None:
    where = queue.where
    for message_id in queue.messages.keys() | where.keys():
        key = _key_of(queue, message_id)
        story = told.setdefault(key, Story(key))
        story.found.append((queue, message_id))
        story.places += where.get(message_id, [])
        story.reason = queue.errors.get(message_id, story.reason)


def _key_of(queue: Remains, message_id: str) -> str:
    body: Any = queue.body(message_id)
    if isinstance(body, dict):
        return str(body.get("key"))
    if isinstance(body, list) and len(body) == 3:
        return str(body[1][0]) if body[1] else f"tick {message_id}"
    return f"without body: {queue.name} {message_id}"
