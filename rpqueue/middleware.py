"""Middleware: what an application does around every run, whatever the task; and runners, for one task alone."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .current import RunningTask
from .errors import RefusedInput

log = logging.getLogger("rpqueue.task")


class Outgoing(NamedTuple):
    """A call that is about to be enqueued."""

    task_id: str
    name: str  #: of the task
    queue: str
    meta: dict[str, Any]  #: goes along with the call; values that JSON carries. `RunningTask.meta` has it.
    args: Sequence[Any] = ()  #: of the call; not to be changed
    kwargs: Mapping[str, Any] = {}  #: of the call; not to be changed
    due_at: float = 0.0  #: epoch seconds at which it may start, for a delay by this machine's clock; 0: at once


class Departure(contextlib.ExitStack):
    """
    What middleware does around calls that are enqueued together: enter it, announce them, encode and send them.

    Args:
        middleware: of the App.
    """

    def __init__(self, middleware: Sequence[Middleware]) -> None:
        super().__init__()
        self._middleware = middleware

    def announce(self, calls: Sequence[Outgoing]) -> None:
        """Show the calls to all middleware, which may fill in their meta. RefusedInput refuses them all."""
        announce(self._middleware, calls)
        for one in self._middleware:
            self.enter_context(one.around_enqueue(calls))


def announce(middleware: Sequence[Middleware], calls: Sequence[Outgoing]) -> None:
    """Call on_enqueue for each of *calls*. RefusedInput goes on; what else it raises is logged and changes nothing."""
    for one in middleware:
        for call in calls:
            try:
                one.on_enqueue(call)
            except RefusedInput:
                raise
            except Exception:
                fields = {"task": call.name, "task_id": call.task_id, "queue": call.queue, "middleware": repr(one)}
                log.exception("middleware failed: on_enqueue", extra=fields)


class Failure(NamedTuple):
    """How a run failed, and what that leads to."""

    record: dict[str, Any]  #: as it is kept: exception, message, traceback, host, pid, attempt, started_at, failed_at
    error: BaseException | None  #: None where it was raised in another process and cannot be brought over
    state: (
        str  #: of the call now: scheduled, ready, failed, dead, lost, dropped, cancelled, or stale: another's by then
    )
    log_error: bool  #: False: the task asked for a warning instead

    @property
    def is_final(self) -> bool:
        """Whether there is no further run."""
        return self.state in ("failed", "dead", "lost", "dropped")

    @property
    def is_retried(self) -> bool:
        """Whether there is a further run."""
        return self.state in ("scheduled", "ready")


class Middleware:
    """
    What an application does around runs. Derive from it, and put instances into the setting MIDDLEWARE.

    `around` is called where the task runs: in its thread, event loop or child process. The other methods are called
    in the worker process, once Redis has the outcome, on_success a moment before; and on_enqueue by producers. What
    they raise is logged, and changes nothing; what `around` raises is what the run has raised.
    """

    def on_enqueue(self, call: Outgoing) -> None:
        """
        A call is about to be enqueued, in the process that does; of a recurring task's slot, in each worker that tries.

        RefusedInput refuses it, and nothing is sent. A slot is left out then, with a line in the log.
        """

    def around_enqueue(self, calls: Sequence[Outgoing]) -> contextlib.AbstractContextManager[Any]:
        """
        A context manager around the enqueueing of calls, in the producer, after on_enqueue has seen each of them.

        It is entered when their arguments are known to be good, and their `meta` may still be filled. It is left when
        Redis has them or has refused them, which it sees as an exception; in a `pipeline` block, when that holds them.
        `execute_many` hands over all its calls together. Slots of recurring tasks have none around them.
        """
        return contextlib.nullcontext()

    def around(self, run: RunningTask) -> contextlib.AbstractContextManager[Any]:
        """A context manager that is entered before the task runs, and left when it has; it sees what it raises."""
        return contextlib.nullcontext()

    def on_success(self, run: RunningTask, seconds: float) -> None:
        """A run came to its end."""

    def on_failure(self, run: RunningTask, failure: Failure) -> None:
        """A run failed; this is called for each that does, before on_retry or on_dead."""

    def on_retry(self, run: RunningTask, failure: Failure) -> None:
        """A run failed, and there will be another one."""

    def on_dead(self, run: RunningTask, failure: Failure) -> None:
        """A run failed, and there will be no other one."""

    def on_exit(self) -> None:
        """
        A process that has run tasks is about to end: a worker, or a child of one; not when it is killed.

        What lies in buffers can be sent now. It has a few seconds.
        """


class TaskRunner:
    """
    How one task is run: ``@task(runner_class=...)``. An instance is made for each run.

    Args:
        run: what runs.
    """

    def __init__(self, run: RunningTask) -> None:
        self.current = run

    def run(self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Call the function, where tasks run. For an ``async def`` task, what comes back is awaited."""
        return function(*args, **kwargs)

    def on_permanent_error(self, failure: Failure) -> None:
        """In the worker process: the task failed, and there will be no other run."""
