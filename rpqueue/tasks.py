"""Task: a function that can be run later by a worker. EnqueuedTask: one call of it, seen from outside."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar

from . import messages
from .errors import RefusedInput, ResultTimeout, TaskCancelled, TaskFailed, TaskLost, WrongType
from .keys import QueueKeys, name_text
from .messages import Flags
from .protocol import moves
from .protocol.moves import Whereabouts
from .protocol.operation import Flow, Operation, Watch
from .running import CURRENT_TASK
from .schedule import Schedule
from .states import State

if TYPE_CHECKING:
    from .app import App

P = ParamSpec("P")
R = TypeVar("R")

#: States from which a message does not move by itself.
OVER = frozenset({State.DONE, State.FAILED, State.DEAD, State.LOST, State.CANCELLED, None})


def attempts_number(value: Any, what: str) -> int:
    """*value* as a whole number >= 1; 3.0 is taken for 3."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongType(f"{what}: expected a whole number >= 1, got {value!r}")
    if value != int(value) or value < 1:
        raise RefusedInput(f"{what}: expected a whole number >= 1, got {value!r}")
    return int(value)


class Task(Generic[P, R]):
    """
    A function that can be run later by a worker. The decorators of an App make these.

    Calling it runs the function here and now; `execute` enqueues it.

    Args:
        queue: name of its queue.
        name: how messages name it; unique in the App.
        function: what to run, plain or ``async def``; None for a task that only other processes know.
        delay: a schedule, or seconds between runs, of a recurring task; None: it runs only when called.
        never_skip: whether a recurring task makes up for slots that were missed.
        attempts: with *vis_timeout*, deliveries in all; else how often `retry` lets it run in all. 1 or greater.
        retry_delay: seconds between a failure and the next delivery, and between `retry` and the next run.
        low_delay_okay: whether *delay* may be under MINIMUM_DELAY.
        save_results: seconds to keep what it returned; 0: not at all.
        vis_timeout: seconds it may take before it is delivered again; 0: it is delivered at most once.
        use_dead: whether it is dead-lettered when it is given up.
    """

    app: ClassVar[App]

    def __init__(
        self,
        queue: str | bytes,
        name: str,
        function: Callable[P, R] | None,
        delay: Schedule | float | timedelta | None = None,
        never_skip: bool = False,
        attempts: int = 1,
        retry_delay: float = 30,
        low_delay_okay: bool = False,
        save_results: float = 0,
        vis_timeout: float = 0,
        use_dead: bool | None = None,
    ) -> None:
        self.queue = name_text(queue, "queue")
        self.name = name_text(name, "task name")
        self.function = function
        self.attempts = attempts_number(attempts, f"attempts of {name}")
        self.retry_delay = messages.seconds(retry_delay, f"retry_delay of {name}")
        self.save_results = messages.seconds(save_results, f"save_results of {name}")
        self.vis_timeout = messages.seconds(vis_timeout, f"vis_timeout of {name}")
        self.use_dead = bool(use_dead)
        self.low_delay_okay = bool(low_delay_okay)
        self.never_skip = bool(never_skip)
        if self.queue == self.app.settings.deadletter_queue:
            raise RefusedInput(f"queue of {name}: {self.queue!r} is the dead-letter view; choose another name")
        self.schedule = None if delay is None else self._schedule(delay)
        self.is_async = inspect.iscoroutinefunction(function)
        self.takes_attempts = function is not None and _takes(function, "_attempts")
        if function is not None:
            self.__doc__ = function.__doc__
            self.__module__ = function.__module__
            self.__wrapped__ = function
            self.app.settings.registry[self.name] = self

    def _schedule(self, delay: Schedule | float | timedelta) -> Schedule:
        from .schedule import Every

        if isinstance(delay, (int, float, timedelta)):
            interval = messages.seconds(delay, f"run_every of {self.name}")
            least = self.app.settings.minimum_delay
            if interval < least and not self.low_delay_okay:
                raise RefusedInput(
                    f"run_every of {self.name}: expected at least {least:g} s (MINIMUM_DELAY), got {interval:g}; "
                    "say low_delay_okay=True if that is meant"
                )
            return Every(interval, never_skip=self.never_skip)
        return delay

    def __repr__(self) -> str:
        return f"<Task function={self.name} queue={self.queue}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, as if it were not decorated."""
        if self.function is None:
            raise TypeError(
                f"{self.name} is known by name only and cannot run in this process; enqueue it with execute()"
            )
        return self.function(*args, **kwargs)

    def next(self, now: float | None = None) -> float | None:
        """Seconds from *now* (epoch seconds; None: this machine's) to the next slot; None when it is not recurring."""
        if self.schedule is None:
            return None
        instant = time.time() if now is None else now
        return max(self.schedule.first(instant) - instant, 0.0)

    def execute(self, *args: Any, **kwargs: Any) -> EnqueuedTask | InlineTask:
        """
        Enqueue a call of this task.

        Args:
            args: for the function; values that JSON carries.
            kwargs: for the function, but for these:
                delay: seconds, or a timedelta, until it may start.
                taskid: an id of your own instead of a random one. Enqueueing the same call under the same id twice
                    has effect once, while the first is in the queue.
                _queue: another queue for this call.
                execute_inline_now: True runs it here, without Redis.
                _attempts: attempts of this call.

        Raises:
            RefusedInput: something cannot be used; nothing was sent.
            RedisError: Redis could not do it. RedisUnavailable alone leaves open whether it did.
        """
        if kwargs.pop("execute_inline_now", False):
            return self._inline(args, kwargs)
        operation, enqueued = self.call(args, kwargs)
        self.app.broker.execute(operation)
        return enqueued

    delay = execute

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Operation[float], EnqueuedTask]:
        """What `execute` sends, and what it returns then. Takes its own options out of *kwargs*."""
        delay = kwargs.pop("delay", None)
        seconds = 0.0 if delay is None else messages.seconds(delay, f"delay of {self.name}")
        queue = kwargs.pop("_queue", None)
        keys = self.app.task_keys(self.queue if queue is None else queue)
        if keys.name == self.app.settings.deadletter_queue:
            raise RefusedInput(f"_queue of {self.name}: {keys.name!r} is the dead-letter view; choose another queue")
        chosen = kwargs.pop("taskid", None)
        message_id = messages.new_id() if chosen is None else name_text(chosen, f"taskid of {self.name}")
        attempts = self.attempts
        if "_attempts" in kwargs:
            attempts = attempts_number(kwargs["_attempts"], f"_attempts of {self.name}")
            if attempts == self.attempts:
                del kwargs["_attempts"]
        body = messages.encode_task(self.name, args, kwargs, self.app.settings.max_message_bytes)
        tail = self.header_tail(attempts, delayed=seconds > 0)
        operation = moves.enqueue(
            keys, self.app.index, [(message_id, body)], delay=seconds, tail=tail, chosen=chosen is not None
        )
        return operation, self.app.EnqueuedTask(self.name, message_id, keys.name, self)

    def header_tail(self, attempts: int | None = None, *, delayed: bool = False) -> str:
        """What the header of its messages says beside the instant."""
        flags = Flags.USE_DEAD * self.use_dead | Flags.WATCHED * (self.save_results > 0) | Flags.DELAYED * delayed
        deliveries = (attempts or self.attempts) if self.vis_timeout else 1
        return messages.header_tail(self.vis_timeout, deliveries, flags)

    def _inline(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> InlineTask:
        value = self.start_inline(args, kwargs)
        if inspect.isawaitable(value):
            value = _run_coroutine(value)
        return InlineTask(self, value, [list(args), kwargs])

    def start_inline(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function as ``execute_inline_now`` does. Takes the other options of `execute` out of *kwargs*."""
        for option in ("delay", "taskid", "_queue"):
            kwargs.pop(option, None)
        if not self.takes_attempts:
            kwargs.pop("_attempts", None)
        function: Callable[..., Any] = self.__call__
        return function(*args, **kwargs)

    def retry(self, *args: Any, **kwargs: Any) -> EnqueuedTask | InlineTask | None:
        """
        Enqueue this task once more, after its retry_delay, unless its attempts are used up.

        The number of runs left is ``_attempts`` in *kwargs*, which a task that accepts it gets; else that of the run in
        which this is called.

        Returns:
            The new call, or None when no attempt is left.
        """
        return self.execute(*args, **kwargs) if self.use_attempt(kwargs) else None

    def use_attempt(self, kwargs: dict[str, Any]) -> bool:
        """Put into *kwargs* what makes them those of the next try. Returns whether there is one."""
        left = kwargs.pop("_attempts", None)
        if left is None:
            left = CURRENT_TASK.attempts_left if CURRENT_TASK.name == self.name else self.attempts
        left = attempts_number(left, f"_attempts of {self.name}") - 1
        if left < 1:
            return False
        kwargs["_attempts"] = left
        kwargs.setdefault("delay", self.retry_delay)
        return True


def _takes(function: Callable[..., Any], name: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have none
        return False
    return any(p.kind is p.VAR_KEYWORD or (p.name == name and p.kind is not p.POSITIONAL_ONLY) for p in parameters)


def _run_coroutine(awaitable: Any) -> Any:
    import asyncio

    async def whole() -> Any:
        return await awaitable

    return asyncio.run(whole())


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

    def __init__(self, name: str, taskid: str, queue: str | bytes, task: Task[..., Any] | None = None) -> None:
        self.name = name
        self.taskid = name_text(taskid, "taskid")
        self.queue = name_text(queue, "queue")
        self.task = task

    def __repr__(self) -> str:
        return f"<EnqueuedTask taskid={self.taskid} queue={self.queue} function={self.name}>"

    @property
    def keys(self) -> QueueKeys:
        """The keys of its queue."""
        return self.app.task_keys(self.queue)

    def whereabouts(self) -> Operation[list[Whereabouts]]:
        """Asks where it is."""
        return moves.whereabouts(self.keys, [self.taskid])

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
        return args_of(self.app.broker.execute(self.whereabouts())[0])

    @property
    def result(self) -> Any:
        """What the task returned, if it is done and has save_results > 0; else None. See `get`."""
        return result_in(self.app.broker.execute(self.whereabouts())[0].outcome)

    def wait(self, timeout: float = 30) -> bool:
        """Block until it has at least started, or *timeout* seconds are over. Returns whether it has."""
        return self.app.broker.run(self.waiting(timeout))

    def waiting(self, timeout: float) -> Flow[bool]:
        """What `wait` says to Redis."""
        seconds = messages.seconds(timeout, "timeout")
        [where] = yield from self._watch(has_started, seconds)
        return has_started([where])

    def get(self, timeout: float | None = None) -> Any:
        """
        Block until it is over and return what it returned.

        Args:
            timeout: seconds; None: for ever.

        Returns:
            The value; None for a task without save_results.

        Raises:
            TaskFailed: it raised, or was given up; `.error` has exception, traceback, host and pid.
            TaskLost: its worker died, and it may be run at most once.
            TaskCancelled: it was cancelled.
            ResultTimeout: a TimeoutError; it may still end.
        """
        return self.app.broker.run(self.getting(timeout))

    def getting(self, timeout: float | None) -> Flow[Any]:
        """What `get` says to Redis."""
        seconds = 1e9 if timeout is None else messages.seconds(timeout, "timeout")
        [where] = yield from self._watch(is_over, seconds)
        if where.state not in OVER:
            raise ResultTimeout(
                f"{self.name} {self.taskid}: expected it to end within {seconds:g} s, it is {status_of(where)}"
            )
        if where.state is State.CANCELLED:
            raise TaskCancelled(f"{self.name} {self.taskid} was cancelled before it started")
        if where.state in (State.FAILED, State.DEAD, State.LOST):
            raise failure_of(self.name, where)
        return result_in(where.outcome)

    def _watch(self, over: Callable[[list[Whereabouts]], bool], timeout: float) -> Watch[list[Whereabouts]]:
        channels = [self.keys.events + self.taskid.encode()]
        if self.task is None or not self.task.save_results:
            channels.append(self.keys.events)  # its own end is not published; that of its round is
        return Watch(channels, self.whereabouts(), over, timeout)

    def cancel(self) -> bool | int:
        """
        Remove it if it has not started.

        Returns:
            True: it never runs. False: it is running, over, or unknown. -1: it had ended; its saved result is deleted.
        """
        return self.app.broker.run(self.cancelling())

    def cancelling(self) -> Flow[bool | int]:
        """What `cancel` says to Redis."""
        answer = yield from moves.cancel(self.keys, self.taskid, self.app.settings.remember_cancelled)
        return answer if answer == -1 else bool(answer)


class InlineTask:
    """What ``execute(execute_inline_now=True)`` returns: a call that ran already. Has the face of an EnqueuedTask."""

    status = "done"
    taskid = "inline"

    def __init__(self, task: Task[..., Any], value: Any, args: list[Any]) -> None:
        self.task, self.name, self.queue = task, task.name, task.queue
        self.result = value
        self.args = args

    def wait(self, timeout: float = 30) -> bool:
        """It has run."""
        return True

    def get(self, timeout: float | None = None) -> Any:
        """What the function returned."""
        return self.result

    def cancel(self) -> bool:
        """Too late."""
        return False


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
        flags = messages.parse_header(where.message.partition(b"|")[0])[3]
        return "late" if Flags.DELAYED in flags else "waiting"
    return str(where.state or State.DONE)


def args_of(where: Whereabouts) -> list[Any] | None:
    """A message as get_page shows it, ``[taskid, name, args, kwargs, available at]``; None when it is gone."""
    if not where.message:
        return None
    header, _, body = where.message.partition(b"|")
    name, args, kwargs = messages.decode_task(body)
    return [where.id, name, args, kwargs, messages.parse_header(header)[0]]


def result_in(outcome: bytes) -> Any:
    """The value in a kept outcome; None when there is none."""
    return messages.decode(outcome, "outcome").get("result") if outcome else None


def failure_of(name: str, where: Whereabouts) -> TaskFailed:
    """The exception to raise for a message that was given up."""
    error = messages.decode(where.error, "error record") if where.error else {}
    text = f"{name} {where.id}: {where.state} ({where.reason or 'given up'})"
    if error.get("exception"):
        text += f": {error['exception']}: {error.get('message', '')}"
    if error.get("traceback"):
        text += f"\n\n{error['traceback']}"
    return (TaskLost if where.state is State.LOST else TaskFailed)(text, error)
