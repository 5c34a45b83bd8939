"""
Sentry: its Queues module, its Issues, and its Crons, for the tasks of an App.

``sentry_sdk.init(...)`` as ever, and ``rpqueue.MIDDLEWARE = [SentryMiddleware()]``, where calls are enqueued and where
they run.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sentry_sdk
from sentry_sdk.scope import Scope

from ...current import RunningTask
from ...errors import RefusedInput
from ...middleware import Failure, Middleware, Outgoing
from . import events, monitors, tracing

__all__ = ["SentryMiddleware"]

log = logging.getLogger("rpqueue.sentry")

#: Seconds that a process that ends gives to what is not sent yet.
LAST_WORDS = 1.5


class SentryMiddleware(Middleware):
    """
    Tells Sentry of calls and runs. Whatever goes wrong in that is logged, and changes nothing about a task.

    Each run is a transaction with a span ``queue.process``, in the trace in which it was enqueued; there is a span
    ``queue.publish``. A call that fails for good is one error event, with what the run had set on its scope, and
    nothing of other runs.

    Args:
        retries: whether to report also failures after which the task runs again, as warnings.
        monitors: which recurring tasks check in with Sentry's Crons. True: all with a schedule that Sentry can
            express; False: none; or a dict ``{task name: what to say of the monitor besides its schedule}``, such as
            ``{"tasks.report": {"checkin_margin": 5}}``: these.
        propagate: whether a run belongs to the trace in which it was enqueued; False: each begins one.
    """

    def __init__(
        self, *, retries: bool = False, monitors: bool | dict[str, dict[str, Any]] = True, propagate: bool = True
    ) -> None:
        if not isinstance(monitors, (bool, dict)):
            raise RefusedInput(f"monitors: expected True, False or a dict by names of tasks, got {monitors!r}")
        self.retries = retries
        self.monitors = monitors
        self.propagate = propagate
        events.watch()

    def on_enqueue(self, call: Outgoing) -> None:
        """Send along since when it waits."""
        if sentry_sdk.get_client().is_active():
            tracing.send_along(call)

    def around_enqueue(self, calls: Sequence[Outgoing]) -> contextlib.AbstractContextManager[Any]:
        """A span ``queue.publish``, and the trace that it belongs to for each call to take along."""
        if not sentry_sdk.get_client().is_active():
            return contextlib.nullcontext()
        return _Around(lambda stack: stack.enter_context(tracing.publishing(calls, self.propagate)))

    def around(self, run: RunningTask) -> contextlib.AbstractContextManager[Any]:
        """A scope of its own, a transaction, and a check-in."""
        if not sentry_sdk.get_client().is_active():
            return contextlib.nullcontext()
        return _Around(lambda stack: self._enter(run, stack))

    def _enter(self, run: RunningTask, stack: contextlib.ExitStack) -> None:
        scope = stack.enter_context(sentry_sdk.isolation_scope())
        scope.clear_breadcrumbs()
        stack.enter_context(monitors.checking_in(run, self.monitors))
        stack.enter_context(tracing.processing(run, self.propagate))
        stack.push(_leave_trail(scope))

    def on_retry(self, run: RunningTask, failure: Failure) -> None:
        """Report it, if that is wanted."""
        if self.retries and failure.log_error:
            self._report(run, failure, "warning")

    def on_failure(self, run: RunningTask, failure: Failure) -> None:
        """End the check-in of a run that could not do so, for its process was killed."""
        if sentry_sdk.get_client().is_active() and events.trail_of(failure.error) is None:
            with _harmless():
                monitors.failed(run, self.monitors)

    def on_dead(self, run: RunningTask, failure: Failure) -> None:
        """Report it, unless the task asked for a warning instead."""
        if failure.log_error:
            self._report(run, failure, "error")

    def _report(self, run: RunningTask, failure: Failure, level: str) -> None:
        if sentry_sdk.get_client().is_active():
            with _harmless():
                events.report(run, failure, level)

    def on_exit(self) -> None:
        """Send what is not sent yet."""
        sentry_sdk.flush(timeout=LAST_WORDS)


class _Around:
    """
    Enters and leaves what is around something, and sees to it that nothing of that is in its way.

    No generator: that would put frames of its own into the traceback of every task.
    """

    def __init__(self, enter: Callable[[contextlib.ExitStack], Any]) -> None:
        self._enter, self._stack = enter, contextlib.ExitStack()

    def __enter__(self) -> None:
        with _harmless():
            self._enter(self._stack)

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        with _harmless():
            self._stack.__exit__(kind, error, traceback)
        if error is not None:
            error.__traceback__ = traceback  # generators in there have added their frames


def _leave_trail(scope: Scope) -> Callable[..., None]:
    """What leaves the trail of a run with the exception that ended it."""
    trail = events.Trail(scope, sentry_sdk.get_current_scope(), tracing.trace_context(), {})

    def leave(kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is not None:
            events.leave(trail, error)

    return leave


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    try:
        yield
    except Exception:
        log.warning("Sentry could not be told", exc_info=True)
