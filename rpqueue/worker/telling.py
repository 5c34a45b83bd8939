"""Telling: what middleware, a task's own runner and the log hear of the end of a run."""

from __future__ import annotations

import logging
import os
from typing import Any

from ..logs import fields_of
from ..middleware import Failure
from ..settings import Settings
from ..tasks import Task
from .claims import Claim

log = logging.getLogger("rpqueue.task")


class Telling:
    """
    Tells what came of runs. What it calls may raise anything, which is logged and changes nothing.

    Args:
        settings: for MIDDLEWARE and SUCCESS_LOG_LEVEL.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._success_level = settings.success_log_level

    def succeeds(self, task: Task[..., Any], claim: Claim, seconds: float) -> None:
        """A run came to its end, and Redis is about to hear of it."""
        self._tell("on_success", task, claim, seconds)

    def succeeded(self, task: Task[..., Any], claim: Claim, seconds: float) -> None:
        """A run came to its end; the last word about it."""
        if log.isEnabledFor(self._success_level):
            log.log(self._success_level, "task finished", extra=fields(claim, seconds))

    def failed(self, task: Task[..., Any], claim: Claim, failure: Failure, seconds: float) -> None:
        """A run failed, and Redis has heard of it."""
        if failure.state != "cancelled":
            # Before the log: what reports log records to a service, too, leaves out an exception that it has seen.
            self._tell_failure(task, claim, failure)
        self._log_failure(task, claim, failure, seconds)

    def _tell_failure(self, task: Task[..., Any], claim: Claim, failure: Failure) -> None:
        self._tell("on_failure", task, claim, failure)
        if failure.is_final:
            self._tell("on_dead", task, claim, failure)
        elif failure.is_retried:
            self._tell("on_retry", task, claim, failure)
        if failure.is_final and task.runner_class:
            try:
                task.runner_class(claim.seen_as(claim, task)).on_permanent_error(failure)
            except Exception:
                log.exception("on_permanent_error failed", extra=fields(claim))

    def _log_failure(self, task: Task[..., Any], claim: Claim, failure: Failure, seconds: float) -> None:
        record = failure.record
        told = {**fields(claim, seconds), "verdict": failure.state, "exception": record["exception"]}
        if record.get("pid", os.getpid()) != os.getpid():  # it ran in a child process
            told["pid"] = record["pid"]
        if failure.state == "cancelled":
            log.warning("task cancelled", extra=told)
            return
        level = logging.ERROR if failure.log_error else logging.WARNING
        if task.redaction is None and failure.error is not None:
            # The user's function raised; that it did is the user's to see, at every log level.
            log.log(level, "task failed", exc_info=failure.error, extra=told)
        else:
            # Not the exception itself: it holds on to the frames, and they to the arguments.
            log.log(level, "task failed", extra={**told, "traceback": record["traceback"]})

    def _tell(self, event: str, task: Task[..., Any], claim: Claim, what: Any) -> None:
        """Call a method of all middleware."""
        for one in self._settings.middleware:
            try:
                getattr(one, event)(claim.seen_as(claim, task), what)
            except Exception:
                log.exception("middleware failed: %s", event, extra={**fields(claim), "middleware": repr(one)})


def exits(settings: Settings) -> None:
    """Tell middleware that this process, which has run tasks, is about to end."""
    for one in settings.middleware:
        try:
            one.on_exit()
        except Exception:
            log.exception("middleware failed: on_exit", extra={"middleware": repr(one)})


def fields(claim: Claim, seconds: float | None = None) -> dict[str, Any]:
    """What log records say of a run."""
    return fields_of(claim) if seconds is None else {**fields_of(claim), "seconds": round(seconds, 6)}
