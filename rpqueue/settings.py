"""
Every setting: its default, its unit, what it accepts.

A setting lives in the namespace of the module that shows it, so ``rpqueue.DEFAULT_QUEUE = "x"`` and ``mock.patch`` just
work. `Settings` is a typed view of that namespace, read when it is used.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, Generic, TypeVar, overload

from . import logs, messages, retry, signing
from .durability import durability_of
from .errors import RpqueueError, SettingError
from .keys import name_text

T = TypeVar("T")


class Flag:
    """``flag[0]`` is 0 or 1, and forked children share it: what one process sets, all see."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def __getitem__(self, index: int) -> int:
        self._check(index)
        return self._memory[0]

    def __setitem__(self, index: int, value: object) -> None:
        self._check(index)
        self._memory[0] = 1 if value else 0

    def __bool__(self) -> bool:
        return bool(self._memory[0])

    def __repr__(self) -> str:
        return f"[{self._memory[0]}]"

    def __reduce__(self) -> tuple[type[Flag], tuple[()]]:
        return (Flag, ())  # a spawned child gets its own; the Supervisor tells it by signal

    @staticmethod
    def _check(index: int) -> None:
        if index != 0:
            raise IndexError(f"a Flag has only [0], got [{index}]")


class Setting(Generic[T]):
    """A name that may be assigned on the module: ``default_queue`` is ``DEFAULT_QUEUE``."""

    def __init__(self, default: Callable[[], Any], accept: Callable[[Any, str], T], doc: str) -> None:
        self.default = default
        self.accept = accept
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name.upper()

    @overload
    def __get__(self, settings: None, owner: type) -> Setting[T]: ...
    @overload
    def __get__(self, settings: Settings, owner: type) -> T: ...
    def __get__(self, settings: Settings | None, owner: type) -> T | Setting[T]:
        if settings is None:
            return self
        value = settings.namespace[self.name]
        try:
            seen, accepted = settings.accepted[self.name]
        except KeyError:
            pass
        else:
            if seen is value:
                return accepted  # type: ignore[no-any-return]
        try:
            accepted = self.accept(value, self.name)
            settings.accepted[self.name] = value, accepted
            return accepted
        except SettingError:
            raise
        except (RpqueueError, TypeError, ValueError) as error:
            raise SettingError(f"setting {error}") from error

    def __set__(self, settings: Settings, value: Any) -> None:
        settings.namespace[self.name] = value


def _whole(least: int) -> Callable[[Any, str], int]:
    def accept(value: Any, what: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise SettingError(f"setting {what}: expected a whole number >= {least}, got {value!r}")
        return value

    return accept


def _whole_or_none(least: int) -> Callable[[Any, str], int | None]:
    accept = _whole(least)
    return lambda value, what: None if value is None else accept(value, what)


def _seconds(least: float) -> Callable[[Any, str], float]:
    def accept(value: Any, what: str) -> float:
        return messages.seconds(value, what, least=least)

    return accept


def _truth(value: Any, what: str) -> bool:
    return bool(value)


def _level_or_none(value: Any, what: str) -> int | None:
    return None if value is None else logs.level(value, what)


def _path_or_none(value: Any, what: str) -> str | None:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if path is None or (isinstance(path, str) and path):
        return path
    raise SettingError(f"setting {what}: expected the path of a file, or None, got {value!r}")


def _any(value: Any, what: str) -> Any:
    return value


def _list(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise SettingError(f"setting {what}: expected a list, got {value!r}")
    return value  # itself, so that what is appended to it later counts


def _middleware(value: Any, what: str) -> Sequence[Any]:
    for one in _list(value, what):
        if isinstance(one, type) or not callable(getattr(one, "around", None)):
            raise SettingError(f"setting {what}: expected instances of classes derived from Middleware, got {one!r}")
    return value  # type: ignore[no-any-return]


def _makers(value: Any, what: str) -> Sequence[Any]:
    for one in _list(value, what):
        if not callable(one):
            raise SettingError(f"setting {what}: expected functions that return a context manager, got {one!r}")
    return value  # type: ignore[no-any-return]


class Settings:
    """
    What an App may be told, live.

    Args:
        namespace: where the values are kept, a module's ``vars()``; names that it lacks get their defaults.
    """

    default_queue = Setting(lambda: "default", name_text, "Queue of tasks that name none.")
    deadletter_queue = Setting(
        lambda: "DEADLETTER_QUEUE", name_text, "Name of the view over all dead-lettered messages."
    )
    key_prefix = Setting(lambda: "rpqueue", name_text, "First part of every key in Redis.")
    minimum_delay = Setting(
        lambda: 1.0, _seconds(0), "Shortest interval, in seconds, of a recurring task without low_delay_okay."
    )
    queue_items_per_pass = Setting(lambda: 100, _whole(1), "Messages of one queue that one pass promotes, and reaps.")
    reentry_retry = Setting(
        lambda: 5, _whole(1), "Passes of QUEUE_ITEMS_PER_PASS that one call to Redis makes at most."
    )
    execute_tasks = Setting(lambda: False, _truth, "Whether this process executes tasks; execute_tasks() sets it.")
    keep_redis_task_registry = Setting(
        lambda: False, _truth, "Keep every task that was ever known in Redis's registry."
    )
    redis_task_registry_auto_clear = Setting(
        lambda: True, _truth, "Forget tasks in Redis's registry that no worker has known for a week."
    )
    log_level = Setting(
        lambda: None, _level_or_none, 'Level that a worker gives the logger "rpqueue"; None: as logging is configured.'
    )
    success_log_level = Setting(lambda: "debug", logs.level, "Level of 'task finished' log records.")
    after_fork = Setting(
        lambda: None, _any, "Called without arguments in each worker process after its fork; None: nothing."
    )
    should_quit = Setting(Flag, _any, "``[0] = 1`` stops execute_tasks(), in forked children too.")
    registry = Setting(dict, _any, "``{task name: Task}`` of the tasks that this process knows.")

    worker_ttl = Setting(
        lambda: 15.0, _seconds(0.1), "Seconds after which a silent worker counts as dead and its leases end."
    )
    heartbeat = Setting(
        lambda: 1.0,
        _seconds(0.01),
        "Seconds between two looks of a worker at what it runs: which leases to extend, six times in WORKER_TTL at"
        " least, and which runs to stop.",
    )
    poison_crashes = Setting(
        lambda: 3, _whole(0), "Worker deaths after which a message is dead-lettered as poison; 0: never."
    )
    keep_failed = Setting(
        lambda: 1000, _whole(0), "Failed messages, not dead-lettered ones, that each queue keeps to look at."
    )
    keep_dead = Setting(
        lambda: 100_000, _whole_or_none(1), "Dead messages that each queue keeps, the newest ones; None: all of them."
    )
    keep_lost = Setting(
        lambda: 100_000, _whole_or_none(1), "Lost messages that each queue keeps, the newest ones; None: all of them."
    )
    failed_ttl = Setting(lambda: 30 * 86_400.0, _seconds(0), "Seconds for which failed messages are kept; 0: for ever.")
    dead_ttl = Setting(lambda: 180 * 86_400.0, _seconds(0), "Seconds for which dead messages are kept; 0: for ever.")
    lost_ttl = Setting(lambda: 180 * 86_400.0, _seconds(0), "Seconds for which lost messages are kept; 0: for ever.")
    keep_executions = Setting(lambda: 10, _whole(1), "Failed runs that each message remembers, with their tracebacks.")
    store_tracebacks = Setting(lambda: True, _truth, "Whether the record of a failed run has its traceback.")
    keep_checkpoints = Setting(
        lambda: 7 * 86_400.0, _seconds(1), "Seconds for which the checkpoint of a message that did not end is kept."
    )
    default_retry_method = Setting(
        lambda: retry.fixed(60, 3), retry.method_of, "When a task runs again that retries, and names no retry_method."
    )
    middleware = Setting(list, _middleware, "`Middleware` around every run, the first one outermost.")
    child_context_managers = Setting(
        list, _makers, "Functions that return a context manager, which is entered around every run, where it runs."
    )
    max_message_bytes = Setting(
        lambda: messages.MAX_MESSAGE_BYTES, _whole(0), "Most bytes of JSON in one message; 0: no limit."
    )
    claim_ahead = Setting(lambda: 0.005, _seconds(0), "Seconds of work that a process claims before it can start it.")
    async_slots = Setting(lambda: 100, _whole(1), "``async def`` tasks that one process runs at the same time.")
    remember_cancelled = Setting(
        lambda: 86_400.0, _seconds(0), "Seconds for which a cancelled task's status stays known."
    )
    durability = Setting(
        lambda: None,
        durability_of,
        'What an enqueue waits for unless it is told otherwise: "replicated", "fsync", or None: Redis\'s answer.',
    )
    durability_replicas = Setting(lambda: 1, _whole(1), 'Replicas that must have what is enqueued as "replicated".')
    durability_timeout = Setting(
        lambda: 1.0, _seconds(0.001), "Seconds for which an enqueue waits until that is confirmed."
    )
    health_file = Setting(
        lambda: None,
        _path_or_none,
        "File in which a worker says how it is, for `rpqueue health --file`; None: it keeps none.",
    )
    signing_keys = Setting(
        lambda: None,
        signing.secrets_of,
        "``{id: secret}`` of the keys of signatures; the first one signs. None: RPQUEUE_SIGNING_KEYS says.",
    )
    signing_required = Setting(
        lambda: None,
        signing.required_of,
        "Whether to refuse what is not signed; None: what RPQUEUE_SIGNING_REQUIRED says, 0 or 1.",
    )

    always_eager = Setting(
        lambda: False, _truth, "Whether calls without a delay run when they are made, without Redis; for tests."
    )
    eager_propagates = Setting(
        lambda: False, _truth, "Whether a call that ALWAYS_EAGER runs raises what its task raised, when it is made."
    )

    def __init__(self, namespace: MutableMapping[str, Any] | None = None) -> None:
        self.namespace: MutableMapping[str, Any] = {} if namespace is None else namespace
        #: By name: the value that was found acceptable last, and what it was taken as.
        self.accepted: dict[str, tuple[Any, Any]] = {}
        for setting in self.all():
            if setting.name not in self.namespace:
                self.namespace[setting.name] = setting.default()

    # Asked once or twice for each call of a task: so these do without the checks, which take ten times as long.

    @property
    def is_watched(self) -> bool:
        """Whether there is middleware."""
        return bool(self.namespace["MIDDLEWARE"])

    @property
    def is_surrounding(self) -> bool:
        """Whether something is entered around every run."""
        return bool(self.namespace["MIDDLEWARE"] or self.namespace["CHILD_CONTEXT_MANAGERS"])

    @classmethod
    def all(cls) -> list[Setting[Any]]:
        """Every setting, in the order in which they are declared."""
        return [value for value in vars(cls).values() if isinstance(value, Setting)]

    def snapshot(self) -> dict[str, Any]:
        """The plain values, for a child process that imports everything anew."""
        live = {"SHOULD_QUIT", "REGISTRY", "AFTER_FORK", "EXECUTE_TASKS", "MIDDLEWARE", "CHILD_CONTEXT_MANAGERS"}
        return {setting.name: self.namespace[setting.name] for setting in self.all() if setting.name not in live}
