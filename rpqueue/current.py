"""RunningTask: the run that the asking code belongs to, and what it may say while it runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import messages
from .errors import NoCurrentTask, StaleLease, TaskCancelled
from .protocol import moves, runs
from .protocol.operation import Operation
from .protocol.workers import redis_time
from .running import Run, current_run

if TYPE_CHECKING:
    from .tasks import Task

#: Seconds for which it is kept how far a run is.
KEEP_PROGRESS = 86_400.0


class RunningTask:
    """
    A run of a task, seen from inside. `current_task` makes these.

    Args:
        run: what runs.
        task: its task.
    """

    def __init__(self, run: Run, task: Task[..., Any]) -> None:
        self._run = run
        self.task = task

    def __repr__(self) -> str:
        return f"<RunningTask taskid={self.id} queue={self.queue} function={self.name} attempt={self.attempt}>"

    @property
    def id(self) -> str:
        """Id of the call."""
        return self._run.taskid

    taskid = id

    @property
    def name(self) -> str:
        """Of the task, as the call names it."""
        return self._run.name

    @property
    def queue(self) -> str:
        """Name of the queue that it came from."""
        return self._run.queue

    @property
    def args(self) -> list[Any]:
        """Positional arguments of the call."""
        return self._run.args

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the call."""
        return self._run.kwargs

    @property
    def meta(self) -> dict[str, Any]:
        """What the producer's middleware sent along."""
        return self._run.meta

    @property
    def attempt(self) -> int:
        """1 on the first run, and one more after each that failed or crashed."""
        return self._run.attempt

    @property
    def attempts_left(self) -> int:
        """Runs that are left, this one included."""
        return self._run.attempts_left

    @property
    def token(self) -> int:
        """Of its lease; a later run of the same call has a greater one. Hand it on to what fences writes."""
        return self._run.token

    @property
    def deadline(self) -> float:
        """Epoch seconds, Redis's clock, up to which it may run; 0: as long as it likes."""
        return self._run.deadline

    @property
    def is_cancelled(self) -> bool:
        """
        Whether it should stop: it was cancelled, or its lease is lost and somebody else may run it.

        A worker looks once a second. Coroutines are cancelled and child processes are killed then; a thread has to ask.
        """
        return bool(self._run.stop_asked)

    def raise_if_cancelled(self) -> None:
        """Raise TaskCancelled, which ends the call as cancelled, or StaleLease, if the run should stop."""
        if self._run.stop_asked == "cancelled":
            raise TaskCancelled(f"{self.name} {self.id} was cancelled while it ran")
        if self._run.stop_asked:
            raise StaleLease(f"{self.name} {self.id}: the lease of this run has ended; somebody else may run it now")

    def n_executions(self) -> int:
        """How many runs of this call there were before this one that failed or crashed."""
        return self.attempt - 1

    @property
    def executions(self) -> list[dict[str, Any]]:
        """Records of earlier runs that failed, oldest first, at most KEEP_EXECUTIONS. Asks Redis."""
        [where] = self._ask(moves.whereabouts(self._run.keys, [self.id]))
        return executions_in(where)

    # What it may say. Each of these is one call to Redis, and fenced: it raises StaleLease once the lease is lost.

    def heartbeat(self) -> float:
        """
        Have the lease last for the whole visibility timeout once more, or WORKER_TTL, counted from now.

        Workers keep the leases of what they run by themselves; but never past the deadline that the visibility timeout
        sets, and this moves that on.

        Returns:
            The new deadline, in epoch seconds; 0 for a call without one.
        """
        run = self._run
        ttl = self.task.app.settings.worker_ttl
        if not run.deadline:
            self._hold([(self.id, run.token, 0.0)], ttl)
            return 0.0
        lease = self.task.lease
        deadline: float = self._ask(redis_time()) + lease
        self._hold([(self.id, run.token, deadline)], min(lease, ttl))
        run.move_deadline(deadline)
        return deadline

    def _hold(self, leases: list[tuple[str, int | str, float]], lease_for: float) -> None:
        if not self._ask(moves.extend(self._run.keys, leases, lease_for)):
            self._stale()

    def progress(self, value: Any) -> None:
        """
        Tell how far it is: ``EnqueuedTask.progress`` has it, for a day.

        Args:
            value: what JSON carries, such as 0.5, or ``{"rows": 120}``.
        """
        text = messages.encode(value, f"progress of {self.name}", self.task.app.settings.max_message_bytes)
        self._note(self._run.keys.progress(self.id), text, KEEP_PROGRESS, b"progress")

    def checkpoint(self, value: Any) -> None:
        """
        Keep what a later run of the same call begins with, should this one not come to its end.

        Args:
            value: what JSON carries; None: nothing any more. `resumed` has it in the next run. It is deleted when the
                call is done, and KEEP_CHECKPOINTS seconds after the last one at any rate.
        """
        settings = self.task.app.settings
        text = (
            b"" if value is None else messages.encode(value, f"checkpoint of {self.name}", settings.max_message_bytes)
        )
        self._note(self._run.keys.checkpoint(self.id), text, settings.keep_checkpoints)
        self._run.has_checkpoint = True

    @property
    def resumed(self) -> Any:
        """The last checkpoint of this call, left by this run or by an earlier one; None: there is none. Asks Redis."""
        text = self._ask(runs.noted(self._run.keys, self._run.keys.checkpoint(self.id), self.id))
        self._run.has_checkpoint = self._run.has_checkpoint or bool(text)
        return messages.decode(text, f"checkpoint of {self.name}") if text else None

    def _note(self, place: bytes, text: bytes, keep_for: float, news: bytes = b"") -> None:
        if not self._ask(runs.note(self._run.keys, place, self.id, self._run.token, text, keep_for, news)):
            self._stale()

    def _stale(self) -> None:
        self._run.stop_asked = self._run.stop_asked or "lost"
        raise StaleLease(f"{self.name} {self.id}: the lease of this run has ended; somebody else may run it now")

    def _ask(self, operation: Operation[Any]) -> Any:
        return self.task.app.broker.execute(operation)


def current_task() -> RunningTask:
    """The run that the asking code belongs to. NoCurrentTask, a RuntimeError, outside of a run."""
    run = current_run()
    if run is None or run.task is None:
        raise NoCurrentTask("current_task(): expected to be called while a worker runs a task, got no run")
    return run.seen_as(run, run.task)


def current_tasks() -> list[RunningTask]:
    """The runs that the asking code belongs to: one, but for tasks that take many calls together."""
    return [current_task()]


def executions_in(where: moves.Whereabouts) -> list[dict[str, Any]]:
    """Records of failed runs of a message, oldest first; those that cannot be read are left out."""
    found = []
    for text in reversed([where.error, *where.earlier]):
        try:
            record = json.loads(text)
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(record)
    return found
