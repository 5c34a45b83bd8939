"""Which tasks need a child."""

from __future__ import annotations

from typing import Any

from ...system import System
from ...tasks import Task

#: Pools whose tasks run in children.
IN_CHILDREN = ("processes", "fork")


def pool_of(task: Task[..., Any], pool: str) -> str:
    """The pool that a task runs in, on a worker of a *pool*."""
    if task.pool in IN_CHILDREN:
        return str(task.pool)
    own = task.pool or pool
    if task.is_async:
        return "sync" if own == "sync" else "asyncio"
    if own in IN_CHILDREN:
        return own
    if task.hard_timeout:
        return "processes"  # a thread cannot be stopped
    return "sync" if own == "sync" else "threads"


def need_children(system: System, pool: str) -> bool:
    """Whether any task that is registered runs in a child, on a worker of a *pool*."""
    tasks = system.settings.registry.values()
    return any(task.function is not None and pool_of(task, pool) in IN_CHILDREN for task in tasks)
