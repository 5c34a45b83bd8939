"""
Pools: where tasks run.

The slots of a pool pull: each asks the Fetcher for the next claim, runs it, and asks again. A new kind of pool is a
class with the members of `Pool`.
"""

from __future__ import annotations

from typing import Protocol

from ..claims import Claim


class Pool(Protocol):
    """Slots in which tasks run at the same time."""

    slots: int  #: how many tasks it runs at the same time

    def start(self) -> None:
        """Start the slots. Returns at once."""

    def running(self) -> list[Claim]:
        """What runs now."""

    def join(self, timeout: float) -> bool:
        """Wait, at most *timeout* seconds, until nothing runs. Returns whether that is so."""

    def close(self) -> None:
        """Give up what still runs; its messages have been seen to."""
