"""
Migration: moves the queues of version 0.33 of this package into this one, where they lie in the same Redis database.

A message leaves the old keys and enters the new ones in one script, so it is in one of the two at any instant, and
never in both. That is all that makes it safe to kill a migration and to run it again, beside old programs that still
enqueue, too. What cannot be read stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .. import legacy, messages
from ..errors import RefusedInput, RefusedName, Undecodable, WrongType
from ..keys import QueueKeys, name_text
from ..protocol import adoption, views
from ..protocol.adoption import OldQueue
from ..protocol.operation import Flow, command
from ..protocol.workers import redis_time
from .leaving import Leaving
from .moved import Kind, Left, Moved, as_plain, shown

if TYPE_CHECKING:
    from ..app import App

__all__ = ["Left", "Migration", "Moved", "as_plain"]

#: The name under which 0.33 keeps dead letters.
_DEAD_LETTERS = b"DEADLETTER_QUEUE"


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
        self.limit = app.settings.max_message_bytes
        self.now = 0.0

    def run(self) -> list[Moved]:
        """Go through everything. Returns what there was of each queue, task queues first."""
        return self.app.broker.run(self.running())

    def running(self) -> Flow[list[Moved]]:
        """What `run` says to Redis."""
        self.now = yield from redis_time()
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
        label = raw_name.decode("utf-8", "backslashreplace")
        into = told.setdefault((kind, label), Moved(label, kind))
        try:
            name = name_text(raw_name, "queue")
        except RefusedName as error:
            size = yield from command(int, "HLEN", old.messages)
            into.left += size
            into.why.append(Left(shown(old.messages), "", str(error)))
            return
        if (yield from self._has_foreign_keys(old, into)):
            return
        queue = Leaving(self, kind, name, old, into, told)
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
                into.why.append(Left(shown(key), "", f"expected a {expected}, got a {kind}, which 0.33 did not write"))
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
        yield from adoption.remove(wall, raw_name)

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
