"""
What every peer can be asked to do.

An adapter is a class `Adapter` in ``peers/NAME.py``. It runs in the peer's own environment, under `agent`; the worker
command that it names imports the same file, for the tasks that it declares. Everything marked *async* may be an
``async def`` or a plain function, as the library has it. Where a library has to connect first, an adapter has a method
`open` (*async*) that is called once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

#: The tasks that every peer declares; see `jobs` for what they do.
JOBS = ("noop", "stamp", "nap", "crunch", "echo")


class Facts(NamedTuple):
    """What the runner knows of a peer without having it."""

    title: str
    requirements: tuple[str, ...]  #: of its environment, pinned; empty: this checkout, in the runner's environment
    package: str  #: whose version and import time are told
    submits: int  #: calls enqueued one by one, and
    drains: int  #: no-op tasks drained per second one at a time, and
    best: int  #: at its best, all roughly: how much work makes one sample
    python: tuple[str, str] = ("3.10", "3.14")  #: oldest and newest that it runs on
    is_default: bool = False


class Peer(Protocol):
    """The one interface of all adapters."""

    #: None where the library cannot do it in a documented way.
    bulk: ClassVar[Any]
    roundtrip: ClassVar[Any]

    def submit(self, job: str, argument: Any) -> Awaitable[Any] | Any:
        """Enqueue one call of a job. *async*"""

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """
        Commands that together start so many worker processes.

        Args:
            processes: worker processes.
            slots: tasks at once in each; 0: whatever is best for no-op tasks, by the library's documentation.
        """


class BulkPeer(Peer, Protocol):
    """An adapter of a library that enqueues many calls at a time."""

    def bulk(self, job: str, arguments: Sequence[Any]) -> Awaitable[Any] | Any:
        """Enqueue many calls of a job in as few trips as it can. *async*"""


class AnsweringPeer(Peer, Protocol):
    """An adapter of a library that hands back results."""

    def roundtrip(self, argument: Any) -> Awaitable[Any] | Any:
        """Enqueue ``echo(argument)``, wait for its result and return it. *async*"""
