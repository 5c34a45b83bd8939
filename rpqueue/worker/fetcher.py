"""
Fetcher: brings messages from Redis and carries acks back, one call per round.

The slots of a pool pull. A slot that finds the buffer empty runs a round itself: it acks everything that ended since
the last one and claims the next messages, so a worker with one thread never hands anything from thread to thread. While
tasks are quick, the next round is sent before the messages of this one run, so that Redis and the worker work at the
same time. How many are claimed is for the `Appetite` to say. What has waited longer than CLAIM_AHEAD seconds behind a
slow task is given back to the head of its queue.

Claims go from hand to hand without a lock, by operations of a deque that are atomic: whoever pops a claim has it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..connections import LONGEST_BLOCK
from ..errors import RedisError
from ..keys import QueueKeys, wire
from ..lines import Sent
from ..protocol import moves
from ..protocol.cycle import Round, cycle
from ..protocol.operation import Operation, Stamp
from ..system import System
from .appetite import Appetite
from .claims import Claim, decode
from .ledger import Ledger, Stage
from .patience import FIRST_PAUSE, Patience, Stopped
from .route import Route
from .strays import Complaints, bury, sort_out

log = logging.getLogger("rpqueue.worker")

#: Most acks that one round carries.
MOST_ACKS = 1000
#: Blocks without news after which an idle worker runs a round all the same, in case a wake token was lost.
QUIET_BLOCKS = 3
#: Seconds after which an answer is so late that the leases it gave may be half over; what has such a lease goes back.
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


class Fetcher:
    """
    The claims of one worker process. Slots of its pool and its monitor share it.

    Args:
        system: keys, settings and the Broker.
        route: which queues.
        ledger: where claims are written down for the supervisor.
        patience: carries rounds, however long Redis is away.
        slots: threads that pull.
    """

    def __init__(self, system: System, route: Route, ledger: Ledger, patience: Patience, slots: int) -> None:
        self.system = system
        self.route = route
        self.ledger = ledger
        self.patience = patience
        self.slots = slots
        self.appetite = Appetite(system.settings, slots)
        self._quiet = threading.Event()  #: claim no more
        self.busy = threading.Event()  #: set when the monitor should look often
        self.async_room = 0  #: coroutines that could start at once, when the last claims were such
        self._buffer: deque[Claim] = deque()
        self._ended: deque[Claim] = deque()  #: what the next round acks
        self._first_ended: Claim | None = None  #: the first of them when the monitor looked last
        self._seen_ended = 0.0  #: since when it is the first
        self._asking = 0  #: slots that want a round, or wait for another slot's
        self._idle = 0  #: slots without work
        self._followers = 0  #: those of them that wait for the one that waits in Redis
        self._somebody_waits = False  #: a slot waits in Redis
        self._blocked_until = math.inf  #: monotonic instant up to which that one waits
        self._watched_until = math.inf  #: instant that one of the others watches for
        self._last_pop = 0.0
        self._fresh_for = 0.0  #: seconds after the last pop for which the buffer's leases need no second thought
        self._due = 0.0  #: monotonic instant at which a queue needs a hand; 0: none
        self._drift = 0.0  #: Redis's clock minus the monotonic one
        self._last_round = 0.0
        self._under_way: Departed | None = None
        self._more = False  #: the last round left messages behind
        self._complaints = Complaints()
        self._session = patience.broker.sessions.take()
        self._change = threading.Condition()  # guards what stands above
        self._rounds = threading.Lock()

    # What slots and runners use.

    def next(self) -> Claim | None:
        """The next message to run; blocks until there is one. None: no more will come."""
        try:
            while not self._quiet.is_set():
                try:
                    claim = self._buffer.popleft()
                except IndexError:
                    self._fill()
                    continue
                now = time.monotonic()
                if now - self._last_pop < self._fresh_for:
                    self._last_pop = now
                    return claim
                # This process, or the machine, stood still: the leases may have ended, and others may hold the claims.
                self.put_back(claim)
        except Stopped:
            pass
        return None

    def ended(self, claim: Claim) -> None:
        """A claim ran to its end; the next round acks it, and keeps its outcome if it has one."""
        if not claim.keep_for:
            self.ledger.move(claim.record, Stage.FINISHED)
        self._ended.append(claim)

    def dropped(self, claim: Claim) -> None:
        """A claim went another way than by ack: it failed, was parked or given back."""
        self.ledger.remove(claim.record)

    def put_back(self, claim: Claim) -> None:
        """A claim cannot start here now: it goes back to the head of its queue, with all that was claimed after it."""
        self._buffer.appendleft(claim)
        self.give_back()

    @property
    def knows_time(self) -> bool:
        """Whether a round has told Redis's clock."""
        return self._last_round > 0

    def now(self) -> float:
        """Redis's clock as of the last round, carried on by this machine's monotonic one."""
        return time.monotonic() + self._drift

    # What the monitor uses.

    @property
    def is_idle(self) -> bool:
        """Whether every slot waits and nothing is left to say."""
        return self._idle >= self.slots and not self.has_waiting

    @property
    def has_waiting(self) -> bool:
        """Whether claims wait for a slot, or acks for a round."""
        return bool(self._buffer or self._ended or self._under_way)

    @property
    def quiet(self) -> bool:
        """Whether no more is claimed."""
        return self._quiet.is_set()

    @property
    def idle_slots(self) -> int:
        """Slots that run nothing and look for work."""
        return self._idle

    def tend(self) -> None:
        """Give back what waits behind slow tasks, send acks that lie about, and lend due queues a hand."""
        if not self._rounds.acquire(blocking=False):
            return  # a round is under way and does all of this
        try:
            now = time.monotonic()
            budget = self.system.settings.claim_ahead
            if (self._buffer or self._under_way) and now - self._last_pop > budget:
                self._release_buffer()
                self.appetite.misjudged()
            hand_needed = self._due and now >= self._due and self._idle < self.slots
            unseen = now - self._last_round > 1.0 and self._idle < self.slots
            if self._has_late_acks(now, budget) or hand_needed or unseen:
                self._round(0)
        finally:
            self._rounds.release()

    def _has_late_acks(self, now: float, budget: float) -> bool:
        """Whether the oldest ack has been here for longer than *budget* while the monitor looked on."""
        first = self._ended[0] if self._ended else None  # only rounds pop, and this is one
        if first is not self._first_ended:
            self._first_ended, self._seen_ended = first, now
        return first is not None and now - self._seen_ended > budget

    def give_back(self) -> None:
        """Everything that was claimed and not started goes to the head of its queue; no delivery is counted."""
        with self._rounds:
            self._release_buffer()

    def _release_buffer(self) -> None:
        # Under `_rounds`: a claim that overtook it would bring what comes after these in the queue. For the same reason
        # what a round under way brings goes back with them.
        if self._under_way is not None:
            self._round(0)
        claims = []
        with contextlib.suppress(IndexError):
            while True:  # slots may pop at the same time
                claims.append(self._buffer.popleft())
        self.appetite.calm()
        self._release(claims)

    def _release(self, claims: list[Claim]) -> None:
        by_queue: dict[str, list[Claim]] = {}
        for claim in claims:
            by_queue.setdefault(claim.keys.name, []).append(claim)
        for held in by_queue.values():
            leases: list[tuple[str, int | str, moves.Reason]] = [(claim.id, claim.token, "unstarted") for claim in held]
            self.patience.say(moves.release(held[0].keys, self.system.index, leases, self.system.task_rules), {})
            if not self.route.indexed:  # an index would tell that there is something again
                self.route.woken(wire(held[0].keys.name))
            for claim in held:
                self.dropped(claim)

    def claim_no_more(self) -> None:
        """What comes from now on is left to others; slots that wait are let go."""
        self._quiet.set()
        with self._change:
            self._change.notify_all()

    def give_back_the_rest(self) -> None:
        """What was claimed before, and has not started, goes back."""
        if self._buffer or self._under_way:  # else not, for a round that waits for Redis would have to end first
            self.give_back()

    def flush(self, timeout: float) -> None:
        """Send the acks that are left, once a round that is under way has ended; Stopped if that takes too long."""
        if not self._rounds.acquire(timeout=timeout):
            raise Stopped
        try:
            while self._ended or self._under_way:
                self._round(0)
        finally:
            self._rounds.release()

    def leave(self) -> None:
        """Stop waiting in Redis. A token that was given to this worker this moment is left for another one."""
        if self._somebody_waits:
            self.patience.broker.stop_waiting()
            for operation in self.route.farewell():
                self.patience.say(operation, None)

    # How it is done.

    def _fill(self) -> None:
        """Fill the buffer: by a round, or by waiting until a round is worth it."""
        with self._change:
            self._asking += 1
        try:
            with self._rounds:
                if self._buffer or self._quiet.is_set():
                    return
                brought = self._round(self._wanted())
                if brought and self.patience.broker.has_lines:
                    self._send_ahead()
        finally:
            with self._change:
                self._asking -= 1
        if brought or not self.route.is_done or (self._ended and not self.route.indexed):
            return
        with self._change:
            self._idle += 1
        try:
            self._await_work()
        finally:
            with self._change:
                self._idle -= 1

    def _wanted(self) -> int:
        """How many messages to claim now."""
        return min(self.appetite.wanted(self._free + self.async_room), self.ledger.room)

    @property
    def _free(self) -> int:
        """Slots that could start something at once, the asking one included."""
        return max(self._asking, 1) + self._followers

    def _await_work(self) -> None:
        """
        Block until there may be work. One slot waits in Redis, the others for that one.

        A follower that takes the waiter's place needs no round first: what came meanwhile has left a token. But who has
        learned of an instant before which the waiter does not come back watches for that himself.
        """
        with self._change:
            while self._somebody_waits and not self._buffer and not self._quiet.is_set():
                if 0 < self._due < min(self._blocked_until, self._watched_until):
                    if self._watch(self._due):
                        return
                else:
                    self._follow(None)
            if self._buffer or self._quiet.is_set():
                return
            self._somebody_waits, self._blocked_until = True, math.inf
        try:
            self._wait_in_redis()
        finally:
            with self._change:
                self._somebody_waits = False
                self._change.notify()

    def _watch(self, instant: float) -> bool:
        """Follow, at most until *instant*. Returns whether it has come."""
        self._watched_until = instant
        self._follow(instant - time.monotonic())
        self._watched_until = math.inf
        return time.monotonic() >= instant

    def _follow(self, timeout: float | None) -> None:
        self._followers += 1
        self._change.wait(timeout)
        self._followers -= 1

    def _wait_in_redis(self) -> None:
        departing = self._get_ready()
        for _ in range(QUIET_BLOCKS):
            block = LONGEST_BLOCK
            if self._due:
                block = min(block, self._due - time.monotonic())
            if block <= 0 or self._quiet.is_set():
                return
            self._blocked_until = time.monotonic() + block
            try:
                token = self.route.wait(self.patience.broker, block)
            except RedisError:
                # The round that follows says what is wrong, and waits until it is over.
                self.patience.stopping.wait(FIRST_PAUSE)
                return
            self.route.woken(token)
            if token is not None:
                self._set_out(departing, token)
                return

    def _get_ready(self) -> Departing | None:
        """Make the round that follows the wait, so that nothing is left to do then but to send it."""
        queues = self.route.likely()
        if not queues or not self._rounds.acquire(blocking=False):
            return None
        try:
            departed = self._prepare(self._wanted(), queues, {})
        finally:
            self._rounds.release()
        send = self.patience.broker.pack(departed.operation, departed.stamp)
        return send and Departing(departed, send, {queue.name.encode() for queue in queues})

    def _set_out(self, departing: Departing | None, token: bytes) -> None:
        """Send the round that was made ready, unless it does not visit the queue that has news."""
        if departing is None or token not in departing.names or not self._rounds.acquire(blocking=False):
            return
        try:
            has_room = departing.departed.wanted <= self.ledger.room  # other slots may have claimed meanwhile
            if self._under_way is None and has_room and not self._quiet.is_set():
                self._last_pop = time.monotonic()  # what it brings has not waited yet
                self._send(departing.departed, departing.send)
        finally:
            self._rounds.release()

    def _round(self, wanted: int) -> int:
        """Run a round, or end the one that is under way; under `_rounds`. Returns how many messages it brought."""
        departed = self._under_way or self._load(0 if self._quiet.is_set() else wanted)
        if departed is None:
            return 0
        if departed is not self._under_way:
            departed = self._entered(departed)
        self._under_way = departed  # if nothing answers, the same round is tried again, under the same stamp
        reply = self._answer(departed)
        self._under_way = None
        return self._take_in(reply, departed)

    def _answer(self, departed: Departed) -> Round:
        if departed.sent is not None:
            self._under_way = departed._replace(sent=None)  # its reply can be read once
            try:
                return departed.operation.read(departed.sent.reply())
            except Exception as error:  # sending it again tells what it was
                log.debug("a round that was sent ahead failed; sending it again: %s", error)
        return self.patience.execute(departed.operation, departed.stamp)

    def _send_ahead(self) -> None:
        """Have Redis work at the next round while the slots work at this one, if there is more and it is quick."""
        claimed = len(self._buffer)
        wanted = self._wanted()
        if not self._more or not self.appetite.outgrows(claimed) or self.async_room or self._quiet.is_set():
            return
        departed = self._load(wanted)
        if departed is not None:
            self._send(departed, lambda: self.patience.broker.send(departed.operation, departed.stamp))

    def _send(self, departed: Departed, send: Callable[[], Sent | None]) -> None:
        """Send a round and leave its answer for later."""
        self._under_way = departed = self._entered(departed)
        try:
            self._under_way = departed._replace(sent=send())
        except Exception as error:
            log.debug("a round was not sent ahead: %s", error)

    def _entered(self, departed: Departed) -> Departed:
        """The same, about to be sent now: written down for whoever has to see to its claims after a death."""
        if departed.wanted:
            self.ledger.sending(departed.stamp, "" if self.route.indexed else departed.queues[0].name)
        return departed._replace(at=time.monotonic())

    def _load(self, wanted: int) -> Departed | None:
        """A round that carries the acks that there are; None when there is nothing to say, and nowhere to look."""
        acked = [self._ended.popleft() for _ in range(min(len(self._ended), MOST_ACKS))]  # only rounds pop
        acks: dict[str, list[Claim]] = {}
        for claim in acked:
            acks.setdefault(claim.keys.name, []).append(claim)
        queues = self.route.queues(acks, wanted > 0)
        if not self.route.indexed:
            acked = self._of_one_queue(acked, queues[0].name if queues else None)
            if not queues:
                return None
        return self._prepare(wanted, queues, acks)._replace(acked=acked)

    def _of_one_queue(self, acked: list[Claim], name: str | None) -> list[Claim]:
        """Those of that queue; the others wait for a round of their own."""
        self._ended.extendleft(reversed([claim for claim in acked if claim.keys.name != name]))
        return [claim for claim in acked if claim.keys.name == name]

    def _prepare(self, wanted: int, queues: Sequence[QueueKeys], acks: dict[str, list[Claim]]) -> Departed:
        """A round under a number of its own; under `_rounds`."""
        settings = self.system.settings
        operation = cycle(
            self.system.keys.app,
            queues,
            acks,
            indexed=self.route.indexed,
            yields=self.route.yields,
            lease_for=settings.worker_ttl,
            wanted=wanted,
            starting=self._free,
            limit=settings.queue_items_per_pass * settings.reentry_retry,
            rules=self.system.task_rules,
        )
        self._session = Stamp(self._session.session, self._session.number + 1)
        return Departed(operation, self._session, queues, [], wanted)

    def _take_in(self, reply: Round, departed: Departed) -> int:
        instant = self._last_round = time.monotonic()
        # Redis told its time somewhere between these two instants.
        self._drift = min(max(self._drift, reply.now - instant), reply.now - departed.at)
        for claim in departed.acked:
            self.ledger.remove(claim.record)
        for keys, message_id in reply.stale:
            log.warning(
                "lease ended before the task did; its ack changed nothing",
                extra={"task_id": message_id, "queue": keys.name},
            )
        self._due = self.route.learn(departed.queues, reply, instant)
        ttl = self.system.settings.worker_ttl
        self.appetite.weighed([len(message) for came in reply.claimed for message in came.messages])
        if reply.spoilt:
            self._complaints.tell(reply.spoilt)
        claimed, strays = sort_out(reply.claimed)
        if strays:
            bury(self.system, self.patience, strays)
        claims = decode(claimed, reply.now, self.system.settings.max_message_bytes, self.system.signer)
        for claim in claims:
            ends_at = departed.at + (min(ttl, claim.deadline - reply.now) if claim.deadline else ttl)
            claim.record = self.ledger.add(
                claim.keys.name.encode(), claim.id.encode(), claim.token, claim.deadline, ends_at
            )
        self.ledger.recorded()
        self._fresh_for = ttl / 2
        late: list[Claim] = []
        waited = instant - departed.at
        if waited > min(SLOW_ANSWER, self._fresh_for):
            late = [claim for claim in claims if waited > _lease(claim, reply.now, ttl) / 2]
            claims = [claim for claim in claims if waited <= _lease(claim, reply.now, ttl) / 2]
        with self._change:
            if self._quiet.is_set():
                late, claims = [*late, *claims], []
            elif claims:
                self._last_pop = instant
                self._buffer.extend(claims)
                if self._followers:
                    self._change.notify(len(claims))
        self._release(late)
        self._more = bool(reply.ready) and len(claims) >= departed.wanted
        if len(claims) > 1:
            self.busy.set()
        return len(claims)


def _lease(claim: Claim, now: float, ttl: float) -> float:
    """Seconds of a lease that was given at *now*."""
    return min(ttl, claim.deadline - now) if claim.deadline else ttl
