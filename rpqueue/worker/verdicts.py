"""
Verdict: what becomes of a call whose run raised.

=======================================  ==========================================================================
the run raised                           and then
=======================================  ==========================================================================
TaskCancelled                            it counts as cancelled
StopRetry                                it is given up
RetryException                           it runs again, by the method in there, else as below
what ``retry_on`` has, for a task with   it runs again, by its ``retry_method``, else by DEFAULT_RETRY_METHOD
``retry`` or another of these options
something else, for such a task          it is given up
anything, for another task               its visibility timeout and attempts say: Redis decides
=======================================  ==========================================================================

A method that raises StopRetry, and as many runs as `attempts` has, where that is more than 1 or was said at the call,
end the retrying. Given up means kept as failed, or as dead with ``use_dead``; and nothing at all is kept after a
RetryException with ``log_error=False``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import RetryException, StopRetry, TaskCancelled
from ..protocol.moves import Again
from ..retry import method_of, pause_before
from ..settings import Settings
from ..tasks import Task
from .claims import Claim


class Verdict(NamedTuple):
    """What becomes of a call whose run raised."""

    again: Again
    delay: float = 0.0  #: seconds until its next run, where that is decided here
    log_error: bool = True  #: False: the failure is to be logged as a warning


def verdict_on(task: Task[..., Any], claim: Claim, settings: Settings, error: BaseException) -> Verdict:
    """What becomes of a call whose run raised *error*. Raises what a user's own method does."""
    if isinstance(error, TaskCancelled):
        return Verdict("cancel", log_error=False)
    if isinstance(error, StopRetry):
        return Verdict("stop")
    asked = error if isinstance(error, RetryException) else None
    if asked is None:
        if task.retrying is None:
            return Verdict("auto")
        if not task.retrying.wants(error):
            return Verdict("stop")
    log_error = asked is None or bool(asked.log_error)
    given_up = Verdict("stop" if log_error else "drop", log_error=log_error)
    if claim.is_bounded and claim.counted >= claim.runs_allowed:
        return given_up
    try:
        return Verdict("retry", pause_before(_method(task, settings, asked), claim.counted), log_error)
    except StopRetry:
        return given_up


def _method(task: Task[..., Any], settings: Settings, asked: RetryException | None) -> Any:
    if asked is not None and asked.method is not None:
        return method_of(asked.method, "method of a RetryException")
    own = task.retrying.method if task.retrying is not None else None
    return settings.default_retry_method if own is None else own
