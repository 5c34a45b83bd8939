"""
Fetcher: gets claims for the slots of a pool, and sees to their acks.

The slots pull. A slot that finds the buffer empty runs a round itself: it acks everything that ended since the last
one and claims the next messages, so a worker with one thread never hands anything from thread to thread. While tasks
are quick, the next round is sent before the messages of this one run, so that Redis and the worker work at the same
time. How many are claimed is for the `Appetite` to say. What has waited longer than CLAIM_AHEAD seconds behind a slow
task is given back to the head of its queue.

Claims go from hand to hand without a lock, by operations of a deque that are atomic: whoever pops a claim has it.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque

from ..connections import LONGEST_BLOCK
from ..errors import RedisError
from ..keys import wire
from ..protocol import moves
from ..system import System
from .appetite import Appetite
from .claims import Claim
from .ledger import Ledger, Stage
from .patience import FIRST_PAUSE, Patience, Stopped
from .rounds import Departing, Rounds
from .route import Route

#: Blocks without news after which an idle worker runs a round all the same, in case a wake token was lost.
QUIET_BLOCKS = 3


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
        self.rounds = Rounds(system, route, ledger, patience, self.appetite)
        self._quiet = threading.Event()  #: claim no more
        self.busy = threading.Event()  #: set when the monitor should look often
        self.async_room = 0  #: coroutines that could start at once, when the last claims were such
        self._buffer: deque[Claim] = deque()
        self._asking = 0  #: slots that want a round, or wait for another slot's
        self._idle = 0  #: slots without work
        self._followers = 0  #: those of them that wait for the one that waits in Redis
        self._somebody_waits = False  #: a slot waits in Redis
        self._blocked_until = math.inf  #: monotonic instant up to which that one waits
        self._watched_until = math.inf  #: instant that one of the others watches for
        self._last_pop = 0.0
        self._fresh_for = 0.0  #: seconds after the last pop for which the buffer's leases need no second thought
        self._change = threading.Condition()  # guards what stands above
        self._turn = threading.Lock()  # whose turn it is to run a round

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
        self.rounds.acks.append(claim)

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
        return self.rounds.last > 0

    def now(self) -> float:
        """Redis's clock as of the last round, carried on by this machine's monotonic one."""
        return time.monotonic() + self.rounds.drift

    # What the monitor uses.

    @property
    def is_idle(self) -> bool:
        """Whether every slot waits and nothing is left to say."""
        return self._idle >= self.slots and not self.has_waiting

    @property
    def has_waiting(self) -> bool:
        """Whether claims wait for a slot, or acks for a round."""
        return bool(self._buffer or self.rounds.acks or self.rounds.is_under_way)

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
        if not self._turn.acquire(blocking=False):
            return  # a round is under way and does all of this
        try:
            now = time.monotonic()
            budget = self.system.settings.claim_ahead
            if (self._buffer or self.rounds.is_under_way) and now - self._last_pop > budget:
                self._release_buffer()
                self.appetite.misjudged()
            hand_needed = self.rounds.due and now >= self.rounds.due
            unseen = now - self.rounds.last > 1.0 or self.route.has_unseen
            if self.rounds.has_late_acks(budget) or (self._idle < self.slots and (hand_needed or unseen)):
                self._round(0)
        finally:
            self._turn.release()

    def give_back(self) -> None:
        """Everything that was claimed and not started goes to the head of its queue; no delivery is counted."""
        with self._turn:
            self._release_buffer()

    def _release_buffer(self) -> None:
        # Under `_turn`: a claim that overtook it would bring what comes after these in the queue. For the same reason
        # what a round under way brings goes back with them.
        if self.rounds.is_under_way:
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
            self.ledger.count(-len(held))
            for claim in held:
                self.dropped(claim)

    def claim_no_more(self) -> None:
        """What comes from now on is left to others; slots that wait are let go."""
        self._quiet.set()
        with self._change:
            self._change.notify_all()

    def give_back_the_rest(self) -> None:
        """What was claimed before, and has not started, goes back."""
        if (
            self._buffer or self.rounds.is_under_way
        ):  # else not, for a round that waits for Redis would have to end first
            self.give_back()

    def flush(self, timeout: float) -> None:
        """Send the acks that are left, once a round that is under way has ended; Stopped if that takes too long."""
        if not self._turn.acquire(timeout=timeout):
            raise Stopped
        try:
            while self.rounds.acks or self.rounds.is_under_way:
                self._round(0)
        finally:
            self._turn.release()

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
            with self._turn:
                if self._buffer or self._quiet.is_set():
                    return
                brought = self._round(self._wanted())
                if brought and self.patience.broker.has_lines:
                    self._send_ahead()
        finally:
            with self._change:
                self._asking -= 1
        if brought or not self.route.is_done or (self.rounds.acks and not self.route.indexed):
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
                if 0 < self.rounds.due < min(self._blocked_until, self._watched_until):
                    if self._watch(self.rounds.due):
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
        departing = self._prepare()
        for _ in range(QUIET_BLOCKS):
            block = LONGEST_BLOCK
            if self.rounds.due:
                block = min(block, self.rounds.due - time.monotonic())
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

    def _prepare(self) -> Departing | None:
        """Make the round that follows the wait, so that nothing is left to do then but to send it."""
        if not self._turn.acquire(blocking=False):
            return None
        try:
            return self.rounds.prepare(self._wanted(), self._free)
        finally:
            self._turn.release()

    def _set_out(self, departing: Departing | None, token: bytes) -> None:
        """Send the round that was made ready, unless it does not visit the queue that has news."""
        if departing is None or token not in departing.names or not self._turn.acquire(blocking=False):
            return
        try:
            has_room = departing.departed.wanted <= self.ledger.room  # other slots may have claimed meanwhile
            if not self.rounds.is_under_way and has_room and not self._quiet.is_set():
                self._last_pop = time.monotonic()  # what it brings has not waited yet
                self.rounds.set_out(departing)
        finally:
            self._turn.release()

    def _round(self, wanted: int) -> int:
        """Run a round, or end the one that is under way; under `_turn`. Returns how many messages it brought."""
        claims, late = self.rounds.run(0 if self._quiet.is_set() else wanted, self._free)
        self._fresh_for = self.system.settings.worker_ttl / 2
        with self._change:
            if self._quiet.is_set():
                late, claims = [*late, *claims], []
            elif claims:
                self._last_pop = time.monotonic()
                self._buffer.extend(claims)
                if self._followers:
                    self._change.notify(len(claims))
        self._release(late)
        if len(claims) > 1:
            self.busy.set()
        return len(claims)

    def _send_ahead(self) -> None:
        """Have Redis work at the next round while the slots work at this one, if there is more and it is quick."""
        claimed = len(self._buffer)
        wanted = self._wanted()
        if self.rounds.left_some and self.appetite.outgrows(claimed) and not self.async_room and not self.quiet:
            self.rounds.send_ahead(wanted, self._free)
