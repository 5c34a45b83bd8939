"""One round of a worker: everything it has to say to some task queues, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..keys import AppKeys, QueueKeys, text_of
from . import scripts
from .claimed import Claimed
from .moves import Rules, ms
from .operation import Operation, Word


class Finished(Protocol):
    """What a round says of a finished message: one word, when it keeps no outcome and had its first delivery."""

    @property
    def id(self) -> str:
        """Of the message."""

    @property
    def token(self) -> int:
        """Of the lease that was held."""

    @property
    def keep_for(self) -> float:
        """Seconds to keep the outcome; 0: none is kept."""

    @property
    def outcome(self) -> bytes:
        """JSON."""


class Ack(NamedTuple):
    """The plainest `Finished`."""

    id: str
    token: int
    keep_for: float = 0  #: seconds to keep the outcome; 0: none is kept
    outcome: bytes = b""


class Acks:
    """
    The acks of one queue, sorted by how much there is to say of each: an id, an id and its outcome, or all.

    Args:
        finished: in any order.
    """

    def __init__(self, finished: Sequence[Finished]) -> None:
        self.plain: list[str] = []  #: first deliveries without outcome
        self.kept: list[Finished] = []  #: first deliveries whose outcomes are kept equally long
        self.full: list[Finished] = []
        for ack in finished:
            if ack.token != 1:
                self.full.append(ack)
            elif not ack.keep_for:
                self.plain.append(ack.id)
            elif not self.kept or ack.keep_for == self.kept[0].keep_for:
                self.kept.append(ack)
            else:
                self.full.append(ack)

    def words(self) -> list[Word]:
        """As cycle.lua takes them."""
        kept = self.kept
        words: list[Word] = [str(len(self.plain)), str(len(kept)), str(ms(kept[0].keep_for) if kept else 0)]
        words += self.plain
        words += [ack.id for ack in kept]
        words += [ack.outcome for ack in kept]
        words.append(str(len(self.full)))
        for ack in self.full:
            words += (ack.id, str(ack.token), str(ms(ack.keep_for)), ack.outcome)
        return words

    def keeping(self) -> list[str]:
        """The ids of those that keep an outcome, in the order of the words."""
        return [ack.id for ack in (*self.kept, *self.full) if ack.keep_for]


class Round(NamedTuple):
    """What a round brought."""

    now: float  #: epoch seconds by Redis's clock
    stale: list[tuple[QueueKeys, str]]  #: acks that came too late: the lease had ended
    claimed: list[Claimed]  #: queue by queue, in the order to run them
    due: float  #: epoch seconds at which one of the queues needs a hand; 0: none does
    ready: list[tuple[str, float]]  #: (name, priority) of the first queues in the index that have ready messages
    hands: list[str]  #: queues in the index that have due or expired messages
    #: What Redis says of queues that were passed over for a key of a wrong type; of the index under an empty name.
    spoilt: dict[str, str]


def cycle(
    app: AppKeys,
    queues: Sequence[QueueKeys],
    acks: Mapping[str, Sequence[Finished]],
    *,
    indexed: bool,
    yields: bool = False,
    lease_for: float,
    wanted: int,
    starting: int,
    limit: int,
    rules: Rules,
) -> Operation[Round]:
    """
    Ack, promote, reap and claim over *queues*; claim by priority, from equal ones in the order given.

    Args:
        app: holds the index, given when *indexed*.
        queues: every queue that *acks* names must be among them.
        acks: ``{queue name: finished messages}``.
        indexed: False on Cluster, where *queues* is one queue.
        yields: whether to claim nothing from a queue while one that is not among *queues* is to go before it.
        lease_for: seconds that a claim leases for, unless the message asks for less.
        wanted: most messages to claim.
        starting: how many of these start at once, so that their waiters are told.
        limit: most messages of one queue to promote, and to reap.
        rules: for what is reaped and given up.
    """
    keys: list[bytes] = [app.queues, app.ready_queues, app.due_queues, app.wake] if indexed else []
    outcomes: list[bytes] = []
    words: list[Word] = [str(ms(lease_for)), str(wanted), str(starting), str(limit)]
    words += (str(rules.poison), str(rules.keep), str(indexed + yields), str(len(queues)))
    for queue in queues:
        keys += queue.block
        said = Acks(acks.get(queue.name, ()))
        words.append(queue.name)
        words += said.words()
        outcomes += map(queue.outcome, said.keeping())
    memo = app.memo if indexed else queues[0].memo

    def read(reply: list[Any]) -> Round:
        now, stale, claimed, due, ready, hands, spoilt = reply
        return Round(
            now / 1000,
            [(queues[number - 1], text_of(message_id)) for number, message_id in stale],
            [Claimed(queues[number - 1], *columns) for number, *columns in claimed],
            due / 1000,
            [(text_of(ready[at]), float(ready[at + 1])) for at in range(0, len(ready), 2)],
            [text_of(name) for name in hands],
            {queues[number - 1].name if number else "": text_of(text) for number, text in spoilt},
        )

    return Operation(scripts.load("cycle"), (*keys, *outcomes), words, read, memo)
