"""Declared: what is said of a task where it is declared, checked and made plain."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar

from . import messages
from .durability import Durability, durability_of
from .errors import RefusedInput, WrongType
from .keys import name_text
from .messages import FOREVER, Flags
from .middleware import TaskRunner
from .options import attempts_number, pool_name, queue_size, runner_of, task_names, timeouts, truth
from .recurring import Misfire, Overlap, Recurrence, recurrence_of
from .redaction import redaction_of
from .retry import most_retries, retrying_of
from .schedule import Every, Schedule

if TYPE_CHECKING:
    from .app import App

#: Flags as plain numbers, which Python adds up faster.
USE_DEAD, WATCHED, DELAYED = int(Flags.USE_DEAD), int(Flags.WATCHED), int(Flags.DELAYED)
RECOVER = int(Flags.RECOVER)
#: Deliveries of a task whose retry method alone knows when it is enough.
MOST_DELIVERIES = 999_999_999


P = ParamSpec("P")
R = TypeVar("R")


class Declared(Generic[P, R]):
    """
    A function, and what its declaration says about calls and runs of it.

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
        durability: what enqueueing waits for: "replicated", "fsync", or False, Redis's answer; None: what DURABILITY
            says.
        redact: names of parameters, or numbers of positional ones, that are hidden from who only looks; True: all.
        retry: whether it runs again after an exception, by its retry method; None: when one of the next three is given.
        retry_on: exception classes after which it does; None: Exception.
        dont_retry_on: exception classes after which it does not, though they are subclasses of those.
        retry_method: when; see `retry`. None: DEFAULT_RETRY_METHOD.
        hard_timeout: seconds after which a run is stopped, with TaskTimeout; 0: never.
        soft_timeout: seconds after which SoftTimeout is raised inside of a run; 0: never.
        pool: where it runs: "threads", "processes" or "fork"; None: wherever the worker runs tasks, or on its event
            loop when it is ``async def``.
        recover: whether it runs again after its worker died, however long it runs.
        aliases: names that it had before; calls that have one of them run, too.
        runner_class: a subclass of TaskRunner.
        max_queue_size: messages that its queue may hold when a call is enqueued; 0: as many as there are.
        misfire: see `recurrence_of`, as for the next four; only with *delay*.
        misfire_grace: seconds.
        misfire_cap: slots.
        overlap: see misfire.
        jitter: seconds.
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
        *,
        durability: Durability | None = None,
        redact: bool | Iterable[str | int] = False,
        retry: bool | None = None,
        retry_on: Any = None,
        dont_retry_on: Any = None,
        retry_method: Any = None,
        hard_timeout: float | timedelta = 0,
        soft_timeout: float | timedelta = 0,
        pool: str | None = None,
        recover: bool = False,
        aliases: Iterable[str] = (),
        runner_class: type[TaskRunner] | None = None,
        max_queue_size: int = 0,
        misfire: Misfire | None = None,
        misfire_grace: float | timedelta = 60,
        misfire_cap: int = 100,
        overlap: Overlap | None = None,
        jitter: float | timedelta = 0,
    ) -> None:
        self.queue = name_text(queue, "queue")
        self.name = name_text(name, "task name")
        self.function = function
        self.attempts = attempts_number(attempts, f"attempts of {name}")
        self.retry_delay = messages.seconds(retry_delay, f"retry_delay of {name}")
        self.save_results = messages.seconds(save_results, f"save_results of {name}")
        self.vis_timeout = messages.seconds(vis_timeout, f"vis_timeout of {name}")
        self.use_dead = bool(use_dead)
        self.durability = durability_of(durability, f"durability of {name}")
        self.redaction = redaction_of(redact, f"redact of {name}", function)
        self.low_delay_okay = bool(low_delay_okay)
        self.never_skip = bool(never_skip)
        if self.queue == self.app.settings.deadletter_queue:
            raise RefusedInput(f"queue of {name}: {self.queue!r} is the dead-letter view; choose another name")
        self.recurrence = self._recurrence(delay, misfire, misfire_grace, misfire_cap, overlap, jitter)
        self.is_async = inspect.iscoroutinefunction(function)
        self.retrying = retrying_of(retry, retry_on, dont_retry_on, retry_method, name)
        self.recover = truth(recover, f"recover of {name}")
        self.hard_timeout, self.soft_timeout = timeouts(hard_timeout, soft_timeout, self.vis_timeout, name)
        self.pool = None if pool is None else pool_name(pool, name, None if function is None else self.is_async)
        self.aliases = task_names(aliases, f"aliases of {name}")
        self.max_queue_size = queue_size(max_queue_size, f"max_queue_size of {name}")
        self.runner_class = runner_of(runner_class, f"runner_class of {name}")
        #: Seconds of visibility timeout that its messages ask for; 0: they are delivered at most once.
        self.lease = self.vis_timeout or (FOREVER if self.recover else 0.0)
        self.takes_attempts = function is not None and _takes(function, "_attempts")
        self.takes_when = function is not None and "when" in _parameters(function)
        if function is not None:
            self.__doc__ = function.__doc__
            self.__module__ = function.__module__
            self.__wrapped__ = function
            for known_as in (self.name, *self.aliases):
                self.app.settings.registry[known_as] = self

    @property
    def redact(self) -> bool | list[str | int]:
        """Which arguments are hidden, for other processes."""
        return False if self.redaction is None else self.redaction.told

    @property
    def schedule(self) -> Schedule | None:
        """When it recurs; None: it does not."""
        return None if self.recurrence is None else self.recurrence.schedule

    def _recurrence(
        self, delay: Any, misfire: Any, misfire_grace: Any, misfire_cap: Any, overlap: Any, jitter: Any
    ) -> Recurrence | None:
        if delay is None:
            if misfire or overlap or jitter:
                raise RefusedInput(f"misfire, overlap and jitter of {self.name}: expected a schedule, too, got none")
            return None
        schedule = self._schedule(delay)
        return recurrence_of(schedule, misfire, misfire_grace, misfire_cap, overlap, jitter, self.name)

    def _schedule(self, delay: Schedule | float | timedelta) -> Schedule:
        if isinstance(delay, (int, float, timedelta)):
            interval = messages.seconds(delay, f"run_every of {self.name}")
            least = self.app.settings.minimum_delay
            if interval < least and not self.low_delay_okay:
                raise RefusedInput(
                    f"run_every of {self.name}: expected at least {least:g} s (MINIMUM_DELAY), got {interval:g}; "
                    "say low_delay_okay=True if that is meant"
                )
            return Every(interval, never_skip=self.never_skip)
        if not isinstance(delay, Schedule):
            raise WrongType(f"run_every of {self.name}: expected seconds, a timedelta or a Schedule, got {delay!r}")
        return delay

    @property
    def deliveries(self) -> int:
        """Runs in all that its calls may have, as far as that is known before a retry method is asked."""
        if self.retrying is None or self.attempts > 1:
            return self.attempts
        method = self.retrying.method
        most = most_retries(self.app.settings.default_retry_method if method is None else method)
        return MOST_DELIVERIES if most is None else most + 1

    def __repr__(self) -> str:
        return f"<Task function={self.name} queue={self.queue}>"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
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

    def header_tail(self, attempts: int | None = None, *, delayed: bool = False) -> str:
        """What the header of its messages says beside the instant."""
        flags = (
            USE_DEAD * self.use_dead + WATCHED * (self.save_results > 0) + DELAYED * delayed + RECOVER * self.recover
        )
        deliveries = (attempts or self.deliveries) if self.lease else 1
        return messages.header_tail(self.lease, deliveries, flags)


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some builtins have none
        return {}


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = _parameters(function).values()
    return any(p.kind is p.VAR_KEYWORD or (p.name == name and p.kind is not p.POSITIONAL_ONLY) for p in parameters)
