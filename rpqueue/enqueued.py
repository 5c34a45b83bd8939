"""EnqueuedTask: one call of a task, seen from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from . import messages
from .current import executions_in, note_in
from .errors import ResultTimeout, TaskCancelled, TaskFailed, TaskLost, Undecodable
from .instants import instant
from .keys import QueueKeys, name_text
from .messages import Flags
from .protocol import mending, moves, runs
from .protocol.moves import Due, Whereabouts
from .protocol.operation import Flow, Operation, Watch
from .signing import MARK, Signer
from .states import State

if TYPE_CHECKING:
    from .app import App
    from .fates import Fate
    from .tasks import Task

#: States from which a message does not move by itself.
OVER = frozenset({State.DONE, State.FAILED, State.DEAD, State.LOST, State.CANCELLED, None})


class EnqueuedTask:
    """
    One call of a task, seen from outside.

    Args:
        name: of the task.
        taskid: id of the call.
        queue: that it was enqueued into.
        task: the Task, where this process has it.
    """

    app: ClassVar[App]
    #: Whether it is in its queue, where that is not certain; None: it is.
    fate: Fate | None = None

    def __init__(self, name: str, taskid: str, queue: str | bytes, task: Task[..., Any] | None = None) -> None:
        self.name = name
        self.taskid = name_text(taskid, "taskid")
        self.queue = name_text(queue, "queue")
        self.task = task

    def __repr__(self) -> str:
        return f"<EnqueuedTask taskid={self.taskid} queue={self.queue} function={self.name}>"

    @property
    def keys(self) -> QueueKeys:
        """The keys of its queue. Raises NotEnqueued when it is not in there for certain."""
        if self.fate is not None:
            self.fate.check(self)
        return self.app.task_keys(self.queue)

    def whereabouts(self) -> Operation[list[Whereabouts]]:
        """Asks where it is."""
        asked = moves.whereabouts(self.keys, [self.taskid])
        if self.fate is None:
            return asked
        return Operation(asked.script, asked.keys, asked.args, lambda reply: self._if_it_was_there(asked.read(reply)))

    def _if_it_was_there(self, answer: list[Whereabouts]) -> list[Whereabouts]:
        if answer[0].state is None and self.fate is not None:
            self.fate.check_gone(self)
        return answer

    @property
    def status(self) -> str:
        """
        Where it is now.

        Returns:
            ``early`` (due later), ``late`` (was due, has not started), ``waiting``, ``started``, ``done``, ``failed``,
            ``dead``, ``lost`` or ``cancelled``. ``done`` is also said when nothing is known any more, since a task
            without save_results leaves nothing behind.
        """
        return status_of(self.app.broker.execute(self.whereabouts())[0])

    @property
    def args(self) -> list[Any] | None:
        """``[taskid, name, args, kwargs, available at]`` as long as it is in its queue; None afterwards."""
        return args_of(self, self.app.broker.execute(self.whereabouts())[0])

    @property
    def result(self) -> Any:
        """What the task returned, if it is done and has save_results > 0; else None. See `get`."""
        return result_of(self, self.app.broker.execute(self.whereabouts())[0])

    @property
    def progress(self) -> Any:
        """
        What its run said last of how far it is, with `RunningTask.progress`, in the last day; None: nothing.

        Raises:
            BadSignature: it said something, and no worker with one of our SIGNING_KEYS did.
        """
        return self.app.broker.run(self.asking_progress())

    def asking_progress(self) -> Flow[Any]:
        """What `progress` says to Redis."""
        place = self.keys.progress(self.taskid)
        note = yield from runs.noted(self.keys, place, self.taskid)
        return note_in(note, place, self.app.signer, f"progress of {self.name}")

    def wait(self, timeout: float = 30) -> bool:
        """Block until it has at least started, or *timeout* seconds are over. Returns whether it has."""
        return self.app.broker.run(self.waiting(timeout))

    def waiting(self, timeout: float) -> Flow[bool]:
        """What `wait` says to Redis."""
        seconds = messages.seconds(timeout, "timeout")
        [where] = yield from self._watch(has_started, seconds)
        return has_started([where])

    def get(self, timeout: float | None = None, on_progress: Callable[[Any], object] | None = None) -> Any:
        """
        Block until it is over and return what it returned.

        Args:
            timeout: seconds; None: for ever.
            on_progress: called with what its run says of how far it is, as soon as it does. Of several words in quick
                succession, the last one; and none that comes after its end.

        Returns:
            The value; None for a task without save_results.

        Raises:
            TaskFailed: it raised, or was given up; `.error` has exception, traceback, host and pid.
            TaskLost: its worker died, and it may be run at most once.
            TaskCancelled: it was cancelled.
            ResultTimeout: a TimeoutError; it may still end.
            BadSignature: there is an outcome, and no worker with one of our SIGNING_KEYS made it.
        """
        return self.app.broker.run(self.getting(timeout, on_progress))

    def getting(self, timeout: float | None, on_progress: Callable[[Any], object] | None = None) -> Flow[Any]:
        """What `get` says to Redis."""
        seconds = 1e9 if timeout is None else messages.seconds(timeout, "timeout")
        if on_progress is not None:
            seconds = yield from self._reporting(seconds, on_progress)
        [where] = yield from self._watch(is_over, seconds)
        if where.state not in OVER:
            raise ResultTimeout(
                f"{self.name} {self.taskid}: expected it to end within {seconds:g} s, it is {status_of(where)}"
            )
        if where.state is State.CANCELLED:
            raise TaskCancelled(f"{self.name} {self.taskid} was cancelled")
        if where.state in (State.FAILED, State.DEAD, State.LOST):
            raise failure_of(self.name, where, self.keys.outcome(where.id), self.app.signer)
        return result_of(self, where)

    def _reporting(self, seconds: float, on_progress: Callable[[Any], object]) -> Flow[float]:
        """Tell of its progress until it is over. Returns the seconds that are left of those."""
        ends_at, told, asked = time.monotonic() + seconds, None, 0

        def has_news(answer: list[Whereabouts]) -> bool:
            nonlocal asked
            asked += 1  # who asks for the second time has heard something, or not for a while
            return is_over(answer) or asked > 1

        while seconds > 0:
            asked = 0
            [where] = yield from self._watch(has_news, seconds)
            value = yield from self.asking_progress()
            if value != told:
                on_progress(value)
            if where.state in OVER:
                break
            told, seconds = value, max(ends_at - time.monotonic(), 0.0)
        return seconds

    def _watch(self, over: Callable[[list[Whereabouts]], bool], timeout: float) -> Watch[list[Whereabouts]]:
        channels = [self.keys.events + self.taskid.encode()]
        if self.task is None or not self.task.save_results:
            channels.append(self.keys.events)  # its own end is not published; that of its round is
        return Watch(channels, self.whereabouts(), over, timeout, self._told)

    def _told(self, channel: bytes, news: bytes) -> list[Whereabouts] | None:
        """Where it is, when the news are its outcome, as they are when that is short."""
        return [moves.ended(self.taskid, news)] if news.startswith((b"{", MARK)) else None

    def cancel(self, running: bool = False) -> bool | int:
        """
        Remove it if it has not started; with *running*, have its run be stopped, too.

        A worker looks once a second. It cancels a coroutine, and kills the child process of a run that has one; in a
        thread the run itself has to look at `RunningTask.is_cancelled`. One that comes to its end all the same is done.

        Args:
            running: whether to stop a run.

        Returns:
            True: it never runs; or its run was asked to stop, and no other one follows. False: it is running, over, or
            unknown. -1: it had ended; its saved result is deleted.
        """
        return self.app.broker.run(self.cancelling(running))

    @property
    def executions(self) -> list[dict[str, Any]]:
        """Records of its runs that failed, oldest first, at most KEEP_EXECUTIONS, as long as it is in its queue."""
        return executions_in(self.app.broker.execute(self.whereabouts())[0])

    def n_executions(self) -> int:
        """
        How many of its runs failed or crashed.

        A redrive lets its counters begin again; runs before that count as far as they are remembered.
        """
        return n_executions_of(self.app.broker.execute(self.whereabouts())[0])

    def retry(self) -> bool:
        """
        Run it once more, as if it were new, if it was given up: failed, dead or lost.

        Returns:
            True: it is ready again. False: it was not given up, or nothing is known of it; nothing was done.
        """
        return self.app.broker.run(self.reviving())

    def reviving(self) -> Flow[bool]:
        """What `retry` says to Redis."""
        return bool((yield from moves.redrive(self.keys, self.app.index, None, [self.taskid])))

    def delete(self) -> bool:
        """
        Delete it for good, with all that is remembered of it, unless it is running.

        Returns:
            True: it is gone, and never runs. False: it is running, or nothing is known of it. See `cancel` for both.
        """
        return self.app.broker.run(self.deleting())

    def deleting(self) -> Flow[bool]:
        """What `delete` says to Redis."""
        was = yield from mending.delete(self.keys, self.taskid, self.app.settings.remember_cancelled)
        return was not in ("leased", "gone")

    def update_scheduled_time(self, when: datetime | timedelta | float) -> bool:
        """
        Let it start at another instant, if it is scheduled: later, earlier, or at once.

        Args:
            when: a datetime, which is UTC when it has no time zone; a timedelta from now; or epoch seconds.

        Returns:
            False: it is not scheduled (any more), and nothing was done.
        """
        return self.app.broker.run(self.rescheduling(when))

    def rescheduling(self, when: datetime | timedelta | float) -> Flow[bool]:
        """What `update_scheduled_time` says to Redis."""
        delay = due_of(when, f"when of {self.name}")
        return (yield from mending.reschedule(self.keys, self.app.index, self.taskid, delay)) != "elsewhere"

    def run_now(self) -> bool:
        """Let it start at once, if it is scheduled. Returns False when it is not, and nothing was done."""
        return self.update_scheduled_time(timedelta())

    def cancelling(self, running: bool = False) -> Flow[bool | int]:
        """What `cancel` says to Redis."""
        keep_for = self.app.settings.remember_cancelled
        answer = yield from moves.cancel(self.keys, self.taskid, keep_for, running=running)
        return answer if answer == -1 else bool(answer)


class InlineTask:
    """What ``execute(execute_inline_now=True)`` returns: a call that ran already. Has the face of an EnqueuedTask."""

    status = "done"
    taskid = "inline"
    progress: Any = None

    def __init__(self, task: Task[..., Any], value: Any, args: list[Any]) -> None:
        self.task, self.name, self.queue = task, task.name, task.queue
        self.result = value
        self.args = args

    def wait(self, timeout: float = 30) -> bool:
        """It has run."""
        return True

    def get(self, timeout: float | None = None, on_progress: Callable[[Any], object] | None = None) -> Any:
        """What the function returned."""
        return self.result

    def cancel(self, running: bool = False) -> bool:
        """Too late."""
        return False

    @property
    def executions(self) -> list[dict[str, Any]]:
        """None of its runs failed."""
        return []

    def n_executions(self) -> int:
        """None of its runs failed."""
        return 0

    def retry(self) -> bool:
        """It was not given up."""
        return False

    def delete(self) -> bool:
        """Nothing is kept of it."""
        return False

    def update_scheduled_time(self, when: datetime | timedelta | float) -> bool:
        """Too late."""
        return False

    def run_now(self) -> bool:
        """Too late."""
        return False


def due_of(when: Any, what: str) -> float | Due:
    """An instant that a user said, or a timedelta from now, as moves take it. It may be over."""
    return when.total_seconds() if isinstance(when, timedelta) else Due(instant(when, what))


def calls_of(task: Task[..., Any], queue: str, ids: Iterable[str]) -> list[EnqueuedTask]:
    """Calls of one task in one queue, whose names and ids are known to be good."""
    kind, name, made = task.app.EnqueuedTask, task.name, []
    for taskid in ids:
        call = object.__new__(kind)
        call.name, call.taskid, call.queue, call.task = name, taskid, queue, task
        made.append(call)
    return made


def has_started(answer: list[Whereabouts]) -> bool:
    """Whether a message was taken by a worker, or is over."""
    return answer[0].state is State.LEASED or is_over(answer)


def is_over(answer: list[Whereabouts]) -> bool:
    """Whether a message does not move by itself any more."""
    return answer[0].state in OVER


def status_of(where: Whereabouts) -> str:
    """The word of `EnqueuedTask.status` for it."""
    if where.state is State.LEASED:
        return "started"
    if where.state is State.SCHEDULED:
        return "early" if where.at > where.now else "late"
    if where.state in (State.READY, State.PARKED):
        try:
            flags = messages.parse_header(where.message.partition(b"|")[0])[3]
        except Undecodable:
            return "waiting"
        return "late" if Flags.DELAYED in flags else "waiting"
    return str(where.state or State.DONE)


def n_executions_of(where: Whereabouts) -> int:
    """Runs of a message that failed or crashed: as its counters say, or as many as are remembered from before."""
    return max(where.failures + where.crashes, where.recorded)


def args_of(call: EnqueuedTask, where: Whereabouts) -> list[Any] | None:
    """A message as get_page shows it, ``[taskid, name, args, kwargs, available at]``; None when it is gone."""
    if not where.message:
        return None
    header = where.message.partition(b"|")[0]
    messages.check_version(header)
    body = call.app.signer.body_of(call.keys.stem, where.id.encode(), where.message)
    name, args, kwargs = messages.decode_task(body)
    return [where.id, name, args, kwargs, messages.parse_header(header)[0]]


def result_of(call: EnqueuedTask, where: Whereabouts) -> Any:
    """What the call returned, by its kept outcome; None when there is none."""
    return result_in(where.outcome, call.keys.outcome(where.id), call.app.signer)


def result_in(outcome: bytes, place: bytes, signer: Signer) -> Any:
    """The value in an outcome that was kept under the key *place*; None when there is none."""
    if outcome in (b"", moves.CANCELLED):
        return None
    return _object(signer.opened(place, b"", b"", outcome), "outcome").get("result")


def _object(stored: bytes, what: str) -> dict[str, Any]:
    value = messages.decode(stored, what)
    if not isinstance(value, dict):
        raise Undecodable(f"{what}: expected a JSON object, got other JSON of {len(stored)} bytes")
    return value


def failure_of(name: str, where: Whereabouts, place: bytes, signer: Signer) -> TaskFailed:
    """The exception to raise for a message that was given up."""
    try:
        error = _object(where.error, "error record") if where.error else {}
        if where.outcome and not error:  # of a call that leaves nothing else behind
            error = _object(signer.opened(place, b"", b"", where.outcome), "outcome").get("error", {})
    except Undecodable as unread:
        error = {"message": str(unread)}
    text = f"{name} {where.id}: {where.state} ({where.reason or 'given up'})"
    if error.get("exception"):
        text += f": {error['exception']}: {error.get('message', '')}"
    if error.get("traceback"):
        text += f"\n\n{error['traceback']}"
    return (TaskLost if where.state is State.LOST else TaskFailed)(text, error)
