"""Runner: the life of one claimed message, from the check of its name to its ack."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from .. import messages
from ..errors import NewerMessage, RpqueueError, Undecodable
from ..middleware import Failure
from ..protocol import moves, runs
from ..running import enter, leave
from ..system import System
from ..tasks import Task
from .claims import Claim
from .fetcher import Fetcher
from .ledger import Stage
from .patience import Patience
from .performing import HOST, Abandoned, Crashed, Failed, Upshot, failed, perform, perform_async, why_stopped
from .telling import Telling, fields

log = logging.getLogger("rpqueue.task")


class Place(Protocol):
    """Where plain tasks run, other than in the thread that asks."""

    def perform(self, task: Task[..., Any], claim: Claim) -> Upshot:
        """Run it there. The asking thread waits."""


class Runner:
    """
    Runs claims. Threads may share one.

    Args:
        system: settings and keys.
        fetcher: takes the acks.
        patience: carries everything that is no ack.
    """

    def __init__(self, system: System, fetcher: Fetcher, patience: Patience) -> None:
        self.system = system
        self.settings = system.settings
        self.fetcher = fetcher
        self.patience = patience
        self._ledger = fetcher.ledger
        self._registry: dict[str, Task[..., Any]] = system.settings.registry
        self.telling = Telling(system.settings)
        #: Pools that an ``async def`` may name to run on the event loop; None: it names none.
        self.on_loop: tuple[str | None, ...] = (None, "asyncio")
        #: Where a task runs that does not run in the thread that claimed it; None: it does.
        self.place_of: Callable[[Task[..., Any]], Place | None] = lambda task: None

    def run(self, claim: Claim) -> None:
        """Run a plain task, in this thread or in the place that it needs, and see to what comes of it."""
        task = self._resolve(claim)
        if task is None:
            return
        started = self._start(task, claim)
        place = self.place_of(task)
        current = enter(claim)
        try:
            ending = perform(task, claim, self.settings) if place is None else place.perform(task, claim)
            self._ended(task, claim, ending, started)
        finally:
            leave(current)

    async def run_async(self, claim: Claim, call: Callable[..., Awaitable[Any]]) -> None:
        """Run an ``async def`` task in this event loop. *call* carries blocking steps to a thread."""
        task = self._resolve(claim)
        if task is None:
            return
        started = self._start(task, claim)
        current = enter(claim)
        try:
            try:
                ending: Upshot = await perform_async(task, claim, self.settings)
            except asyncio.CancelledError as error:
                if self.fetcher.quiet and not claim.stop_asked:
                    raise  # the worker stops: whoever cancelled gives the message back
                ending = self._cancelled(task, claim, error)
            if not (ending is None or type(ending) is bytes) or self.settings.is_watched:
                await call(self._ended, task, claim, ending, started)
            else:
                self._ended(task, claim, ending, started)
        finally:
            leave(current)

    def is_async(self, claim: Claim) -> bool:
        """Whether the claim's task runs on the event loop."""
        task = self._registry.get(claim.name)
        return task is not None and task.is_async and task.pool in self.on_loop

    def _cancelled(self, task: Task[..., Any], claim: Claim, error: asyncio.CancelledError) -> Upshot:
        """What a coroutine has come to that was cancelled, or cancelled itself."""
        if not claim.stop_asked:
            return failed(task, claim, self.settings, error, time.time())
        why = why_stopped(claim)
        return Abandoned() if why is None else failed(task, claim, self.settings, why, time.time())

    # The steps, in order.

    def _resolve(self, claim: Claim) -> Task[..., Any] | None:
        """The claim's task; None when it cannot run here, which is seen to."""
        if claim.error is not None:
            self._set_aside(claim, claim.error)
            return None
        task = self._registry.get(claim.name)
        if task is None or task.function is None:
            self._park(claim, "no task of that name is known here; the message is parked until a worker knows it")
            return None
        return task

    def _set_aside(self, claim: Claim, error: RpqueueError) -> None:
        if isinstance(error, NewerMessage):
            claim.name = messages.parking_name(error.version)
            self._park(claim, "a newer rpqueue wrote the message; it is parked until one is here")
        else:
            self._quarantine(claim, error)

    def _start(self, task: Task[..., Any], claim: Claim) -> float:
        """Write down that it runs, and since when. Returns that instant."""
        claim.belongs_to(task)
        claim.ledger = self._ledger
        self._ledger.move(claim.record, Stage.STARTED)
        claim.started = started = time.monotonic()
        return started

    def _ended(self, task: Task[..., Any], claim: Claim, ending: Upshot, started: float) -> None:
        """See to what came of a run."""
        seconds = time.monotonic() - started
        self.fetcher.appetite.took(seconds)
        if ending is None or isinstance(ending, bytes):
            self._succeeded(task, claim, ending, seconds)
        elif claim.stop_asked == "lost" or isinstance(ending, Abandoned):
            self._abandoned(claim, seconds)
        elif isinstance(ending, Failed):
            self._failed(task, claim, ending, seconds)
        else:
            self._crashed(task, claim, ending, seconds)

    def _succeeded(self, task: Task[..., Any], claim: Claim, result: bytes | None, seconds: float) -> None:
        if self.settings.is_watched:
            self.telling.succeeds(task, claim, seconds)
        if result is not None:
            claim.keep_for = task.save_results
            claim.outcome = self._signed(claim, b'{"state":"done","result":%s}' % result)
        self.fetcher.ended(claim)
        self.telling.succeeded(task, claim, seconds)

    def _signed(self, claim: Claim, outcome: bytes) -> bytes:
        signer = self.system.signer
        return signer.signed(claim.keys.outcome(claim.id), b"", b"", outcome) if signer else outcome

    def _failed(self, task: Task[..., Any], claim: Claim, failed: Failed, seconds: float) -> None:
        now = self.fetcher.now()
        failed.record.update(started_at=round(now - seconds, 3), failed_at=round(now, 3))
        keep_for, outcome = self._outcome_of(task, claim, failed)
        state = self.patience.say(
            moves.fail(
                claim.keys,
                self.system.index,
                (claim.id, claim.token),
                self.system.task_rules,
                delay=self._delay(task, claim, failed, now),
                error=json.dumps(failed.record).encode(),
                again=failed.again,
                keep_for=keep_for,
                outcome=outcome,
            ),
            "kept",
        )
        self.fetcher.dropped(claim)
        if state in ("dropped", "cancelled"):  # a child that was killed has not said whether it left one
            self.patience.say(runs.forget(claim.keys.checkpoint(claim.id)), 0)
        failure = Failure(failed.record, failed.error, state, failed.log_error)
        self.telling.failed(task, claim, failure, seconds)

    def _crashed(self, task: Task[..., Any], claim: Claim, crashed: Crashed, seconds: float) -> None:
        now, record = self.fetcher.now(), crashed.record
        record.update(started_at=round(now - seconds, 3), failed_at=round(now, 3))
        lease: tuple[str, int | str, moves.Reason] = (claim.id, claim.token, "crashed")
        rules, error = self.system.task_rules, json.dumps(record).encode()
        went = self.patience.say(moves.release(claim.keys, self.system.index, [lease], rules, error=error), {})
        self.fetcher.dropped(claim)
        failure = Failure(record, None, went.get(claim.id, "stale"), True)
        self.telling.failed(task, claim, failure, seconds)

    def _abandoned(self, claim: Claim, seconds: float) -> None:
        """Nothing is said to Redis: what became of the message is another's to say by now."""
        self.fetcher.dropped(claim)
        log.warning("task was stopped, because its lease is lost", extra=fields(claim, seconds))

    def _delay(self, task: Task[..., Any], claim: Claim, failed: Failed, now: float) -> float:
        if failed.again != "auto":
            return failed.delay
        return min(task.retry_delay, max(claim.deadline - now, 0.0)) if claim.is_repeatable else 0.0

    def _outcome_of(self, task: Task[..., Any], claim: Claim, failed: Failed) -> tuple[float, bytes]:
        """Seconds to keep the outcome of a run after which nothing else is kept, and that outcome."""
        if failed.again == "cancel":
            return self.settings.remember_cancelled, moves.CANCELLED
        if failed.again == "drop" and task.save_results:
            record = json.dumps(failed.record).encode()
            return task.save_results, self._signed(claim, b'{"state":"failed","error":%s}' % record)
        return 0.0, b""

    def _quarantine(self, claim: Claim, error: RpqueueError) -> None:
        record = json.dumps({"exception": type(error).__name__, "message": str(error), "host": HOST}).encode()
        lease = (claim.id, claim.token)
        self.patience.say(
            moves.fail(
                claim.keys, self.system.index, lease, self.system.task_rules, error=record, reason="undecodable"
            ),
            "kept",
        )
        self.fetcher.dropped(claim)
        log.error(
            "message cannot be decoded; it is in the dead-letter queue", extra={**fields(claim), "error": str(error)}
        )

    def _park(self, claim: Claim, why: str) -> None:
        if not messages.is_text(claim.name):
            self._quarantine(claim, Undecodable("task name: expected text that UTF-8 can carry"))
            return
        self.patience.say(moves.park(claim.keys, [(claim.id, claim.token, claim.name)]), [])
        self.fetcher.dropped(claim)
        log.warning(why, extra=fields(claim))
