"""Runner: the life of one claimed message, from the check of its name to its ack."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from .. import messages
from ..errors import NewerMessage, RpqueueError, Undecodable
from ..protocol import moves
from ..running import enter, leave
from ..system import System
from ..tasks import Task
from .claims import Claim
from .fetcher import Fetcher
from .ledger import Stage
from .patience import Patience

log = logging.getLogger("rpqueue.task")

#: Most characters of a traceback that are kept with a failed message.
LONGEST_TRACEBACK = 20_000


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
        self.fetcher = fetcher
        self.patience = patience
        self._ledger = fetcher.ledger
        self._registry: dict[str, Task[..., Any]] = system.settings.registry
        self._success_level = system.settings.success_log_level
        self._host = socket.gethostname()

    def run(self, claim: Claim) -> None:
        """Run a plain task in this thread, and see to what comes of it."""
        task = self._resolve(claim)
        if task is None:
            return
        started = self._start(task, claim)
        current = enter(claim)
        try:
            value = task.function(*claim.args, **claim.kwargs)  # type: ignore[misc]
        except BaseException as error:  # SystemExit in a task must not end the worker
            self._failed(task, claim, error, started)
        else:
            self._succeeded(task, claim, value, started)
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
            value = await task.function(*claim.args, **claim.kwargs)  # type: ignore[misc]
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a task that is cancelled has failed
            if isinstance(error, asyncio.CancelledError) and self.fetcher.quiet:
                raise  # the worker stops: whoever cancelled gives the message back
            await call(self._failed, task, claim, error, started)
        else:
            self._succeeded(task, claim, value, started)
        finally:
            leave(current)

    def is_async(self, claim: Claim) -> bool:
        """Whether the claim's task is an ``async def``."""
        task = self._registry.get(claim.name)
        return task is not None and task.is_async

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
        claim.task = task
        if task.takes_attempts:
            claim.kwargs["_attempts"] = claim.attempts_left
        elif claim.kwargs:
            claim.kwargs.pop("_attempts", None)
        self._ledger.move(claim.record, Stage.STARTED)
        claim.started = started = time.monotonic()
        return started

    def _succeeded(self, task: Task[..., Any], claim: Claim, value: Any, started: float) -> None:
        seconds = time.monotonic() - started
        if task.save_results:
            try:
                result = messages.encode(value, f"result of {task.name}", self.system.settings.max_message_bytes)
            except RpqueueError as error:
                self._failed(task, claim, error, started)
                return
            claim.keep_for = task.save_results
            claim.outcome = self._signed(claim, b'{"state":"done","result":%s}' % result)
        self.fetcher.appetite.took(seconds)
        self.fetcher.ended(claim)
        if log.isEnabledFor(self._success_level):
            log.log(self._success_level, "task finished", extra=_fields(claim, seconds))

    def _signed(self, claim: Claim, outcome: bytes) -> bytes:
        signer = self.system.signer
        return signer.signed(claim.keys.outcome(claim.id), b"", b"", outcome) if signer else outcome

    def _failed(self, task: Task[..., Any], claim: Claim, error: BaseException, started: float) -> None:
        seconds = time.monotonic() - started
        self.fetcher.appetite.took(seconds)
        now = self.fetcher.now()
        delay = min(task.retry_delay, max(claim.deadline - now, 0.0)) if claim.is_repeatable else 0.0
        record = self._error_record(claim, error, now - seconds, now)
        verdict = self.patience.say(
            moves.fail(
                claim.keys,
                self.system.index,
                (claim.id, claim.token),
                self.system.task_rules,
                delay=delay,
                error=json.dumps(record).encode(),
            ),
            "kept",
        )
        self.fetcher.dropped(claim)
        fields = {**_fields(claim, seconds), "verdict": verdict}
        if task.redaction is None:
            # The user's function raised; that it did is the user's to see, at every log level.
            log.error("task failed", exc_info=error, extra=fields)
        else:
            # Not the exception itself: it holds on to the frames, and they to the arguments.
            log.error("task failed", extra={**fields, "traceback": record["traceback"]})

    def _error_record(self, claim: Claim, error: BaseException, started_at: float, failed_at: float) -> dict[str, Any]:
        text, message = "".join(traceback.format_exception(error)), _text_of(error)
        redaction = None if claim.task is None else claim.task.redaction
        if redaction is not None:
            text, message = (redaction.text(one, claim.args, claim.kwargs) for one in (text, message))
        return {
            "exception": type(error).__qualname__,
            "message": message,
            "traceback": text if len(text) <= LONGEST_TRACEBACK else f"...\n{text[-LONGEST_TRACEBACK:]}",
            "host": self._host,
            "pid": os.getpid(),
            "attempt": claim.attempt,
            "started_at": round(started_at, 3),
            "failed_at": round(failed_at, 3),
        }

    def _quarantine(self, claim: Claim, error: RpqueueError) -> None:
        record = json.dumps({"exception": type(error).__name__, "message": str(error), "host": self._host}).encode()
        lease = (claim.id, claim.token)
        self.patience.say(
            moves.fail(
                claim.keys, self.system.index, lease, self.system.task_rules, error=record, reason="undecodable"
            ),
            "kept",
        )
        self.fetcher.dropped(claim)
        log.error(
            "message cannot be decoded; it is in the dead-letter queue", extra={**_fields(claim), "error": str(error)}
        )

    def _park(self, claim: Claim, why: str) -> None:
        if not messages.is_text(claim.name):
            self._quarantine(claim, Undecodable("task name: expected text that UTF-8 can carry"))
            return
        self.patience.say(moves.park(claim.keys, [(claim.id, claim.token, claim.name)]), [])
        self.fetcher.dropped(claim)
        log.warning(why, extra=_fields(claim))


def _fields(claim: Claim, seconds: float | None = None) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "task": claim.name,
        "task_id": claim.id,
        "queue": claim.keys.name,
        "attempt": claim.attempt,
    }
    if seconds is not None:
        fields["seconds"] = round(seconds, 6)
    return fields


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as own:  # a user's __str__ may do anything, and the failure must still be recorded
        return f"its str() failed with {type(own).__name__}"
