"""What the options of a task may be. Each function returns what it was given, made plain, or says what is wrong."""

from __future__ import annotations

from typing import Any

from .errors import RefusedInput, WrongType, did_you_mean
from .keys import name_text
from .messages import seconds
from .middleware import TaskRunner

#: Where tasks run. A worker has one of these for all tasks that do not say.
POOLS = ("threads", "asyncio", "processes", "fork", "sync")


def attempts_number(value: Any, what: str) -> int:
    """*value* as a whole number >= 1; 3.0 is taken for 3."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongType(f"{what}: expected a whole number >= 1, got {value!r}")
    if not 1 <= value < 1e9 or value != int(value):
        raise RefusedInput(f"{what}: expected a whole number >= 1, got {value!r}")
    return int(value)


def timeouts(hard: Any, soft: Any, vis_timeout: float, task: str) -> tuple[float, float]:
    """``(hard_timeout, soft_timeout)`` in seconds, 0 for none."""
    hard_timeout, soft_timeout = seconds(hard, f"hard_timeout of {task}"), seconds(soft, f"soft_timeout of {task}")
    if hard_timeout and soft_timeout >= hard_timeout:
        raise RefusedInput(
            f"soft_timeout of {task}: expected less than hard_timeout ({hard_timeout:g} s), got {soft_timeout:g}"
        )
    if vis_timeout and max(hard_timeout, soft_timeout) > vis_timeout:
        raise RefusedInput(
            f"timeouts of {task}: expected at most vis_timeout ({vis_timeout:g} s), after which it is delivered again, "
            f"got {max(hard_timeout, soft_timeout):g}"
        )
    return hard_timeout, soft_timeout


def pool_name(pool: Any, task: str, is_async: bool | None) -> str:
    """One of POOLS. *is_async*: whether the task is an ``async def``; None: that is not known here."""
    own = POOLS[:-1]
    if pool == "sync":
        raise RefusedInput(
            f"pool of {task}: expected one of {', '.join(own)}; sync is a way of a whole worker, see --pool"
        )
    if pool not in own:
        raise RefusedInput(
            f"pool of {task}: expected one of {', '.join(own)}, got {pool!r}{did_you_mean(str(pool), own)}"
        )
    if is_async is True and pool == "threads":
        raise RefusedInput(f"pool of {task}: expected asyncio, processes or fork for an async def, got 'threads'")
    if is_async is False and pool == "asyncio":
        raise RefusedInput(f"pool of {task}: expected threads, processes or fork for a plain function, got 'asyncio'")
    name: str = pool
    return name


def queue_size(value: Any, what: str) -> int:
    """A number of messages; 0: as many as there are."""
    if type(value) is not int or not 0 <= value < 1_000_000_000_000:
        raise RefusedInput(f"{what}: expected a whole number of messages, or 0 for no limit, got {value!r}")
    return value


def truth(value: Any, what: str) -> bool:
    """True or False; not what only counts as such, such as a text."""
    if not isinstance(value, bool):
        raise WrongType(f"{what}: expected True or False, got {value!r}")
    return value


def task_names(value: Any, what: str) -> tuple[str, ...]:
    """Names of tasks."""
    if isinstance(value, (str, bytes)) or not hasattr(type(value), "__iter__"):
        raise WrongType(f"{what}: expected a list of names, got {value!r}")
    return tuple(name_text(one, what) for one in value)


def runner_of(value: Any, what: str) -> type[TaskRunner] | None:
    """A subclass of TaskRunner, or None."""
    if value is not None and not (isinstance(value, type) and issubclass(value, TaskRunner)):
        raise WrongType(f"{what}: expected a subclass of rpqueue.TaskRunner, got {value!r}")
    return value
