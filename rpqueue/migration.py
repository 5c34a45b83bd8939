"""
Migration: moves the queues of version 0.33 of this package into this one, where they lie in the same Redis database.

A message leaves the old keys and enters the new ones in one script, so it is in one of the two at any instant, and
never in both. That is all that makes it safe to kill a migration and to run it again, beside old programs that still
enqueue, too. What cannot be read stays where it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from . import legacy, messages
from .errors import RefusedInput, RefusedName, Undecodable, WrongType
from .keys import QueueKeys, name_text
from .legacy import Unreadable
from .protocol import adoption, views
from .protocol.adoption import OldQueue, Row, Source
from .protocol.operation import Flow, command
from .protocol.workers import redis_time

if TYPE_CHECKING:
    from .app import App

Kind = Literal["tasks", "data"]

#: Entries that one call reads, and moves.
BATCH = 100
#: Times that a queue is gone through at most: what old programs put in meanwhile is not run after for ever.
ROUNDS = 5
#: Entries of one queue that the report names when they had to stay.
MOST_NAMED = 1000
#: The name under which 0.33 keeps dead letters.
_DEAD_LETTERS = b"DEADLETTER_QUEUE"


@dataclass(frozen=True)
class Left:
    """Something that stays where it is."""

    key: str
    entry: str  #: id in it; empty for the key itself
    why: str


@dataclass
class Moved:
    """What became of one queue's messages. Of a dry run: what would."""

    queue: str
    kind: Kind
    ready: int = 0
    scheduled: int = 0
    leased: int = 0
    dead: int = 0
    recurring: list[str] = field(default_factory=list)  #: tasks whose next firing was taken over
    known: int = 0  #: were in the queue already, the same call under the same id
    empty: int = 0  #: ids without message, of cancelled calls for the most part
    left: int = 0  #: stay where they are
    why: list[Left] = field(default_factory=list)  #: the first MOST_NAMED of these

    @property
    def moved(self) -> int:
        """Messages that are here now."""
        return self.ready + self.scheduled + self.leased + self.dead

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.moved or self.recurring or self.known or self.empty or self.left)


class Migration:
    """
    Moves what 0.33 has left into the queues of *app*.

    Args:
        app: whose Redis, key prefix and registry. Tasks that are declared in it are known to recur or not.
        prefix: the key prefix of 0.33, as it was given to its `set_key_prefix`; empty by default, as there.
        queues: only these; None: all.
        dry: whether to tell what would be done, and do nothing.
    """

    def __init__(
        self, app: App, prefix: str | bytes = b"", queues: Iterable[str | bytes] | None = None, *, dry: bool = False
    ) -> None:
        if app.broker.is_cluster:
            raise RefusedInput(
                "migrate: expected one Redis that holds the old and the new keys, got a Cluster, which 0.33 did not "
                "know; migrate where the old keys are, and move the data then"
            )
        if not isinstance(prefix, (str, bytes)):
            raise WrongType(f"prefix: expected str or bytes, got {prefix!r}")
        self.app = app
        self.prefix = prefix if isinstance(prefix, bytes) else prefix.encode("latin-1")
        self.queues = None if queues is None else {name_text(one, "queue").encode() for one in queues}
        self.dry = dry
        self._limit = app.settings.max_message_bytes
        self._now = 0.0

    def run(self) -> list[Moved]:
        """Go through everything. Returns what there was of each queue, task queues first."""
        return self.app.broker.run(self.running())

    def running(self) -> Flow[list[Moved]]:
        """What `run` says to Redis."""
        self._now = yield from redis_time()
        found = yield from self._find()
        # Dead letters last: which queue a task belongs to is told by its messages, too.
        found.sort(key=lambda one: (one[0] == "data", one[1] == _DEAD_LETTERS, one[1].lower()))
        told: dict[tuple[Kind, str], Moved] = {}
        for kind, raw_name in found:
            yield from self._move_queue(kind, raw_name, told)
        return [moved for moved in told.values() if not moved.is_empty]

    def _find(self) -> Flow[list[tuple[Kind, bytes]]]:
        """The queues that 0.33 knows, or that it has keys of."""
        names: set[tuple[Kind, bytes]] = set()
        kinds: list[tuple[Kind, str]] = [("tasks", word) for word in legacy.TASK_KINDS]
        kinds += [("data", word) for word in legacy.DATA_KINDS]
        cursor = "0"
        while True:
            cursor, keys = yield from adoption.scan(cursor, _literal(self.prefix) + b"*")
            for key in keys:
                rest = key[len(self.prefix) :]
                for kind, word in kinds:
                    if rest.startswith(word.encode()):
                        names.add((kind, rest[len(word) :]))
            if cursor == "0":
                break
        if self.queues is not None:
            names = {one for one in names if one[1] in self.queues}
        return list(names)

    def _move_queue(self, kind: Kind, raw_name: bytes, told: dict[tuple[Kind, str], Moved]) -> Flow[None]:
        old = adoption.old_queue(self.prefix, raw_name, kind)
        shown = raw_name.decode("utf-8", "backslashreplace")
        into = told.setdefault((kind, shown), Moved(shown, kind))
        try:
            name = name_text(raw_name, "queue")
        except RefusedName as error:
            size = yield from command(int, "HLEN", old.messages)
            into.left += size
            into.why.append(Left(_shown(old.messages), "", str(error)))
            return
        if (yield from self._has_foreign_keys(old, into)):
            return
        queue = _Queue(self, kind, name, old, into, told)
        yield from queue.move()
        if kind == "tasks" and not self.dry:
            yield from self._take_priority(raw_name, queue.keys)

    def _has_foreign_keys(self, old: OldQueue, into: Moved) -> Flow[bool]:
        """Whether somebody else has a key of these names; the queue is not touched then."""
        wanted = {old.messages: "hash", old.scheduled: "zset", old.invisible: "zset", old.recurring: "zset"}
        wanted.update(dict.fromkeys(old.ready, "list"))
        is_foreign = False
        for key, expected in wanted.items():
            kind = yield from adoption.key_type(key)
            if kind not in (expected, "none"):
                is_foreign = True
                into.left += 1
                into.why.append(Left(_shown(key), "", f"expected a {expected}, got a {kind}, which 0.33 did not write"))
        return is_foreign

    def _take_priority(self, raw_name: bytes, keys: QueueKeys) -> Flow[None]:
        wall, app = self.prefix + b"queues:wall", self.app.keys.app
        if (yield from adoption.key_type(wall)) != "zset":
            return
        priority = yield from adoption.score(wall, raw_name)
        if priority is None:
            return
        ours = yield from adoption.score(app.queues, keys.name.encode())
        if ours is None or ours == float("inf"):
            yield from views.set_priority(app, keys.name, priority)
        yield from command(int, "ZREM", wall, raw_name)

    def home_of(self, task_name: str) -> Flow[str]:
        """The queue of a task, for a dead letter, which does not say it: as declared, else the default one."""
        declared = self.app.settings.registry.get(task_name)
        if declared is not None:
            return str(declared.queue)
        ours = yield from command(_as_bytes, "HGET", self.app.keys.app.registry, task_name)
        theirs = None
        if ours is None and (yield from adoption.key_type(self.prefix + b"taskregistry:")) == "hash":
            theirs = yield from command(_as_bytes, "HGET", self.prefix + b"taskregistry:", task_name)
        for told in (ours, theirs):
            queue = _queue_in(told)
            if queue is not None:
                return queue
        return self.app.settings.default_queue

    def recurs(self, old: legacy.Old) -> bool:
        """Whether a message is the next firing of a recurring task."""
        declared = self.app.settings.registry.get(old.name)
        return old.is_recurring and (declared is None or declared.schedule is not None)


class _Queue:
    """One queue on its way."""

    def __init__(
        self,
        migration: Migration,
        kind: Kind,
        name: str,
        old: OldQueue,
        into: Moved,
        told: dict[tuple[Kind, str], Moved],
    ) -> None:
        self.migration, self.kind, self.old, self.into, self.told = migration, kind, old, into, told
        self.keys = self._keys_of(name)
        self.index = migration.app.index if kind == "tasks" else migration.app.data_index
        self._left: dict[tuple[bytes, bytes], str] = {}
        self._seen: set[bytes] = set()  #: ids that a dry run has told of

    def move(self) -> Flow[None]:
        """Go through all places until nothing comes any more."""
        for _ in range(1 if self.migration.dry else ROUNDS):
            self._left.clear()
            moved = 0
            for key in self.old.ready:
                moved += yield from self._places(key, "list")
            if self.kind == "tasks":
                moved += yield from self._places(self.old.scheduled, "scheduled")
            moved += yield from self._places(self.old.invisible, "invisible")
            moved += yield from self._strays()
            if not moved:
                break
        self.into.left += len(self._left)
        named = list(self._left.items())[: max(MOST_NAMED - len(self.into.why), 0)]
        self.into.why += [Left(_shown(key), _shown(entry), why) for (key, entry), why in named]

    def _places(self, key: bytes, source: Source) -> Flow[int]:
        """What stands in a list or zset. Returns how many entries left it."""
        passed = total = 0
        while True:
            found = yield from adoption.entries(key, source, passed, BATCH)
            if not found:
                return total
            raws = yield from adoption.bodies(self.old.messages, found)
            gone = yield from self._hand_over(key, source, list(zip(found, raws, strict=True)))
            total += gone
            passed += len(found) - (0 if self.migration.dry else gone)

    def _strays(self) -> Flow[int]:
        """Messages in no place: a worker of 0.33 that dies between two of its steps leaves one. Returns how many."""
        total, cursor = 0, "0"
        while True:
            cursor, found = yield from adoption.fields(self.old.messages, cursor, BATCH)
            fresh = [(entry, raw) for entry, raw in found if (self.old.messages, entry) not in self._left]
            fresh = [(entry, raw) for entry, raw in fresh if entry not in self._seen]
            for at in range(0, len(fresh), BATCH):
                total += yield from self._hand_over(self.old.messages, "nowhere", fresh[at : at + BATCH])
            if cursor == "0":
                return total

    def _hand_over(self, key: bytes, source: Source, found: Sequence[tuple[bytes, bytes | None]]) -> Flow[int]:
        """Move a batch. Returns how many entries left the place."""
        rows: list[Row] = []
        letters: dict[str, list[Row]] = {}
        for entry, raw in found:
            if self.migration.dry:
                if entry in self._seen:
                    self.into.empty += source == "list"
                    continue
                self._seen.add(entry)
            try:
                if raw is None and entry.startswith(b"["):
                    row, home = yield from self._letter(entry)
                    letters.setdefault(home, []).append(row)
                else:
                    rows.append(self._row(source, entry, raw))
            except Unreadable as error:
                self._left[key if raw is None else self.old.messages, entry] = str(error)
        gone = yield from self._send(self.keys, self.into, key, source, rows)
        for home, some in letters.items():
            into = self.told.setdefault((self.kind, home), Moved(home, self.kind))
            gone += yield from self._send(self._keys_of(home), into, key, source, some)
        return gone

    def _row(self, source: Source, entry: bytes, raw: bytes | None) -> Row:
        if raw is None:
            return Row("empty", entry)
        try:
            message_id = name_text(entry, "message id")
        except RefusedName as error:
            raise Unreadable(str(error)) from error
        old = legacy.read(raw, self.kind, entry)
        at = legacy.instant(old.at, self.migration._now)
        if self.migration.recurs(old):
            return Row("slot", entry, raw, message_id, str(at).encode())
        message = self._written(old, at, self.keys, is_leased=source == "invisible")
        is_spent = self.kind == "data" and old.tries == 0 and source != "invisible"
        return Row("spent" if is_spent else "move", entry, raw, message_id, message)

    def _letter(self, entry: bytes) -> Flow[tuple[Row, str]]:
        """A dead letter, and the queue that it goes to."""
        old = legacy.read(entry, self.kind)
        home = self.keys.name
        if self.kind == "tasks":
            home = yield from self.migration.home_of(old.name)
        try:
            keys = self._keys_of(name_text(home, "queue"))
            message_id = name_text(old.id, "message id")
        except (RefusedName, WrongType) as error:
            raise Unreadable(str(error)) from error
        message = self._written(old, legacy.instant(old.at, self.migration._now), keys)
        return Row("bury", entry, b"", message_id, message), home

    def _keys_of(self, name: str) -> QueueKeys:
        app = self.migration.app
        return app.task_keys(name) if self.kind == "tasks" else app.data_keys(name)

    def _written(self, old: legacy.Old, at: int, keys: QueueKeys, *, is_leased: bool = False) -> bytes:
        """A message as it is to lie in the queue with these *keys*."""
        tail, body = legacy.convert(old, self.migration._limit, is_leased=is_leased)
        signer = self.migration.app.signer
        if signer:
            body = signer.signed(keys.stem, old.id.encode(), tail.encode(), body)
        return f"{messages.VERSION} {at}{tail}|".encode() + body

    def _send(self, keys: QueueKeys, into: Moved, key: bytes, source: Source, rows: list[Row]) -> Flow[int]:
        if not rows:
            return 0
        dry = self.migration.dry
        words = yield from adoption.adopt(keys, self.index, self.old, key, source, rows, dry=dry)
        counts = Counter(words)
        into.ready += counts["ready"]
        into.scheduled += counts["scheduled"]
        into.leased += counts["leased"]
        into.dead += counts["dead"]
        into.known += counts["same"]
        into.empty += counts["empty"]
        for row, word in zip(rows, words, strict=True):
            if word == "slot":
                into.recurring.append(row.id)
            elif word == "taken":
                self._left[key if row.verb == "bury" else self.old.messages, row.entry] = (
                    f"queue {keys.name!r} has another message with this id"
                )
        return len(rows) - counts["taken"] - counts["changed"]


def _literal(prefix: bytes) -> bytes:
    """*prefix* as a pattern that matches nothing else."""
    return b"".join(b"\\" + bytes([byte]) if byte in b"*?[]^\\" else bytes([byte]) for byte in prefix)


def _queue_in(told: bytes | None) -> str | None:
    """The queue in a registry's entry: a JSON object with a queue here, a list that begins with it in 0.33."""
    if told is None:
        return None
    try:
        value = messages.decode(told, "registry")
    except Undecodable:
        return None
    queue: Any = (
        value.get("queue") if isinstance(value, dict) else value[0] if isinstance(value, list) and value else None
    )
    return queue if isinstance(queue, str) and queue else None


def _as_bytes(reply: Any) -> bytes | None:
    return reply if isinstance(reply, bytes) else None


def _shown(key: bytes) -> str:
    text = key.decode("utf-8", "backslashreplace")
    return text if len(text) <= 200 else text[:197] + "..."


def as_plain(moved: Moved) -> dict[str, Any]:
    """For JSON."""
    return {**json.loads(json.dumps(moved, default=lambda one: vars(one))), "moved": moved.moved}
