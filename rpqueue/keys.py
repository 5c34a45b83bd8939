"""
Every Redis key this package touches.

A key is ``prefix:{tag}:kind[:rest]``. The tag keeps all keys of one queue in one Cluster slot; ``{tasks:NAME}`` and
``{data:NAME}`` are different queues, and ``{app}`` holds what no single queue owns. Tags and prefixes are encoded so
that none holds a brace, which makes every key decode in one way only: two prefixes, or two queues, never collide.

=============  ======  ==================================================  ======  =====================
of a queue     type    holds                                               TTL     written by
=============  ======  ==================================================  ======  =====================
messages       hash    id -> message (see messages.py)                     never   enqueue, ack, bury
ready          list    ids, next one first                                 never   enqueue, promote, claim
scheduled      zset    id -> due, ms                                       never   enqueue, fail, promote
leased         zset    id -> lease expiry, ms                              never   claim, extend, ack, reap
counts         hash    id -> "fence failures crashes interruptions",       never   whatever ends a lease
                       only when a lease of it ended without an ack
dead           zset    id -> died, ms; dead-lettered                       never   bury
lost           zset    id -> lost, ms; its at-most-once worker died        never   bury
failed         zset    id -> failed, ms; given up, and not dead-lettered   never   bury (bounded)
errors         hash    id -> "reason at|JSON of its last error", and       never   fail, bury
                       behind that of earlier ones, newest first, a line
                       each
parked         hash    id -> task name that no worker here knew, or the    never   park, unpark
                       version of a message that was too new for it
stats          hash    seen, done, ... -> count since the queue began      never   every move
schedules      hash    schedule name -> next slot, ms                      never   fire
wake           list    at most one token: "there is work"                  60 s    enqueue, claim
memo:SESSION   string  number and answer of a session's last call          60 s    every call that moves
outcome:ID     string  JSON of a finished task                             chosen  ack, cancel, fail
asked:ID       string  instant of a message whose run is to be stopped     1 day   cancel
progress:ID    string  instant of a message, and JSON: how far it is       1 day   note
checkpoint:ID  string  instant of a message, and JSON: what its next run   chosen  note
                       begins with
lock:NAME      string  holder's token                                      chosen  lock_acquire
=============  ======  ==================================================  ======  =====================

=============  ======  ==================================================  ======  =====================
of an app      type    holds                                               TTL     written by
=============  ======  ==================================================  ======  =====================
queues         zset    task queue -> priority; +inf means none was set     never   enqueue, set_priority
ready_queues   zset    task queue with ready messages -> priority          never   enqueue, cycle
due_queues     zset    task queue -> its next due or expiring instant, ms  never   enqueue, cycle
data_queues    zset    data queue -> 0                                     never   enqueue
wake           list    as above, for workers of all queues: a queue name   60 s    enqueue, cycle
workers        hash    worker id -> JSON                                   never   beat
beats          zset    worker id -> last heartbeat, ms                     never   beat
registry       hash    task name -> JSON: queue and options                never   announce
memo:SESSION   string  as above, for calls over many queues                60 s    cycle
janitor        string  token of the worker that cleans up in this minute   60 s    lock_acquire
=============  ======  ==================================================  ======  =====================

Channels stand beside the keys: ``events:ID`` of a queue for those who wait for a message, and on Cluster ``news`` of an
app, where its workers hear the names of queues that have work.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from .errors import RefusedName, WrongType

#: Kinds of keys that every queue has, of those that live on, in the order of `QueueKeys`.
QUEUE_KINDS = (
    "messages",
    "ready",
    "scheduled",
    "leased",
    "counts",
    "dead",
    "lost",
    "failed",
    "errors",
    "parked",
    "stats",
)
#: Kinds of keys that live until their owner deletes them. All other keys carry a TTL.
LASTING_KINDS = frozenset(
    [*QUEUE_KINDS, "schedules", "queues", "ready_queues", "due_queues", "data_queues", "workers", "beats", "registry"]
)
#: Longest name of a queue, a prefix or a message id, in UTF-8 bytes.
LONGEST_NAME = 512

_ENCODED = re.compile(rb"[%{}\x00-\x20\x7f]")


def name_text(value: str | bytes, what: str) -> str:
    """*value* as str, whichever way the user wrote it; RefusedName when it is empty, too long or not UTF-8."""
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            raise RefusedName(f"{what}: expected UTF-8, got {value!r}") from error
    elif isinstance(value, str):
        text = value
    else:
        raise WrongType(f"{what}: expected str or bytes, got {value!r}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise RefusedName(f"{what}: expected text that UTF-8 can carry, got {text!r}") from error
    if not 0 < size <= LONGEST_NAME:
        raise RefusedName(f"{what}: expected 1 to {LONGEST_NAME} bytes, got {size}")
    return text


def lock_memo(lock_key: bytes, session: bytes) -> bytes:
    """Number and answer of a session's last call about a lock, in the lock's slot."""
    return lock_key.removesuffix(b"lock") + b"memo:" + session


def are_names(found: Sequence[bytes]) -> bool:
    """Whether all of these, ids or names out of Redis, are such as `name_text` lets in."""
    try:
        b" ".join(found).decode()
    except UnicodeDecodeError:
        return False
    sizes = [len(name) for name in found]
    return min(sizes, default=1) > 0 and max(sizes, default=1) <= LONGEST_NAME


def text_of(found: bytes) -> str:
    """A name or id out of Redis as text. Bytes that are no UTF-8 become lone surrogates, as in names of files."""
    return found.decode("utf-8", "surrogateescape")


def wire(text: str) -> bytes:
    """The bytes that `text_of` made *text* of."""
    return text.encode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return _ENCODED.sub(lambda found: b"%%%02X" % found[0][0], wire(text))


def decoded_name(encoded: bytes) -> str:
    """The name of a queue, from how it stands in its keys."""
    return text_of(unquote_to_bytes(encoded))


class QueueKeys(NamedTuple):
    """The keys of one queue: the twelve that a script takes as one block, in this order, and then its stem."""

    messages: bytes
    ready: bytes
    scheduled: bytes
    leased: bytes
    counts: bytes
    dead: bytes
    lost: bytes
    failed: bytes
    errors: bytes
    parked: bytes
    stats: bytes
    wake: bytes
    stem: bytes
    name: str

    @property
    def block(self) -> tuple[bytes, ...]:
        """What every script about one queue gets as its first twelve KEYS."""
        return self[:12]

    @property
    def entrance(self) -> tuple[bytes, bytes, bytes, bytes]:
        """What a message touches when it comes in, ready to be delivered: the first four KEYS of enqueue_ready."""
        return self.messages, self.ready, self.stats, self.wake

    @property
    def schedules(self) -> bytes:
        """The hash of its recurring tasks' next slots."""
        return self.stem + b"schedules"

    @property
    def events(self) -> bytes:
        """Stem of the channels on which a message's changes are published: ``events:ID``, and ``events:`` for all."""
        return self.stem + b"events:"

    def memo(self, session: bytes) -> bytes:
        """Number and answer of a session's last call."""
        return self.stem + b"memo:" + session

    @property
    def listed_in(self) -> bytes:
        """The app's key that lists the queues of this one's kind."""
        prefix = self.stem[: self.stem.index(b"{")]
        return prefix + (b"{app}:data_queues" if self.is_data else b"{app}:queues")

    @property
    def is_data(self) -> bool:
        """Whether it is a data queue."""
        return b"{data:" in self.stem

    def outcome(self, message_id: str) -> bytes:
        """What a message ended with."""
        return self.stem + b"outcome:" + wire(message_id)

    def asked(self, message_id: str) -> bytes:
        """The mark that a message's run is to be stopped."""
        return self.stem + b"asked:" + wire(message_id)

    def progress(self, message_id: str) -> bytes:
        """How far a message's run is."""
        return self.stem + b"progress:" + wire(message_id)

    def checkpoint(self, message_id: str) -> bytes:
        """What a message's next run begins with."""
        return self.stem + b"checkpoint:" + wire(message_id)


class AppKeys(NamedTuple):
    """The keys that no single queue owns."""

    queues: bytes
    ready_queues: bytes
    due_queues: bytes
    data_queues: bytes
    wake: bytes
    workers: bytes
    beats: bytes
    registry: bytes
    stem: bytes

    @property
    def janitor(self) -> bytes:
        """Whose turn it is to delete what was given up long ago."""
        return self.stem + b"janitor"

    @property
    def news(self) -> bytes:
        """The channel on which a Cluster's workers hear which queues have work."""
        return self.stem + b"news"

    def memo(self, session: bytes) -> bytes:
        """Number and answer of a session's last call."""
        return self.stem + b"memo:" + session


class Keys:
    """All keys under one prefix. Two prefixes never share a key."""

    def __init__(self, prefix: str | bytes = "rpqueue") -> None:
        self.prefix = name_text(prefix, "key prefix")
        self._stem = _encode(self.prefix) + b":"
        stem = self._stem + b"{app}:"
        self.app = AppKeys._make([*(stem + name.encode() for name in AppKeys._fields[:-1]), stem])
        self.tasks = lru_cache(maxsize=20_000)(self._tasks)
        self.data = lru_cache(maxsize=20_000)(self._data)

    def _tasks(self, queue: str) -> QueueKeys:
        return self._queue(b"tasks:", queue)

    def _data(self, queue: str) -> QueueKeys:
        return self._queue(b"data:", queue)

    def _queue(self, kind: bytes, queue: str) -> QueueKeys:
        stem = b"%s{%s%s}:" % (self._stem, kind, _encode(queue))
        block = [stem + name.encode() for name in QueueKeys._fields[:12]]
        return QueueKeys._make([*block, stem, queue])

    def tag_of(self, queue: str) -> bytes:
        """The name of a queue as it stands in its keys; `decoded_name` is the way back."""
        return _encode(queue)

    def lock(self, name: str) -> bytes:
        """The key of a SimpleLock."""
        return b"%s{lock:%s}:lock" % (self._stem, _encode(name))
