"""
Worker: one process that runs tasks.

NEW → RUNNING → QUIET → STOPPING → STOPPED. Running, its slots pull and run while this object's own loop, the monitor,
gives back what waits behind slow tasks, sends late acks, fires schedules, and looks for orders to stop.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from enum import Enum

from ..protocol import moves
from ..protocol.moves import Reason
from ..system import System
from .announcer import Announcer
from .canceller import Canceller
from .children import Children, Places
from .claims import Claim
from .fetcher import Fetcher
from .janitor import Janitor
from .ledger import Ledger, Stage
from .own_loop import OwnLoop
from .patience import Patience, Stopped
from .pools import Pool, Pooling
from .pools.asyncio import Coroutines
from .pools.sync import Sync
from .pools.threads import Threads
from .recurrer import Recurrer
from .route import route_for
from .runner import Runner
from .service import Duties
from .signals import Orders
from .telling import exits
from .unparker import Unparker

log = logging.getLogger("rpqueue.worker")

#: Seconds between two looks of the monitor: while messages or acks wait, while slots only work, and while all are idle.
BUSY_LOOK, CALM_LOOK, IDLE_LOOK = 0.005, 0.05, 0.2
#: Seconds that acks and give-backs may take at the end, when Redis does not answer.
LAST_WORDS = 5.0


class Phase(Enum):
    """The life of a worker."""

    NEW = "new"
    RUNNING = "running"
    QUIET = "quiet"  #: claims no more; what runs goes on
    STOPPING = "stopping"  #: gives back what did not end
    STOPPED = "stopped"

    @property
    def is_last(self) -> bool:
        """Whether nothing more is claimed from here on."""
        return self in (Phase.QUIET, Phase.STOPPING, Phase.STOPPED)


class Worker:
    """
    One process's worth of slots.

    Args:
        system: registry, settings and keys.
        queues: only these; None: all.
        threads: slots.
        wait: seconds that running tasks get to end when told to stop.
        ledger: shared with the supervisor.
        orders: says when to stop.
        pooling: where tasks run.
        children: started already, if any task needs one; None: they are when one does.
    """

    def __init__(
        self,
        system: System,
        queues: Sequence[str] | None,
        threads: int,
        wait: float,
        ledger: Ledger,
        orders: Orders,
        pooling: Pooling = Pooling(),  # noqa: B008, frozen
        children: Children | None = None,
    ) -> None:
        self.system = system
        self.queues = None if queues is None else list(queues)
        self.wait = wait
        self.pooling = pooling
        self.ledger = ledger
        self.orders = orders
        self.phase = Phase.NEW
        self.stopping = threading.Event()
        self.broker = broker = system.broker.prompt()
        self.patience = Patience(broker, self.stopping)
        self.patience.found_away = ledger.found_away
        self.children = children or Children(system, ledger, pooling)
        slots = 1 if pooling.pool == "asyncio" else threads  # one pulls for all coroutines
        self.fetcher = Fetcher(system, route_for(system, broker, self.queues), ledger, self.patience, slots)
        self.runner = Runner(system, self.fetcher, self.patience)
        self.pool = self._pool(slots, threads)
        self.fetcher.appetite.running = self.pool.running
        self.duties = Duties(
            Announcer(system, broker),
            Unparker(system, broker, self.queues),
            Recurrer(system, broker, self.fetcher, self.queues),
            Canceller(system, broker, self.pool.running, self._stop_run),
            Janitor(system, broker),
        )

    def _pool(self, slots: int, threads: int) -> Pool:
        is_asyncio, is_sync = self.pooling.pool == "asyncio", self.pooling.pool == "sync"
        loop = OwnLoop(self.system.settings)
        self.runner.place_of = Places(self.children, loop).__getitem__
        coroutines = Coroutines(self.fetcher, self.runner, threads if is_asyncio else self.system.settings.async_slots)
        if is_sync:
            self.runner.on_loop = ("asyncio",)
            return Sync(self.fetcher, self.runner, coroutines, loop)
        return Threads(self.fetcher, self.runner, coroutines, slots)

    def run(self) -> None:
        """Work until told to stop. Returns when everything that ran has ended or was given back."""
        self._enter(Phase.RUNNING)
        self.pool.run(self._monitor)

    def _monitor(self) -> None:
        try:
            while not (self.orders.quit or self.ledger.is_retired):
                pause = min(self.duties.run_due(), self._tend())
                self.fetcher.busy.wait(pause)
                self.fetcher.busy.clear()
            if self.ledger.is_retired:
                self._retire()
        finally:
            self.stop()

    def _tend(self) -> float:
        try:
            self.fetcher.tend()
        except Stopped:
            return 0.0
        except Exception:
            log.exception("the monitor failed; going on")
        if self.fetcher.has_waiting:
            return BUSY_LOOK
        return IDLE_LOOK if self.fetcher.is_idle else CALM_LOOK

    def _retire(self) -> None:
        """Claim no more, and let what runs end, however long it takes, unless there comes an order to stop."""
        self.fetcher.claim_no_more()
        self._enter(Phase.QUIET)
        self.fetcher.give_back_the_rest()
        while not self.orders.quit and not self.pool.join(0.05):
            self._tend()

    def stop(self) -> None:
        """Stop, in an order that loses nothing."""
        # Nothing new comes in. What was claimed and not started goes back to the head of its queue at once, since
        # other workers can run it. What runs gets its time, and whoever beats for us extends its leases all the while.
        self.fetcher.claim_no_more()
        self._enter(Phase.QUIET)
        hurry = threading.Timer(self.wait + LAST_WORDS, self.stopping.set)
        hurry.daemon = True
        hurry.start()
        try:
            self.fetcher.give_back_the_rest()
            self._wait_for_running()
            self._enter(Phase.STOPPING)
            self._interrupt()
            self.fetcher.flush(LAST_WORDS)
            self.fetcher.leave()
        except Stopped:
            log.error("Redis does not answer; what is held comes back when its leases end")
        finally:
            hurry.cancel()
            self.stopping.set()
            self.pool.close()
            self.children.close()
            if self.broker is not self.system.broker:
                self.broker.close()
            exits(self.system.settings)
            self._enter(Phase.STOPPED)

    def _stop_run(self, claim: Claim) -> None:
        self.children.stop(claim)
        self.pool.cancel(claim)

    def _wait_for_running(self) -> None:
        ends_at = time.monotonic() + self.wait
        while not self.orders.quit_now and time.monotonic() < ends_at:
            if self.pool.join(0.05):
                return
            self._tend()  # what has ended is acked now, however long the others take

    def _interrupt(self) -> None:
        """Give up what still runs. A second run is better than a lost one, where the task allows a second one."""
        by_queue: dict[str, list[tuple[str, int | str, Reason]]] = {}
        killed = self.children.interrupt()  # first, or what was given back would run twice at the same time
        for claim in dict.fromkeys([*killed, *self.pool.running()]):
            has_started = self.ledger.stage(claim.record) is not Stage.CLAIMED
            reason: Reason = "interrupted" if has_started else "unstarted"
            by_queue.setdefault(claim.keys.name, []).append((claim.id, claim.token, reason))
        for queue, leases in by_queue.items():
            keys = self.system.task_keys(queue)
            went = self.patience.say(
                moves.release(keys, self.system.index, leases, self.system.task_rules, delay=0), {}
            )
            log.warning("tasks did not end in time and were given up", extra={"queue": queue, "went": went})

    def _enter(self, phase: Phase) -> None:
        if phase is self.phase:
            return
        self.phase = phase
        log.info("worker is %s", phase.value, extra={"pid": os.getpid()})
