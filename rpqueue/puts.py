"""
Puts: new messages on their way into their queues, and how many of them travel together.

Puts are cut into batches, in order. In a batch, neighbours in one queue are joined into one script call. There is no
order between two queues, so what stands between such neighbours does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .errors import RedisUnavailable, RpqueueError
from .fates import Fate, Fates
from .keys import QueueKeys
from .protocol import moves
from .protocol.data import bury_new
from .protocol.moves import Index
from .protocol.operation import Operation

#: Most messages of one batch: a few milliseconds of Redis's time, in which it serves nobody else.
MOST_MESSAGES = 1000
#: Most bytes of bodies in one batch, unless a single put has more.
MOST_BYTES = 4 * 1_048_576
#: Most script calls of one batch. Each costs as much as ten or twenty messages.
MOST_CALLS = 100


class Put:
    """
    New messages for one queue, which one script call puts: all or none.

    Args:
        queue: the keys of the queue.
        index: the app's keys that are kept true.
        pairs: ``(id, body)``, at most 3,000; of dead letters with sorted ids.
        delay: seconds until they are due.
        tail: of their header, from `messages.header_tail`.
        chosen: whether a user chose the ids.
        is_dead: whether they are dead letters from the start.
    """

    __slots__ = ("calls", "chosen", "delay", "fate", "index", "is_dead", "pairs", "queue", "shown", "size", "tail")

    def __init__(
        self,
        queue: QueueKeys,
        index: Index,
        pairs: Sequence[tuple[str, bytes]],
        *,
        delay: float = 0.0,
        tail: str = "",
        chosen: bool = False,
        is_dead: bool = False,
    ) -> None:
        self.queue, self.index, self.pairs = queue, index, pairs
        self.delay, self.tail, self.chosen, self.is_dead = delay, tail, chosen, is_dead
        self.size = sum([len(body) for _, body in pairs])  #: bytes of the bodies
        self.calls: Sequence[Any] = ()  #: the EnqueuedTasks of its messages, which are told of its fate
        self.shown: Sequence[Any] = ()  #: what the user holds of its messages: these, their awaited twins, or ids
        self.fate = Fate()

    def operation(self) -> Operation[float]:
        """What to say to Redis."""
        if self.is_dead:
            return bury_new(self.queue, self.index, self.pairs, tail=self.tail)
        return moves.enqueue(self.queue, self.index, self.pairs, delay=self.delay, tail=self.tail, chosen=self.chosen)

    def tell(self) -> None:
        """Have its calls know of its fate, from now on."""
        for call in self.calls:
            call.fate = self.fate

    def goes_with(self, other: Put) -> bool:
        """
        Whether one script call may put both, with the effect of two.

        Not where an id may be taken, which refuses a whole call; nor dead letters, which one call orders by their ids.
        """
        return (
            self.tail == other.tail
            and self.delay == other.delay
            and self.queue.stem == other.queue.stem
            and not (self.chosen or other.chosen or self.is_dead or other.is_dead)
        )


class Batch:
    """Puts that go to Redis at once, as few script calls."""

    def __init__(self) -> None:
        self._runs: list[list[Put]] = []
        self._last: dict[bytes, list[Put]] = {}  #: the last run of each queue, by its stem
        self._messages = self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._runs)

    def take(self, put: Put) -> bool:
        """Have one more put travel in it, if there is room. Returns whether there is."""
        run = self._last.get(put.queue.stem)
        joins = run is not None and run[0].goes_with(put)
        if self._runs and (
            self._messages + len(put.pairs) > MOST_MESSAGES
            or self._bytes + put.size > MOST_BYTES
            or (len(self._runs) == MOST_CALLS and not joins)
        ):
            return False
        self._messages += len(put.pairs)
        self._bytes += put.size
        if run is not None and joins:
            run.append(put)
        else:
            self._last[put.queue.stem] = [put]
            self._runs.append(self._last[put.queue.stem])
        return True

    def operations(self) -> list[Operation[float]]:
        """What to say to Redis."""
        return [_joined(run).operation() for run in self._runs]

    def sets_out(self) -> None:
        """It is being sent."""
        for run in self._runs:
            _settle(run, None, "Redis has not answered")

    def arrives(self, brought: Sequence[Any]) -> list[RpqueueError]:
        """
        Say what each of its operations brought: a result, or an error.

        Those that the list is too short for were not sent. Returns the errors.
        """
        for run, one in zip(self._runs, brought, strict=False):
            if isinstance(one, RedisUnavailable):
                _settle(run, None, str(one))
            else:
                failed = isinstance(one, RpqueueError)
                _settle(run, not failed, str(one) if failed else "")
        for run in self._runs[len(brought) :]:
            _settle(run, False, "", is_sent=False)
        return [one for one in brought if isinstance(one, RpqueueError)]


def _settle(run: list[Put], is_in: bool | None, why: str, *, is_sent: bool = True) -> None:
    for put in run:
        put.fate.is_sent, put.fate.is_in, put.fate.why = is_sent, is_in, why


def _joined(run: list[Put]) -> Put:
    if len(run) == 1:
        return run[0]
    first = run[0]
    pairs = [pair for put in run for pair in put.pairs]
    return Put(first.queue, first.index, pairs, delay=first.delay, tail=first.tail)


def batches(puts: Iterable[Put]) -> Iterator[Batch]:
    """*puts* in batches, in order."""
    batch = Batch()
    for put in puts:
        if not batch.take(put):
            yield batch
            batch = Batch()
            batch.take(put)
    if batch:
        yield batch


def leave(puts: Iterable[Put], why: str) -> None:
    """Those that were not sent until now never will be."""
    for put in puts:
        if not put.fate.is_sent:
            put.fate.why = why


def fates_of(puts: Iterable[Put]) -> Fates:
    """What became of the messages of *puts*."""
    lists: dict[bool | None, list[Any]] = {True: [], False: [], None: []}
    for put in puts:
        lists[put.fate.is_in] += put.shown
    return Fates(lists[True], lists[False], lists[None])
