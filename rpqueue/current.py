"""
RunningTask: the run that the asking code belongs to, and what it may say while it runs.

What a run knows of itself is a value, and costs nothing: `Seen` has it. What it asks of Redis or says to it is a flow,
which RunningTask carries out at once, and `aio.current_task` has awaited.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import messages
from .errors import NoCurrentTask, StaleLease, TaskCancelled
from .protocol import moves, runs
from .protocol.operation import Flow
from .protocol.workers import redis_time
from .running import Run, current_run
from .signing import Signer

if TYPE_CHECKING:
    from .tasks import Task

#: Seconds for which it is kept how far a run is.
KEEP_PROGRESS = 86_400.0


class Seen:
    """
    A run of a task, as its own code sees it.

    Args:
        run: what runs.
        task: its task.
    """

    def __init__(self, run: Run, task: Task[..., Any]) -> None:
        self._run = run
        self.task = task

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} taskid={self.id} queue={self.queue} function={self.name} attempt={self.attempt}>"
        )

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
        """What the producer's middleware sent along; not to be changed."""
        return self._run.meta

    @property
    def attempt(self) -> int:
        """1 on the first run, and one more after each that failed or crashed."""
        return self._run.attempt

    @property
    def attempts_left(self) -> int:
        """Runs that are left, this one included, by what the call and its task say. A retry method may stop earlier."""
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

        A worker looks every HEARTBEAT seconds. Coroutines are cancelled and child processes are killed then; a thread
        has to ask.
        """
        return bool(self._run.stop_asked)

    def raise_if_cancelled(self) -> None:
        """Raise TaskCancelled, which ends the call as cancelled, or StaleLease, if the run should stop."""
        if self._run.stop_asked == "cancelled":
            raise TaskCancelled(f"{self.name} {self.id} was cancelled while it ran")
        if self._run.stop_asked:
            raise self._stale()

    def n_executions(self) -> int:
        """How many runs of this call there were before this one that failed or crashed."""
        return self.attempt - 1

    def _stale(self) -> StaleLease:
        self._run.stop_asked = self._run.stop_asked or "lost"
        return StaleLease(f"{self.name} {self.id}: the lease of this run has ended; somebody else may run it now")


class RunningTask(Seen):
    """
    A run of a task, seen from inside. `current_task` makes these.

    Its verbs talk to Redis and block; in a coroutine, await those of `aio.current_task`. They are fenced: once the
    lease of the run is lost they change nothing, and raise StaleLease.

    Args:
        run: what runs.
        task: its task.
    """

    def heartbeat(self) -> float:
        """
        Have the lease last for the whole visibility timeout once more, or WORKER_TTL, counted from now.

        Workers keep the leases of what they run by themselves; but never past the deadline that the visibility timeout
        sets, and this moves that on.

        Returns:
            The new deadline, in epoch seconds; 0 for a call without one.

        Raises:
            StaleLease: the lease is lost.
        """
        return self.task.app.broker.run(self.beating())

    def progress(self, value: Any) -> None:
        """
        Tell how far it is: ``EnqueuedTask.progress`` has it, for a day.

        Args:
            value: what JSON carries, such as 0.5, or ``{"rows": 120}``.

        Raises:
            StaleLease: the lease is lost.
        """
        self.task.app.broker.run(self.telling(value))

    def checkpoint(self, value: Any) -> None:
        """
        Keep what a later run of the same call begins with, should this one not come to its end.

        Args:
            value: what JSON carries; None: nothing any more. `resumed` has it in the next run. It is deleted when the
                call is done, and KEEP_CHECKPOINTS seconds after the last one at any rate.

        Raises:
            StaleLease: the lease is lost, and the checkpoint is that of whoever has it now.
        """
        self.task.app.broker.run(self.keeping(value))

    @property
    def resumed(self) -> Any:
        """
        The last checkpoint of this call, left by this run or by an earlier one; None: there is none. Asks Redis.

        Raises:
            BadSignature: there is one, and no worker with one of our SIGNING_KEYS made it.
        """
        return self.task.app.broker.run(self.resuming())

    @property
    def executions(self) -> list[dict[str, Any]]:
        """Records of earlier runs that failed, oldest first, at most KEEP_EXECUTIONS. Asks Redis."""
        return self.task.app.broker.run(self.recounting())

    # What these say to Redis.

    def beating(self) -> Flow[float]:
        """What `heartbeat` says to Redis."""
        run, ttl, lease, deadline = self._run, self.task.app.settings.worker_ttl, 0.0, 0.0
        if run.deadline:
            lease = self.task.lease
            deadline = (yield from redis_time()) + lease
        leases: list[tuple[str, int | str, float]] = [(self.id, run.token, deadline)]
        if not (yield from moves.extend(run.keys, leases, min(lease or ttl, ttl))):
            raise self._stale()
        if deadline:
            run.move_deadline(deadline)
        return deadline

    def telling(self, value: Any) -> Flow[None]:
        """What `progress` says to Redis."""
        yield from self._noting(self._run.keys.progress(self.id), value, "progress", KEEP_PROGRESS, b"progress")

    def keeping(self, value: Any) -> Flow[None]:
        """What `checkpoint` says to Redis."""
        keep_for = self.task.app.settings.keep_checkpoints
        yield from self._noting(self._run.keys.checkpoint(self.id), value, "checkpoint", keep_for)
        self._run.has_checkpoint = True

    def resuming(self) -> Flow[Any]:
        """What `resumed` says to Redis."""
        place = self._run.keys.checkpoint(self.id)
        note = yield from self._noted(place)
        self._run.has_checkpoint = self._run.has_checkpoint or bool(note)
        return note_in(note, place, self.task.app.signer, f"checkpoint of {self.name}")

    def recounting(self) -> Flow[list[dict[str, Any]]]:
        """What `executions` says to Redis."""
        [where] = yield from moves.whereabouts(self._run.keys, [self.id])
        return executions_in(where)

    def _noting(self, place: bytes, value: Any, what: str, keep_for: float, news: bytes = b"") -> Flow[None]:
        app, note = self.task.app, b""
        if value is not None:
            note = messages.encode(value, f"{what} of {self.name}", app.settings.max_message_bytes)
            note = app.signer.signed(place, b"", b"", note) if app.signer else note
        if not (yield from self._note(place, note, keep_for, news)):
            raise self._stale()

    def _note(self, place: bytes, note: bytes, keep_for: float, news: bytes) -> Flow[bool]:
        return (yield from runs.note(self._run.keys, place, self.id, self._run.token, note, keep_for, news))

    def _noted(self, place: bytes) -> Flow[bytes]:
        return (yield from runs.noted(self._run.keys, place, self.id))


def current_task() -> RunningTask:
    """The run that the asking code belongs to. NoCurrentTask, a RuntimeError, outside of a run."""
    run = current_run()
    if run is None or run.task is None:
        raise NoCurrentTask("current_task(): expected to be called while a worker runs a task, got no run")
    return run.seen_as(run, run.task)


def current_tasks() -> list[RunningTask]:
    """The runs that the asking code belongs to: one, but for tasks that take many calls together."""
    return [current_task()]


def note_in(note: bytes, place: bytes, signer: Signer, what: str) -> Any:
    """The value in a note that was kept under the key *place*; None when there is none."""
    return messages.decode(signer.opened(place, b"", b"", note), what) if note else None


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
