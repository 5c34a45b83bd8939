"""new_rpqueue(): a module per App, with the names that ``rpqueue`` itself has."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

from .app import App
from .current import RunningTask, current_task, current_tasks
from .errors import RefusedInput, RetryException, SoftTimeout, StopRetry, TaskTimeout
from .keys import name_text
from .locks import NoLock
from .middleware import Middleware, TaskRunner
from .periods import cron_expr, periodic
from .retry import exponential, fixed, linear
from .running import CURRENT_TASK
from .settings import Settings
from .version import VERSION

#: Public names that are methods of the App, or classes of its own.
METHODS = [
    "task",
    "periodic_task",
    "cron_task",
    "Task",
    "EnqueuedTask",
    "Data",
    "SimpleLock",
    "execute_tasks",
    "execute_task_threads",
    "flush_tasks",
    "result",
    "results",
    "get_task",
    "call_task",
    "pipeline",
    "known_tasks",
    "known_queues",
    "queue_sizes",
    "clear_queue",
    "set_priority",
    "set_key_prefix",
    "set_redis_connection",
    "set_redis_connection_settings",
    "script_load",
    "get_connection",
    "get_page",
    "read_deadletter",
    "delete_item",
    "redrive",
    "purge_errored_tasks",
]

#: Public names that are the same in every module.
SHARED: dict[str, Any] = {
    "CURRENT_TASK": CURRENT_TASK,
    "Middleware": Middleware,
    "NoLock": NoLock,
    "RetryException": RetryException,
    "RunningTask": RunningTask,
    "SoftTimeout": SoftTimeout,
    "StopRetry": StopRetry,
    "TaskRunner": TaskRunner,
    "TaskTimeout": TaskTimeout,
    "VERSION": VERSION,
    "cron_expr": cron_expr,
    "current_task": current_task,
    "current_tasks": current_tasks,
    "exponential": exponential,
    "fixed": fixed,
    "linear": linear,
    "periodic": periodic,
}

#: The modules that new_rpqueue() made, by name.
MODULES: dict[str, ModuleType] = {}


def expose(app: App, namespace: dict[str, Any]) -> None:
    """Give a module's namespace the names of an App."""
    for name in METHODS:
        namespace[name] = getattr(app, name)
    namespace.update(
        app=app,
        **SHARED,
        log_handler=logging.getLogger("rpqueue"),
        logging=logging,
        new_rpqueue=new_rpqueue,
        __getattr__=legacy_name,
    )


def new_rpqueue(name: str, pfix: str | bytes | None = None) -> ModuleType:
    """
    A module like ``rpqueue`` itself, with a connection, settings and a registry of its own.

    Args:
        name: asking again for a name gives the same module.
        pfix: its key prefix; None: "rpqueue", the default one.

    Raises:
        RefusedInput: the name is taken by a module with another prefix.
    """
    prefix = "rpqueue" if pfix is None else name_text(pfix, "pfix")
    known = MODULES.get(name)
    if known is not None:
        if known.app.settings.key_prefix != prefix:
            raise RefusedInput(
                f"new_rpqueue({name!r}): expected prefix {known.app.settings.key_prefix!r}, which it was made with, "
                f"got {prefix!r}; choose another name"
            )
        return known
    module = ModuleType(f"rpqueue:{name}", f"The rpqueue named {name!r}, with prefix {prefix!r}.")
    app = App(prefix=prefix, settings=Settings(vars(module)))
    expose(app, vars(module))
    MODULES[name] = module
    return module


def legacy_name(name: str) -> Any:
    """Names that are looked up only when asked for, because they are costly: ``CronTab``."""
    if name == "CronTab":
        from crontab import CronTab

        return CronTab
    raise AttributeError(f"module 'rpqueue' has no attribute {name!r}")
