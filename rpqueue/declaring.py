"""The decorators that make tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, overload

from . import tasks
from .durability import Durability
from .errors import RefusedInput, WrongType
from .middleware import TaskRunner
from .options import task_names
from .periods import schedule_of
from .recurring import Misfire, Overlap
from .retry import RetryMethod
from .schedule import Cron, Schedule
from .system import System

P = ParamSpec("P")
R = TypeVar("R")

#: Exception classes, one or several.
RetryOn = type[BaseException] | Iterable[type[BaseException]] | None
#: What tells the slots of a recurring task; see `periods`.
AnySchedule = Schedule | Callable[..., Any] | tuple[Callable[..., Any], tuple[Any, ...]] | None

#: Options of `task` that recurring tasks take, too, beside those that their decorators name.
OPTIONS = frozenset(
    {
        "durability",
        "redact",
        "retry",
        "retry_on",
        "dont_retry_on",
        "retry_method",
        "hard_timeout",
        "soft_timeout",
        "pool",
        "recover",
        "aliases",
        "runner_class",
        "max_queue_size",
        "misfire",
        "misfire_grace",
        "misfire_cap",
        "overlap",
        "jitter",
    }
)


class Declaring(System):
    """An App's decorators."""

    Task: type[tasks.Task[..., Any]]

    @overload
    def task(self, args: Callable[P, R]) -> tasks.Task[P, R]: ...
    @overload
    def task(
        self,
        args: None = None,
        queue: str | bytes | None = None,
        attempts: int = 1,
        retry_delay: float = 30,
        save_results: float = 0,
        vis_timeout: float = 0,
        use_dead: bool = False,
        *,
        name: str | None = None,
        durability: Durability | None = None,
        redact: bool | Iterable[str | int] = False,
        retry: bool | None = None,
        retry_on: RetryOn = None,
        dont_retry_on: RetryOn = None,
        retry_method: RetryMethod | None = None,
        hard_timeout: float | timedelta = 0,
        soft_timeout: float | timedelta = 0,
        pool: str | None = None,
        recover: bool = False,
        aliases: Iterable[str] = (),
        runner_class: type[TaskRunner] | None = None,
        max_queue_size: int = 0,
        schedule: AnySchedule = None,
        misfire: Misfire | None = None,
        misfire_grace: float | timedelta = 60,
        misfire_cap: int = 100,
        overlap: Overlap | None = None,
        jitter: float | timedelta = 0,
    ) -> Callable[[Callable[P, R]], tasks.Task[P, R]]: ...
    def task(
        self,
        args: Any = None,
        queue: str | bytes | None = None,
        attempts: int = 1,
        retry_delay: float = 30,
        save_results: float = 0,
        vis_timeout: float = 0,
        use_dead: bool = False,
        *,
        name: str | None = None,
        durability: Durability | None = None,
        redact: bool | Iterable[str | int] = False,
        retry: bool | None = None,
        retry_on: RetryOn = None,
        dont_retry_on: RetryOn = None,
        retry_method: RetryMethod | None = None,
        hard_timeout: float | timedelta = 0,
        soft_timeout: float | timedelta = 0,
        pool: str | None = None,
        recover: bool = False,
        aliases: Iterable[str] = (),
        runner_class: type[TaskRunner] | None = None,
        max_queue_size: int = 0,
        schedule: AnySchedule = None,
        misfire: Misfire | None = None,
        misfire_grace: float | timedelta = 60,
        misfire_cap: int = 100,
        overlap: Overlap | None = None,
        jitter: float | timedelta = 0,
        **unknown: Any,
    ) -> Any:
        """
        Make a function a task: ``@task``, or ``@task(queue="mail", attempts=3)``.

        Args:
            args: the function, when used without parentheses.
            queue: None: DEFAULT_QUEUE.
            attempts: deliveries in all when *vis_timeout* is given; else how often `Task.retry` lets it run in all.
            retry_delay: seconds between a failure and the next delivery, which comes no later than the visibility
                timeout would have ended; and between `Task.retry` and the next run.
            save_results: seconds to keep what it returns; 0: not at all.
            vis_timeout: seconds it may take before it is delivered again. 0: it is delivered at most once.
            use_dead: whether it is dead-lettered when it is given up.
            name: how messages name it; None: ``module.qualname``.
            durability: what enqueueing waits for: "replicated", replicas that have it; "fsync", the master's disk;
                False, Redis's answer. None: what DURABILITY says.
            redact: names of parameters whose values nobody sees who only looks: in listings of waiting and of dead
                calls, on the command line, in logs and in records of errors. True: of all. What is stored, and what the
                function gets, is unchanged.
            retry: whether it runs again after an exception, as its retry method says; None: if one of the next three is
                given. Without, *attempts* says, for tasks with *vis_timeout* alone.
            retry_on: an exception class, or several, after which it does, TaskTimeout for one; None: any Exception.
            dont_retry_on: exception classes after which it does not, though *retry_on* has them.
            retry_method: ``fixed(60, 3)`` and the like, or a function of the number of runs so far, which returns
                seconds or raises StopRetry; see `retry`. None: DEFAULT_RETRY_METHOD. *attempts* over 1 bounds it, too.
            hard_timeout: seconds after which a run is killed, and has failed with TaskTimeout. Coroutines are
                cancelled; a plain function runs in a child process for that. 0: never.
            soft_timeout: seconds after which SoftTimeout is raised inside of a run, which may clean up. 0: never.
            pool: where it runs: "threads", "processes" (reused children) or "fork" (one for each run); "asyncio" for an
                ``async def``. None: where the worker runs tasks that do not say, or on the event loop.
            recover: whether it runs again after its worker died, however long it runs: its worker's heartbeat keeps the
                lease, which does not end after *vis_timeout*; that may still be given, as the longest time.
            aliases: names that it had before, so that calls under these find it.
            runner_class: a subclass of TaskRunner, which calls the function.
            max_queue_size: messages, ready, scheduled, leased and parked, that its queue may hold when a call comes;
                more are refused with QueueFull. 0: as many as there are. Firings of its schedule are not refused.
            schedule: has it run by itself, without arguments: ``periodic(minutes=5)``, ``cron_expr("0 4 * * 0")``, a
                function that takes a datetime in UTC and returns the next one or None, a tuple of that function and
                more arguments for it, or a Schedule. The next five are only for a task that has one.
            misfire: what becomes of slots that no worker was there for. "skip": they are left out; "once": of those
                missed in a row, one is fired, late; "all": each is fired, one after the other. None: "once".
            misfire_grace: with "skip", seconds by which a slot may be late and is still fired.
            misfire_cap: with "all", how many are fired at most, the newest ones; 1 to 10,000.
            overlap: what becomes of a slot while the last call has not ended. "allow": it is fired; "queue_one": unless
                the last one still waits to be started; "skip": it is not. None: "queue_one", and "allow" with "all".
            jitter: seconds, of which each call waits for a random part.
            unknown: refused, with the nearest known name.

        Raises:
            RefusedInput: a value is out of range, or another function has the name already.
        """
        _refuse_unknown("task", unknown, self.task)

        def decorate(function: Callable[P, R]) -> tasks.Task[P, R]:
            return self._declare(
                function,
                name,
                queue,
                attempts=attempts,
                retry_delay=retry_delay,
                save_results=save_results,
                vis_timeout=vis_timeout,
                use_dead=use_dead,
                durability=durability,
                redact=redact,
                retry=retry,
                retry_on=retry_on,
                dont_retry_on=dont_retry_on,
                retry_method=retry_method,
                hard_timeout=hard_timeout,
                soft_timeout=soft_timeout,
                pool=pool,
                recover=recover,
                aliases=aliases,
                runner_class=runner_class,
                max_queue_size=max_queue_size,
                delay=None if schedule is None else schedule_of(schedule, "schedule"),
                misfire=misfire,
                misfire_grace=misfire_grace,
                misfire_cap=misfire_cap,
                overlap=overlap,
                jitter=jitter,
            )

        return decorate if args is None else decorate(args)

    def periodic_task(
        self,
        run_every: float | timedelta | Schedule,
        queue: str | bytes | None = None,
        never_skip: bool = False,
        attempts: int = 1,
        retry_delay: float = 30,
        low_delay_okay: bool = False,
        save_results: float = 0,
        name: str | None = None,
        vis_timeout: float = 0,
        use_dead: bool = False,
        **options: Any,
    ) -> Callable[[Callable[P, R]], tasks.Task[P, R]]:
        """
        Run a function every *run_every* seconds (or timedelta), once per slot however many workers there are.

        Args:
            run_every: at least MINIMUM_DELAY unless *low_delay_okay*; or a Schedule of your own.
            queue: None: DEFAULT_QUEUE.
            never_skip: True makes up for slots that no worker was there for, one after the other; False skips them.
            attempts: see `task`; so are retry_delay, save_results, vis_timeout, use_dead and name.
            retry_delay: see `task`.
            low_delay_okay: whether shorter intervals than MINIMUM_DELAY are meant.
            save_results: see `task`.
            name: see `task`.
            vis_timeout: see `task`.
            use_dead: see `task`.
            options: more of those that `task` takes, such as retry_method or hard_timeout.
        """
        _refuse_unknown("periodic_task", options, self.task, OPTIONS)
        if run_every is None:
            raise WrongType("run_every: expected seconds or a timedelta, got None")

        def decorate(function: Callable[P, R]) -> tasks.Task[P, R]:
            return self._declare(
                function,
                name,
                queue,
                delay=run_every,
                never_skip=never_skip,
                attempts=attempts,
                retry_delay=retry_delay,
                low_delay_okay=low_delay_okay,
                save_results=save_results,
                vis_timeout=vis_timeout,
                use_dead=use_dead,
                **options,
            )

        return decorate

    def cron_task(
        self,
        crontab: Any,
        queue: str | bytes | None = None,
        never_skip: bool = False,
        attempts: int = 1,
        retry_delay: float = 30,
        save_results: float = 0,
        name: str | None = None,
        *,
        timezone: Any = None,
        vis_timeout: float = 0,
        use_dead: bool = False,
        **options: Any,
    ) -> Callable[[Callable[P, R]], tasks.Task[P, R]]:
        """
        Run a function when a crontab line says so, once per slot however many workers there are.

        Args:
            crontab: a line such as ``"0 5 * * tue"``, with the ``crontab`` package's syntax, or a CronTab object.
            queue: None: DEFAULT_QUEUE.
            never_skip: True makes up for slots that no worker was there for.
            attempts: see `task`; so are retry_delay, save_results, vis_timeout, use_dead and name.
            retry_delay: see `task`.
            save_results: see `task`.
            name: see `task`.
            timezone: the line's time zone, a name or ZoneInfo; None: UTC.
            vis_timeout: see `task`.
            use_dead: see `task`.
            options: more of those that `task` takes, such as retry_method or hard_timeout.
        """
        _refuse_unknown("cron_task", options, self.task, OPTIONS)
        schedule: Schedule = Cron(crontab, never_skip=never_skip, timezone=timezone)

        def decorate(function: Callable[P, R]) -> tasks.Task[P, R]:
            return self._declare(
                function,
                name,
                queue,
                delay=schedule,
                never_skip=never_skip,
                attempts=attempts,
                retry_delay=retry_delay,
                save_results=save_results,
                vis_timeout=vis_timeout,
                use_dead=use_dead,
                **options,
            )

        return decorate

    def _declare(
        self, function: Callable[P, R], name: str | None, queue: str | bytes | None, **options: Any
    ) -> tasks.Task[P, R]:
        if isinstance(function, tasks.Task):
            raise RefusedInput(f"task: expected a function, got the task {function!r}; use its .function")
        if not callable(function):
            raise WrongType(f"task: expected a function, got {function!r}; give options by name: @task(queue=...)")
        full_name = name or task_name(function)
        self._check_free(full_name, function, "task name", "give one of them another with name=...")
        for alias in task_names(options.get("aliases", ()), f"aliases of {full_name}"):
            self._check_free(alias, function, f"aliases of {full_name}", "an alias is a name that no task has any more")
        make: Any = self.Task
        declared: tasks.Task[P, R] = make(queue or self.settings.default_queue, full_name, function, **options)
        return declared

    def _check_free(self, name: str, function: Any, what: str, hint: str) -> None:
        other = self.settings.registry.get(name)
        if other is not None and not _same_function(other.function, function):
            raise RefusedInput(
                f"{what}: expected names that no other task has, got {name!r}, which is that of {other.function!r}; "
                f"{hint}"
            )


def task_name(function: Callable[..., Any]) -> str:
    """``module.name`` of a function, as messages name it."""
    return f"{function.__module__}.{function.__name__}"


def _same_function(one: Any, other: Any) -> bool:
    """Whether two functions are one: the same, or the same place in a module that was imported again."""
    if one is other or one is None:
        return True
    ours, theirs = getattr(one, "__code__", None), getattr(other, "__code__", None)
    return ours is not None and theirs is not None and ours.co_filename == theirs.co_filename


def _refuse_unknown(what: str, given: dict[str, Any], function: Any, but: Iterable[str] = ()) -> None:
    """Refuse the first of *given* that is none of *but*; *function* has the parameters that there are."""
    unknown = [name for name in given if name not in but]
    if unknown:
        import inspect

        from .errors import did_you_mean

        known = [name for name in inspect.signature(function).parameters if name not in ("args", "unknown")]
        name = unknown[0]
        raise RefusedInput(
            f"{what}(): expected {', '.join(known)}; got {name}={given[name]!r}{did_you_mean(name, known)}"
        )
