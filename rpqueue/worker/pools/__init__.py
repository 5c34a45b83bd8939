"""
Pools: where tasks run.

The slots of a pool pull: each asks the Fetcher for the next claim, runs it, and asks again. A new kind of pool is a
class with the members of `Pool`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from ...errors import RefusedInput, did_you_mean
from ...messages import seconds
from ...options import POOLS
from ..claims import Claim


class Pool(Protocol):
    """Slots in which tasks run at the same time."""

    slots: int  #: how many tasks it runs at the same time

    def run(self, monitor: Callable[[], None]) -> None:
        """Start the slots, and call *monitor*, which returns when the worker has stopped. Returns then."""

    def running(self) -> list[Claim]:
        """What runs now."""

    def cancel(self, claim: Claim) -> None:
        """Stop one of these, if that can be done here."""

    def join(self, timeout: float) -> bool:
        """Wait, at most *timeout* seconds, until nothing runs. Returns whether that is so."""

    def close(self) -> None:
        """Give up what still runs; its messages have been seen to."""


@dataclass(frozen=True)
class Pooling:
    """Where the tasks of a worker run that do not say, and when a process that ran some is replaced."""

    pool: str = "threads"  #: one of POOLS
    max_tasks: int | None = None  #: tasks after which it is; None: however many
    max_age: float | None = None  #: seconds; None: however old it is
    max_memory: int | None = None  #: bytes more than after its first task; None: however much


def pooling_of(
    pool: Any = "threads", max_tasks: Any = None, max_age: Any = None, max_memory: Any = None, threads: int = 1
) -> Pooling:
    """A checked Pooling of a worker with so many *threads*. RefusedInput says which value cannot be used."""
    if pool not in POOLS:
        raise RefusedInput(f"pool: expected one of {', '.join(POOLS)}, got {pool!r}{did_you_mean(str(pool), POOLS)}")
    if pool == "sync" and threads != 1:
        raise RefusedInput(f"pool: sync runs one task at a time; expected 1 thread for it, got {threads}")
    for value, what in ((max_tasks, "max_tasks"), (max_memory, "max_memory")):
        if value is not None and (type(value) is not int or value < 1):
            raise RefusedInput(f"{what}: expected a whole number >= 1, or None for no limit, got {value!r}")
    if max_age is not None:
        max_age = _age(max_age)
    return Pooling(pool, max_tasks, max_age, max_memory)


def _age(value: float | timedelta) -> float:
    age = seconds(value, "max_age")
    if not age:
        raise RefusedInput(f"max_age: expected more than 0 seconds, or None for no limit, got {value!r}")
    return age
