"""
Eager calls: with ALWAYS_EAGER a call runs when it is made, in the thread that makes it, without Redis.

It goes the way of any other: it is checked, encoded, signed, decoded, and run with middleware and retries. What differs
is that retries wait for nothing, and that nobody stops a plain task that takes too long. Calls with a delay are
enqueued as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .enqueued import EnqueuedTask, args_of, failure_of, result_of, status_of
from .errors import TaskCancelled, UnknownTask
from .states import State

if TYPE_CHECKING:
    from .keys import QueueKeys
    from .tasks import Task
    from .worker.here import Over

#: Queue, id and message of a call.
Call = tuple["QueueKeys", str, bytes]


class EagerTask(EnqueuedTask):
    """A call that ran when it was made. Has the face of an EnqueuedTask, and asks Redis nothing."""

    task: Task[..., Any]
    #: What its last run raised; None: it came to its end.
    error: BaseException | None

    def ends(self, over: Over) -> None:
        """Say what came of it."""
        self._where = over.where
        self._executions, self._progress, self.error = over.executions, over.progress, over.error

    def __repr__(self) -> str:
        return f"<EagerTask taskid={self.taskid} queue={self.queue} function={self.name} status={self.status}>"

    @property
    def status(self) -> str:
        """How it ended: done, failed, dead or cancelled."""
        return status_of(self._where)

    @property
    def progress(self) -> Any:
        """What its task said last of how far it is; None: nothing."""
        return self._progress

    @property
    def args(self) -> list[Any] | None:
        """``[taskid, name, args, kwargs, when it was made]``, also when it is done."""
        return args_of(self, self._where)

    @property
    def result(self) -> Any:
        """What the task returned, if it is done and has save_results > 0; else None."""
        return result_of(self, self._where)

    def wait(self, timeout: float = 30) -> bool:
        """It has run."""
        return True

    def get(self, timeout: float | None = None, on_progress: Callable[[Any], object] | None = None) -> Any:
        """
        What the task returned; None for a task without save_results.

        Raises:
            TaskFailed: it raised; that is the ``__cause__``, and `.error` has the record of it.
            TaskCancelled: it said that it was cancelled.
        """
        if on_progress is not None and self.progress is not None:
            on_progress(self.progress)
        if self._where.state is State.CANCELLED:
            raise TaskCancelled(f"{self.name} {self.taskid} was cancelled while it ran") from self.error
        if self._where.state is not State.DONE:
            raise failure_of(self.name, self._where, self.keys.outcome(self.taskid), self.app.signer) from self.error
        return self.result

    @property
    def executions(self) -> list[dict[str, Any]]:
        """Records of its failed runs, oldest first."""
        return self._executions

    def n_executions(self) -> int:
        """How many of its runs failed."""
        return len(self._executions)

    def retry(self) -> bool:
        """It is in no queue."""
        return False

    def delete(self) -> bool:
        """It is in no queue."""
        return False

    def update_scheduled_time(self, when: datetime | timedelta | float) -> bool:
        """Too late."""
        return False

    def cancel(self, running: bool = False) -> bool | int:
        """Too late: False; or -1, if there is a result, which is deleted."""
        if not self._where.outcome:
            return False
        self._where = replace(self._where, outcome=b"")
        return -1


def execute(task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> EagerTask:
    """What `Task.execute` does with a call that runs now."""
    task.proof(kwargs)
    return _run(task, task.message(args, kwargs))


def execute_many(task: Task[..., Any], calls: Iterable[Call]) -> list[EnqueuedTask]:
    """What `Task.execute_many` does with calls that run now, one after the other."""
    return [_run(task, call) for call in calls]


async def execute_async(task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> EagerTask:
    """As `execute`, for a coroutine."""
    task.proof(kwargs)
    return await _run_async(task, task.message(args, kwargs))


async def execute_many_async(task: Task[..., Any], calls: Iterable[Call]) -> list[EagerTask]:
    """As `execute_many`, for a coroutine."""
    return [await _run_async(task, call) for call in calls]


def _run(task: Task[..., Any], call: Call) -> EagerTask:
    from .worker.here import complete

    return _ended(task, call, complete(_runnable(task), *call))


async def _run_async(task: Task[..., Any], call: Call) -> EagerTask:
    from .worker.here import complete_async

    return _ended(task, call, await complete_async(_runnable(task), *call))


def _runnable(task: Task[..., Any]) -> Task[..., Any]:
    """The task, when this process has its function."""
    if task.function is None:
        raise UnknownTask(
            f"{task.name}: expected a task of this process, since ALWAYS_EAGER runs calls when they are made, got one "
            "that is known by name only; import the module that declares it"
        )
    return task


def _ended(task: Task[..., Any], call: Call, over: Over) -> EagerTask:
    keys, message_id, _ = call
    ended: EagerTask = task.app.EagerTask(task.name, message_id, keys.name, task)
    ended.ends(over)
    is_wanted = task.app.settings.eager_propagates and over.where.state is not State.CANCELLED
    if over.error is not None and is_wanted:
        raise over.error
    return ended
