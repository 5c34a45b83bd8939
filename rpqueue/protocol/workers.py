"""What workers and supervisors say of themselves, and of one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..keys import AppKeys, QueueKeys, text_of
from . import scripts
from .moves import ms
from .operation import Operation, Stamp, Word, command


class Beat(NamedTuple):
    """A sign of life of one worker process; without *info* it says good-bye."""

    worker_id: str
    info: str  #: JSON: host, pid, queues, threads, started_at, clock


class Beaten(NamedTuple):
    """Redis's answer to a beat, in seconds of its clock."""

    now: float
    last: float  #: the latest beat of these workers that it remembers; 0: none


def beat(app: AppKeys, beats: Sequence[Beat], forget_after: float) -> Operation[Beaten]:
    """Say that workers are alive."""

    def read(reply: list[int]) -> Beaten:
        now, last = reply
        return Beaten(int(now) / 1000, int(last) / 1000)

    words: list[Word] = [str(ms(forget_after))]
    for one in beats:
        words += one
    return Operation(scripts.load("beat"), (app.workers, app.beats), words, read)


def redis_time() -> Operation[float]:
    """Redis's clock, in seconds since the epoch."""

    def read(reply: Any) -> float:
        seconds, micros = reply
        return int(seconds) + int(micros) / 1e6

    return command(read, "TIME")


def due(queues: Sequence[QueueKeys]) -> Operation[int]:
    """How many messages of these queues could be run at once: ready, due, or with a lease that is over."""
    keys = [key for queue in queues for key in (queue.ready, queue.scheduled, queue.leased)]
    return Operation(scripts.load("due"), keys, (), int)


class Unread(NamedTuple):
    """A lease of a round whose reply was never read."""

    queue: str
    id: str
    token: int


def recall(place: AppKeys | QueueKeys, stamp: Stamp, *, died: bool = True) -> Operation[list[Unread]]:
    """
    What a worker's round leased whose reply it has not read.

    Args:
        place: where its memo is: the app's, or on Cluster the queue's.
        stamp: of the round.
        died: whether the worker is dead; then the round leases nothing if it is still on its way.
    """

    def read(reply: list[Any]) -> list[Unread]:
        unread = []
        for name, _, ids, again in reply:
            tokens = dict(zip(again[::4], again[1::4], strict=True))
            unread += [Unread(text_of(name), text_of(one), tokens.get(place, 1)) for place, one in enumerate(ids, 1)]
        return unread

    words = (str(stamp.number), "1" if died else "0")
    return Operation(scripts.load("recall"), (place.memo(stamp.session),), words, read)
