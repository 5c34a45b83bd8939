"""One queue of 0.33 on its way: place by place, in batches, each of which is one script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import legacy, messages
from ..errors import RefusedName, WrongType
from ..keys import QueueKeys, name_text
from ..legacy import Unreadable
from ..protocol import adoption
from ..protocol.adoption import OldQueue, Row, Source
from ..protocol.operation import Flow
from .moved import MOST_NAMED, Kind, Left, Moved, shown

if TYPE_CHECKING:
    from . import Migration

#: Entries that one call reads, and moves.
BATCH = 100
#: Times that a queue is gone through at most: what old programs put in meanwhile is not run after for ever.
ROUNDS = 5


class Leaving:
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
        self.into.why += [Left(shown(key), shown(entry), why) for (key, entry), why in named]

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
        at = legacy.instant(old.at, self.migration.now)
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
        message = self._written(old, legacy.instant(old.at, self.migration.now), keys)
        return Row("bury", entry, b"", message_id, message), home

    def _keys_of(self, name: str) -> QueueKeys:
        app = self.migration.app
        return app.task_keys(name) if self.kind == "tasks" else app.data_keys(name)

    def _written(self, old: legacy.Old, at: int, keys: QueueKeys, *, is_leased: bool = False) -> bytes:
        """A message as it is to lie in the queue with these *keys*."""
        tail, body = legacy.convert(old, self.migration.limit, is_leased=is_leased)
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
