"""
Performing: the task's own function, from its call to what came of it. Talks to nobody.

It is the same in a thread, on the event loop and in a child process; what follows from it is for the Runner.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

from .. import messages
from ..errors import RetryException, TaskCancelled, TaskTimeout
from ..protocol.moves import Again
from ..settings import Settings
from ..tasks import Task
from .claims import Claim
from .timeouts import CoroutineLimits, soft_limit
from .verdicts import Verdict, verdict_on

#: Most characters of a traceback that are kept with a failed message.
LONGEST_TRACEBACK = 20_000

HOST = socket.gethostname()


class Failed(NamedTuple):
    """A run that raised."""

    record: dict[str, Any]  #: what is kept of it
    again: Again  #: what becomes of the message
    delay: float  #: seconds until its next run
    log_error: bool  #: False: it is to be logged as a warning
    error: BaseException | None  #: None: it was raised in another process, and cannot be brought over


class Crashed(NamedTuple):
    """A run whose process died."""

    record: dict[str, Any]  #: what is kept of it


class Abandoned(NamedTuple):
    """A run that was stopped because its lease is lost; somebody else may have the message now."""


#: What came of calling the function: JSON of its result; None: it ended, and nothing is kept of that; or how it failed.
Ending = bytes | None | Failed
#: What came of a run, wherever it was.
Upshot = Ending | Crashed | Abandoned


def perform(task: Task[..., Any], claim: Claim, settings: Settings) -> Ending:
    """Run a plain task in this thread. Its claim is the current run."""
    function: Any = task.function
    started_at = time.time()
    try:
        if task.runner_class is None and not task.soft_timeout and not settings.is_surrounding:
            return kept(task, function(*claim.args, **claim.kwargs), settings)
        value = None  # for who lets an exception end in his context manager
        with surroundings(task, claim, settings) as call, soft_limit(task.soft_timeout):
            value = call(function, claim.args, claim.kwargs)
        return kept(task, value, settings)
    except BaseException as error:  # SystemExit in a task must not end the worker
        return failed(task, claim, settings, error, started_at)


async def perform_async(task: Task[..., Any], claim: Claim, settings: Settings) -> Ending:
    """Run an ``async def`` task in this event loop. Its claim is the current run."""
    function: Any = task.function
    started_at, limits = time.time(), CoroutineLimits(task.soft_timeout, task.hard_timeout)
    try:
        if task.runner_class is None and not limits and not settings.is_surrounding:
            return kept(task, await function(*claim.args, **claim.kwargs), settings)
        value = None
        with surroundings(task, claim, settings) as call:
            value = await limits.run(call(function, claim.args, claim.kwargs))
        return kept(task, value, settings)
    except asyncio.CancelledError:
        if not limits.is_over:
            raise
        return failed(task, claim, settings, timed_out(task, claim), started_at)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        return failed(task, claim, settings, error, started_at)


@contextlib.contextmanager
def surroundings(task: Task[..., Any], claim: Claim, settings: Settings) -> Iterator[Any]:
    """All that is entered around a run; gives what calls the function, with ``(function, args, kwargs)``."""
    run = claim.seen_as(claim, task)
    with contextlib.ExitStack() as stack:
        for make in settings.child_context_managers:
            stack.enter_context(make())
        for one in settings.middleware:
            stack.enter_context(one.around(run))
        yield task.runner_class(run).run if task.runner_class else _call


def _call(function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)


def kept(task: Task[..., Any], value: Any, settings: Settings) -> bytes | None:
    """What is kept of what a task returned."""
    if not task.save_results:
        return None
    return messages.encode(value, f"result of {task.name}", settings.max_message_bytes)


def failed(task: Task[..., Any], claim: Claim, settings: Settings, error: BaseException, started_at: float) -> Failed:
    """What a run that raised *error* leads to. *started_at* is of this machine's clock."""
    shown = error
    if isinstance(error, RetryException) and error.original_traceback and error.__context__ is not None:
        shown = error.__context__
    try:
        verdict = verdict_on(task, claim, settings, error)
    except BaseException as wrong:  # a retry method may do anything; nobody can say when to run the task again
        wrong.__context__ = error
        verdict, shown = Verdict("stop"), wrong
    return Failed(record_of(task, claim, settings, shown, started_at), *verdict, shown)


def record_of(
    task: Task[..., Any] | None, claim: Claim, settings: Settings, error: BaseException, started_at: float
) -> dict[str, Any]:
    """What is kept of a failed run. Instants are of this machine's clock, until the Runner puts them right."""
    text, message = "".join(traceback.format_exception(error)), _text_of(error)
    if task is not None and task.redaction is not None:
        text, message = (task.redaction.text(one, claim.args, claim.kwargs) for one in (text, message))
    if not settings.store_tracebacks:
        text = ""
    return {
        "exception": type(error).__qualname__,
        "message": message,
        "traceback": text if len(text) <= LONGEST_TRACEBACK else f"...\n{text[-LONGEST_TRACEBACK:]}",
        "host": HOST,
        "pid": os.getpid(),
        "attempt": claim.attempt,
        "started_at": round(started_at, 3),
        "failed_at": round(time.time(), 3),
    }


def timed_out(task: Task[..., Any], claim: Claim) -> TaskTimeout:
    """What a run has failed with that was stopped by its hard_timeout."""
    return TaskTimeout(f"{claim.name} {claim.id} took longer than its hard_timeout of {task.hard_timeout:g} s")


def why_stopped(claim: Claim) -> TaskCancelled | None:
    """What a run that was asked to stop has failed with; None: its lease is lost, and it is nobody's any more."""
    if claim.stop_asked == "cancelled":
        return TaskCancelled(f"{claim.name} {claim.id} was cancelled while it ran")
    return None


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as own:  # a user's __str__ may do anything, and the failure must still be recorded
        return f"its str() failed with {type(own).__name__}"
