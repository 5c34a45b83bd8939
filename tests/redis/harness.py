"""
A queue in a state that a test writes, and read back whole after a call.

Instants are milliseconds since the queue object was made: `given(leased={"a": (5000, 1)})` writes a lease that ends
five seconds from then, and an untouched lease reads `(5000, 1)` again. What a script wrote by its own clock is compared
with `queue.after(5000)`: five seconds after the last call, exactly, whatever that call took.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
import redis

from rpqueue.keys import Keys
from rpqueue.messages import VERSION, header_tail
from rpqueue.protocol import scripts
from rpqueue.states import GRAVES

SESSION = b"session"
PLACES = ("ready", "scheduled", "leased", "parked", *(str(grave) for grave in GRAVES))


class Clock:
    """Redis's clock around the last call."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.start = self.before = self.now()
        self.ended = self.start

    def now(self) -> int:
        seconds, micros = self.client.time()
        return int(seconds) * 1000 + int(micros) // 1000


class Within:
    """Equal to every instant of a span."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (int, float)) and self.first <= other <= self.last

    def __hash__(self) -> int:
        return hash((self.first, self.last))

    def __repr__(self) -> str:
        return f"{self.first}..{self.last}"


def run(client: redis.Redis, name: str, keys: Sequence[bytes], args: Sequence[Any]) -> Any:
    """Run the script *name* as the library does: by its SHA-1, by its source when the server has it not."""
    script = scripts.load(name)
    words = [*keys, *args]
    if isinstance(client, redis.RedisCluster) and len({client.keyslot(key) for key in keys}) > 1:
        pytest.skip("on a cluster: no script can have keys of several slots")
    try:
        return client.evalsha(script.sha, len(keys), *words)
    except redis.exceptions.NoScriptError:
        return client.eval(script.source, len(keys), *words)


def plain(reply: Any) -> Any:
    """The reply with text in place of UTF-8 bytes."""
    if isinstance(reply, bytes):
        return reply.decode()
    if isinstance(reply, list):
        return [plain(part) for part in reply]
    return reply


class Queue:
    """One queue under test, of kind "tasks" or "data", and the calls to it."""

    def __init__(self, client: redis.Redis, name: str = "mail", kind: str = "tasks", like: Queue | None = None) -> None:
        self.client, self.name, self.kind = client, name, kind
        keys = Keys("test")
        self.keys = keys.tasks(name) if kind == "tasks" else keys.data(name)
        self.app = keys.app
        self.clock = like.clock if like else Clock(client)
        self._numbers = like._numbers if like else itertools.count(1)

    # ---- calls

    def call(self, name: str, keys: Sequence[bytes], args: Sequence[Any]) -> Any:
        """Run a script about this queue: its block of keys comes first."""
        return self.run(name, [*self.keys.block, *keys], args)

    def run(self, name: str, keys: Sequence[bytes], args: Sequence[Any]) -> Any:
        self.clock.before = self.clock.now()
        try:
            return plain(run(self.client, name, keys, args))
        finally:
            self.clock.ended = self.clock.now()

    def number(self) -> int:
        """The number of a new call of the session."""
        return next(self._numbers)

    @property
    def memo(self) -> bytes:
        return self.keys.memo(SESSION)

    @property
    def data_index(self) -> tuple[bytes, ...]:
        """What lists data queues; nothing on a cluster."""
        return () if isinstance(self.client, redis.RedisCluster) else (self.app.data_queues,)

    @property
    def index_keys(self) -> tuple[bytes, ...]:
        """The keys that scripts take as their index; none for a data queue, and none on a cluster."""
        if self.kind == "data" or isinstance(self.client, redis.RedisCluster):
            return ()
        return self.app.queues, self.app.ready_queues, self.app.due_queues, self.app.wake

    def after(self, ms: int = 0) -> Within:
        """The instant *ms* after the last call's."""
        start = self.clock.start
        return Within(self.clock.before - start + ms, self.clock.ended - start + ms)

    def since_start(self, instant: float | str) -> int:
        """An instant of Redis's in whole milliseconds of this harness; fractions only keep one call in order."""
        return int(float(instant)) - self.clock.start

    # ---- state before

    def given(
        self,
        *,
        ready: Iterable[str] = (),
        scheduled: Mapping[str, int] | None = None,
        leased: Mapping[str, tuple[int, int]] | None = None,
        parked: Mapping[str, str] | None = None,
        dead: Mapping[str, int] | None = None,
        lost: Mapping[str, int] | None = None,
        failed: Mapping[str, int] | None = None,
        counts: Mapping[str, str] | None = None,
        errors: Mapping[str, str] | None = None,
        lease: float = 0,
        attempts: int = 1,
        flags: int = 0,
        bodies: Mapping[str, str] | None = None,
    ) -> Queue:
        """
        Add messages to the queue, as the scripts would have left them; call it again for messages of another sort.

        Args:
            scheduled: id -> due. leased: id -> (expiry, token). dead, lost, failed: id -> when it was buried.
            parked: id -> task name. counts: id -> as stored. errors: id -> as stored, without the instant.
            lease: in seconds, of every message here; attempts and flags likewise.
            bodies: id -> JSON, where it is not the id as a string.
        """
        keys, start = self.keys, self.clock.start
        graves = {"dead": dead or {}, "lost": lost or {}, "failed": failed or {}}
        fences = {id: f"{token} 0 0 0" for id, (_, token) in (leased or {}).items() if token != 1} | dict(counts or {})
        ids = [*ready, *(scheduled or {}), *(leased or {}), *(parked or {}), *itertools.chain(*graves.values())]
        head = f"{VERSION} {start}{header_tail(lease, attempts, flags)}|"
        pipe = self.client.pipeline()
        for id in ids:
            pipe.hset(keys.messages, id, head + (bodies or {}).get(id, f'"{id}"'))
        for id in ready:
            pipe.rpush(keys.ready, id)
        for id, due in (scheduled or {}).items():
            pipe.zadd(keys.scheduled, {id: start + due})
        for id, (expiry, _) in (leased or {}).items():
            pipe.zadd(keys.leased, {id: start + expiry})
        for id, task in (parked or {}).items():
            pipe.hset(keys.parked, id, task)
        for grave, buried in graves.items():
            for id, at in buried.items():
                pipe.zadd(getattr(keys, grave), {id: start + at})
                reason, bar, error = (errors or {}).get(id, f"{grave}|").partition("|")
                pipe.hset(keys.errors, id, f"{reason} {start + at}{bar}{error}")
        for id, text in fences.items():
            pipe.hset(keys.counts, id, text)
        pipe.execute()
        if self.kind == "tasks":
            if self.client.exists(keys.ready):
                self.client.zadd(self.app.queues, {self.name: "inf"}, nx=True)
                self.client.zadd(self.app.ready_queues, {self.name: self.client.zscore(self.app.queues, self.name)})
            due_at = self._next_due()
            if due_at is not None:
                self.client.zadd(self.app.due_queues, {self.name: due_at})
        return self

    def message(self, id: str) -> str:
        """The message as stored."""
        return plain(self.client.hget(self.keys.messages, id))

    # ---- state after

    def state(self) -> dict[str, Any]:
        """
        Where every message is, empty places left out: see `given`; beside it what is stored in counts and, without its
        instant, in errors. Asserts on the way what is true in every state: see `check`.
        """
        keys = self.keys
        tokens = {id: int(text.split()[0]) for id, text in self._hash(keys.counts).items()}
        places: dict[str, Any] = {
            "ready": plain(self.client.lrange(keys.ready, 0, -1)),
            "scheduled": self._zset(keys.scheduled),
            "leased": {id: (expiry, tokens.get(id, 1)) for id, expiry in self._zset(keys.leased).items()},
            "parked": self._hash(keys.parked),
            **{str(grave): self._zset(getattr(keys, grave)) for grave in GRAVES},
            "counts": self._hash(keys.counts),
            "errors": {
                id: text.split(" ")[0] + "|" + text.partition("|")[2] for id, text in self._hash(keys.errors).items()
            },
        }
        self.check(places)
        return {place: held for place, held in places.items() if held}

    def check(self, places: Mapping[str, Any]) -> None:
        """A message is in one place; nothing is left of one that is gone; wake lists and index tell no lie."""
        messages = set(self._hash(self.keys.messages))
        placed = [id for place in PLACES for id in places[place]]
        assert sorted(placed) == sorted(messages), f"not every message in one place: {placed} of {messages}"
        assert messages >= set(places["counts"]) | set(places["errors"]), f"left behind: {places}"
        for wake in (self.keys.wake, self.app.wake):
            assert self.client.llen(wake) <= 1, "two tokens"
            assert self.client.pttl(wake) != -1, "a wake list without a TTL"
        if self.index_keys:
            index, due = self.index(), self._next_due()
            assert not places["ready"] or index["ready"] == index["priority"] is not None, (
                "ready, and the index denies it"
            )
            assert due is None or (index["due"] is not None and index["due"] <= self.since_start(due)), (
                "due, unlike the index"
            )

    def index(self) -> dict[str, Any]:
        """What the index says: the queue's priority as known and as ready, and its next instant; None: not there."""
        if not self.index_keys:
            pytest.skip("on a cluster: there is no index")
        known, ready, due = (self.client.zscore(key, self.name) for key in self.index_keys[:3])
        return {"priority": known, "ready": ready, "due": None if due is None else self.since_start(due)}

    def index_is_exact(self) -> bool:
        """Whether the index says neither less nor more than is true."""
        index, due = self.index(), self._next_due()
        ready = bool(self.client.exists(self.keys.ready))
        return (index["ready"] is not None) == ready and index["due"] == (
            None if due is None else self.since_start(due)
        )

    def stats(self) -> dict[str, int]:
        return {name: int(count) for name, count in self._hash(self.keys.stats).items()}

    def wakes(self) -> tuple[bool, bool]:
        """Whether a token lies in the queue's wake list, and in the app's, whose place a cluster's news take."""
        has_news = self.kind == "tasks" and not self.index_keys
        app_wake = self.keys.wake if has_news else self.app.wake
        return bool(self.client.llen(self.keys.wake)), bool(self.client.llen(app_wake))

    def sleep(self) -> None:
        """Take the tokens away, as waiting workers do."""
        self.client.delete(self.keys.wake, self.app.wake)

    def lasting(self) -> set[str]:
        """The last words of the keys that have no TTL."""
        return {plain(key).rpartition("}:")[2] for key in self.client.scan_iter() if self.client.pttl(key) == -1}

    def snapshot(self) -> dict[str, Any]:
        """Every key but the memos, byte for byte: to show that a call changed nothing."""
        readers = {
            b"string": lambda key: self.client.get(key),
            b"list": lambda key: self.client.lrange(key, 0, -1),
            b"hash": lambda key: self.client.hgetall(key),
            b"zset": lambda key: self.client.zrange(key, 0, -1, withscores=True),
        }
        keys = [key for key in self.client.scan_iter() if b":memo:" not in key]
        return {key: readers[self.client.type(key)](key) for key in keys}

    def _next_due(self) -> float | None:
        firsts = [self.client.zrange(key, 0, 0, withscores=True) for key in (self.keys.scheduled, self.keys.leased)]
        return min((score for first in firsts for _, score in first), default=None)

    def _hash(self, key: bytes) -> dict[str, str]:
        return {plain(field): plain(value) for field, value in self.client.hgetall(key).items()}

    def _zset(self, key: bytes) -> dict[str, int]:
        return {plain(id): self.since_start(score) for id, score in self.client.zrange(key, 0, -1, withscores=True)}
