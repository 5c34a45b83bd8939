"""
Rounds: what a worker says to Redis about task queues, one call at a time.

A round acks what has ended, and claims. It may be sent ahead, and its answer be read later; there is one under way at
most. Each has a number of its own, and when no answer comes the same one is sent again, so nothing is done twice.
Whoever calls these methods sees to it that nobody else does at the same time.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..keys import QueueKeys
from ..lines import Sent
from ..protocol.cycle import Round, cycle
from ..protocol.operation import Operation, Stamp
from ..protocol.runs import forget
from ..system import System
from .appetite import Appetite
from .claims import Claim, decode
from .ledger import Ledger
from .patience import Patience
from .route import Route
from .strays import Complaints, bury, sort_out

log = logging.getLogger("rpqueue.worker")

#: Most acks that one round carries.
MOST_ACKS = 1000
#: Seconds after which an answer is so late that the leases it gave may be half over.
SLOW_ANSWER = 0.5


class Departed(NamedTuple):
    """A round that Redis was told of, or will be, and whose answer is not in yet."""

    operation: Operation[Round]
    stamp: Stamp
    queues: Sequence[QueueKeys]  #: that it visits
    acked: list[Claim]
    wanted: int  #: most messages that it claims
    at: float = 0.0  #: monotonic instant before which nothing that it claims was leased
    sent: Sent | None = None  #: None: not sent ahead


class Departing(NamedTuple):
    """A round made ready for the moment in which there is news."""

    departed: Departed
    send: Callable[[], Sent]
    names: set[bytes]  #: of the queues that it visits


class Brought(NamedTuple):
    """What a round claimed."""

    claims: list[Claim]
    late: list[Claim]  #: those whose leases were half over when the answer came; they have to go back


class Rounds:
    """
    The rounds of one worker process.

    Args:
        system: keys and settings.
        route: which queues.
        ledger: where claims are written down for the supervisor.
        patience: carries rounds, however long Redis is away.
        appetite: told what messages weigh.
    """

    def __init__(self, system: System, route: Route, ledger: Ledger, patience: Patience, appetite: Appetite) -> None:
        self._system = system
        self._route = route
        self._ledger = ledger
        self._patience = patience
        self._appetite = appetite
        self.acks: deque[Claim] = deque()  #: what ended; anybody may append, and only rounds pop
        self.due = 0.0  #: monotonic instant at which a queue needs a hand; 0: none
        self.drift = 0.0  #: Redis's clock minus the monotonic one
        self.last = 0.0  #: monotonic instant of the last answer; 0: there was none
        self.left_some = False  #: whether the last round left messages behind
        self._under_way: Departed | None = None
        self._first_ack: Claim | None = None  #: the first of the acks when somebody looked last
        self._first_seen = 0.0  #: since when it is the first
        self._complaints = Complaints()
        self._session = patience.broker.sessions.take()

    @property
    def is_under_way(self) -> bool:
        """Whether one waits for its answer."""
        return self._under_way is not None

    def has_late_acks(self, patience: float) -> bool:
        """Whether the oldest ack has been there for longer than *patience* seconds of the looks that are taken here."""
        now, first = time.monotonic(), self.acks[0] if self.acks else None
        if first is not self._first_ack:
            self._first_ack, self._first_seen = first, now
        return first is not None and now - self._first_seen > patience

    def run(self, wanted: int, starting: int) -> Brought:
        """
        Run a round, or end the one that is under way.

        Args:
            wanted: most messages to claim.
            starting: how many of them start at once.
        """
        departed = self._under_way or self._load(wanted, starting)
        if departed is None:
            self._say_that_it_looked()
            return Brought([], [])
        if departed is not self._under_way:
            departed = self._entered(departed)
        self._under_way = departed  # if nothing answers, the same round is tried again, under the same stamp
        reply = self._answer(departed)
        self._under_way = None
        return self._take_in(reply, departed)

    def send_ahead(self, wanted: int, starting: int) -> None:
        """Send one whose answer `run` will read."""
        departed = self._load(wanted, starting)
        if departed is not None:
            self._send(departed, lambda: self._patience.broker.send(departed.operation, departed.stamp))

    def prepare(self, wanted: int, starting: int) -> Departing | None:
        """Make a round ready, over queues that there may soon be news of. None: of none, or it cannot be sent so."""
        queues = self._route.likely()
        if not queues:
            return None
        departed = self._made(wanted, starting, queues, {})
        send = self._patience.broker.pack(departed.operation, departed.stamp)
        return send and Departing(departed, send, {queue.name.encode() for queue in queues})

    def set_out(self, departing: Departing) -> None:
        """Send what was made ready; `run` will read its answer."""
        self._send(departing.departed, departing.send)

    # How it is done.

    def _say_that_it_looked(self) -> None:
        """An idle worker on Cluster has nothing to visit, and asks for all that; its supervisor is to know."""
        if self._route.answered_at:
            self._ledger.answered(max(self._route.answered_at, self._ledger.answered_at))
        if self._route.away_at:
            self._ledger.found_away(max(self._route.away_at, self._ledger.away_at))

    def _load(self, wanted: int, starting: int) -> Departed | None:
        """A round that carries the acks that there are; None when there is nothing to say, and nowhere to look."""
        acked = [self.acks.popleft() for _ in range(min(len(self.acks), MOST_ACKS))]
        acks: dict[str, list[Claim]] = {}
        for claim in acked:
            acks.setdefault(claim.keys.name, []).append(claim)
        queues = self._route.queues(acks, wanted > 0)
        if not self._route.indexed:
            acked = self._of_one_queue(acked, queues[0].name if queues else None)
            if not queues:
                return None
        return self._made(wanted, starting, queues, acks)._replace(acked=acked)

    def _of_one_queue(self, acked: list[Claim], name: str | None) -> list[Claim]:
        """Those of that queue; the others wait for a round of their own."""
        self.acks.extendleft(reversed([claim for claim in acked if claim.keys.name != name]))
        return [claim for claim in acked if claim.keys.name == name]

    def _made(self, wanted: int, starting: int, queues: Sequence[QueueKeys], acks: dict[str, list[Claim]]) -> Departed:
        """A round under a number of its own."""
        settings = self._system.settings
        operation = cycle(
            self._system.keys.app,
            queues,
            acks,
            indexed=self._route.indexed,
            yields=self._route.yields,
            lease_for=settings.worker_ttl,
            wanted=wanted,
            starting=starting,
            limit=settings.queue_items_per_pass * settings.reentry_retry,
            rules=self._system.task_rules,
        )
        self._session = Stamp(self._session.session, self._session.number + 1)
        return Departed(operation, self._session, queues, [], wanted)

    def _entered(self, departed: Departed) -> Departed:
        """The same, about to be sent now: written down for whoever has to see to its claims after a death."""
        if departed.wanted:
            self._ledger.sending(departed.stamp, "" if self._route.indexed else departed.queues[0].name)
        return departed._replace(at=time.monotonic())

    def _send(self, departed: Departed, send: Callable[[], Sent | None]) -> None:
        """Send a round and leave its answer for later."""
        self._under_way = departed = self._entered(departed)
        try:
            self._under_way = departed._replace(sent=send())
        except Exception as error:
            log.debug("a round was not sent ahead: %s", error)

    def _answer(self, departed: Departed) -> Round:
        if departed.sent is not None:
            self._under_way = departed._replace(sent=None)  # its reply can be read once
            try:
                return departed.operation.read(departed.sent.reply())
            except Exception as error:  # sending it again tells what it was
                log.debug("a round that was sent ahead failed; sending it again: %s", error)
        return self._patience.execute(departed.operation, departed.stamp)

    def _take_in(self, reply: Round, departed: Departed) -> Brought:
        arrived = self.last = time.monotonic()
        self._ledger.answered(arrived)
        # Redis told its time somewhere between these two instants.
        self.drift = min(max(self.drift, reply.now - arrived), reply.now - departed.at)
        self.due = self._route.learn(departed.queues, reply, arrived)
        self._see_to_acks(departed.acked, reply)
        self._appetite.weighed([len(message) for came in reply.claimed for message in came.messages])
        if reply.spoilt:
            self._complaints.tell(reply.spoilt)
        claims = self._claims_in(reply, departed.at)
        self.left_some = bool(reply.ready) and len(claims) >= departed.wanted
        return self._by_freshness(claims, arrived - departed.at, reply.now)

    def _see_to_acks(self, acked: list[Claim], reply: Round) -> None:
        for claim in acked:
            self._ledger.remove(claim.record)
            if claim.has_checkpoint:
                self._forget_checkpoint(claim, reply)
        for keys, message_id in reply.stale:
            log.warning(
                "lease ended before the task did; its ack changed nothing",
                extra={"task_id": message_id, "queue": keys.name},
            )

    def _forget_checkpoint(self, claim: Claim, reply: Round) -> None:
        """Not before the ack: a run that follows a crash in between begins with it."""
        if not any(message_id == claim.id and keys.name == claim.keys.name for keys, message_id in reply.stale):
            self._patience.say(forget(claim.keys.checkpoint(claim.id)), 0)

    def _claims_in(self, reply: Round, leased_at: float) -> list[Claim]:
        """What the round claimed, written down for the supervisor."""
        claimed, strays = sort_out(reply.claimed)
        if strays:
            bury(self._system, self._patience, strays)
        settings = self._system.settings
        claims = decode(claimed, reply.now, settings.max_message_bytes, self._system.signer)
        ttl = settings.worker_ttl
        for claim in claims:
            ends_at = leased_at + _lease(claim, reply.now, ttl)
            claim.record = self._ledger.add(
                claim.keys.name.encode(), claim.id.encode(), claim.token, claim.deadline, ends_at
            )
        self._ledger.recorded(len(claims))
        return claims

    def _by_freshness(self, claims: list[Claim], waited: float, now: float) -> Brought:
        """Claims that may start, and those whose leases were half over when the answer came."""
        ttl = self._system.settings.worker_ttl
        if waited <= min(SLOW_ANSWER, ttl / 2):
            return Brought(claims, [])
        brought = Brought([], [])
        for claim in claims:
            (brought.claims if waited <= _lease(claim, now, ttl) / 2 else brought.late).append(claim)
        return brought


def _lease(claim: Claim, now: float, ttl: float) -> float:
    """Seconds of the lease that a claim got at *now*."""
    return min(ttl, claim.deadline - now) if claim.deadline else ttl
