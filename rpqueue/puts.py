"""
Puts: new messages on their way into their queues, and how many of them travel together.

Puts are gathered in batches, in order. In a batch, neighbours in one queue are joined into one script call. There is no
order between two queues, so what stands between such neighbours does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .durability import Proof, stronger
from .errors import RedisUnavailable, RpqueueError
from .fates import Fate, Fates
from .keys import QueueKeys
from .protocol import moves
from .protocol.data import bury_new
from .protocol.moves import Index
from .protocol.operation import Operation

#: Most messages of one batch: a few milliseconds of Redis's time, in which it serves nobody else.
MOST_MESSAGES = 1000
#: Most bytes of messages in one batch, unless a single put has more.
MOST_BYTES = 4 * 1_048_576
#: Most script calls of one batch. Each costs as much as ten or twenty messages.
MOST_CALLS = 100


class Put:
    """
    New messages for one queue, which one script call puts: all or none.

    Args:
        queue: the keys of the queue.
        index: the app's keys that are kept true.
        pairs: ``(id, body)``, at most 3,000; of dead letters with sorted ids. Belongs to the put from now on.
        shown: what the user holds of them: EnqueuedTasks, or ids of items. Belongs to the put, too.
        delay: seconds until they are due.
        tail: of their header, from `messages.header_tail`.
        chosen: whether a user chose the ids.
        is_dead: whether they are dead letters from the start.
        proof: what Redis has to confirm of them; None: nothing.
        most: messages that the queue may hold; 0: as many as there are.
    """

    __slots__ = (
        "chosen",
        "delay",
        "fate",
        "index",
        "is_dead",
        "most",
        "pairs",
        "proof",
        "queue",
        "shown",
        "size",
        "tail",
    )

    def __init__(
        self,
        queue: QueueKeys,
        index: Index,
        pairs: list[tuple[str, bytes]],
        shown: list[Any],
        *,
        delay: float = 0.0,
        tail: str = "",
        chosen: bool = False,
        is_dead: bool = False,
        proof: Proof | None = None,
        most: int = 0,
    ) -> None:
        self.queue, self.index, self.pairs, self.shown = queue, index, pairs, shown
        self.delay, self.tail, self.chosen, self.is_dead = delay, tail, chosen, is_dead
        self.proof, self.most = proof, most
        self.size = sum([len(body) for _, body in pairs])  #: bytes of the bodies
        self.fate = Fate()

    def operation(self) -> Operation[float]:
        """What to say to Redis."""
        if self.is_dead:
            return bury_new(self.queue, self.index, self.pairs, tail=self.tail)
        return moves.enqueue(
            self.queue,
            self.index,
            self.pairs,
            delay=self.delay,
            tail=self.tail,
            chosen=self.chosen,
            most=self.most,
        )

    def goes_with(self, other: Put) -> bool:
        """
        Whether one script call may put both, with the effect of two.

        Not where an id may be taken, or the queue be full, which refuses a whole call; nor dead letters, which one call
        orders by their ids.
        """
        return (
            self.tail == other.tail
            and self.delay == other.delay
            and self.queue.stem == other.queue.stem
            and not (self.chosen or other.chosen or self.is_dead or other.is_dead or self.most or other.most)
        )

    def join(self, other: Put) -> None:
        """Take what another has; whoever knows of that one's fate is told of this one's."""
        other.fate.follow(self.fate)
        self.pairs += other.pairs
        self.shown += other.shown
        self.size += other.size
        self.proof = stronger(self.proof, other.proof)


class Batch:
    """Puts that go to Redis at once, one for each script call."""

    def __init__(self) -> None:
        self.puts: list[Put] = []
        self._last: dict[bytes, Put] = {}  #: the last one of each queue, by its stem
        self._messages = self._bytes = 0

    def take(self, put: Put) -> Put | None:
        """Have one more travel in it. Returns the put that its messages belong to now; None: there is no room."""
        last = self._last.get(put.queue.stem)
        joins = last is not None and last.goes_with(put)
        if self.puts and (
            self._messages + len(put.pairs) > MOST_MESSAGES
            or self._bytes + put.size > MOST_BYTES
            or (len(self.puts) == MOST_CALLS and not joins)
        ):
            return None
        self._messages += len(put.pairs)
        self._bytes += put.size
        if last is not None and joins:
            last.join(put)
            return last
        self._last[put.queue.stem] = put
        self.puts.append(put)
        return put

    @property
    def proof(self) -> Proof | None:
        """What Redis has to confirm of them; None: nothing."""
        proof = None
        for put in self.puts:
            proof = stronger(proof, put.proof)
        return proof

    def sets_out(self) -> list[Operation[float]]:
        """It is being sent. Returns what to say to Redis."""
        for put in self.puts:
            put.fate.settle(None, "Redis has not answered")
        return [put.operation() for put in self.puts]

    def arrives(self, brought: Sequence[Any]) -> list[RpqueueError]:
        """
        Say what each operation brought: a result, or an error.

        Those that the list is too short for were not sent. Returns the errors.
        """
        errors = []
        for put, one in zip(self.puts, brought, strict=False):
            if isinstance(one, RpqueueError):
                errors.append(one)
                put.fate.settle(None if isinstance(one, RedisUnavailable) else False, str(one))
            else:
                put.fate.settle(True, "")
        for put in self.puts[len(brought) :]:
            put.fate.settle(False, "", is_sent=False)
        return errors


class Batches:
    """Batches that are to be sent one after the other."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)

    def __len__(self) -> int:
        """Messages in them."""
        return sum(len(put.pairs) for put in self.puts())

    def puts(self) -> Iterator[Put]:
        """All puts in them, in order."""
        return (put for batch in self._batches for put in batch.puts)

    def add(self, put: Put) -> Fate:
        """Have one more travel in the last of them, or in a new one. Returns its fate."""
        taken = self._batches[-1].take(put) if self._batches else None
        if taken is None:
            self._batches.append(Batch())
            taken = self._batches[-1].take(put) or put
        return taken.fate

    def leave(self, why: str) -> None:
        """What was not sent until now never will be."""
        for put in self.puts():
            if not put.fate.is_sent:
                put.fate.why = why

    def fates(self) -> Fates:
        """What became of all messages."""
        lists: dict[bool | None, list[Any]] = {True: [], False: [], None: []}
        for put in self.puts():
            lists[put.fate.is_in] += put.shown
        return Fates(lists[True], lists[False], lists[None])
