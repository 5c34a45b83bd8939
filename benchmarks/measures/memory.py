"""Bytes of Redis memory for each message."""

from __future__ import annotations

from benchmarks.measures import ONLY_OWN, line
from benchmarks.sides import Side


@line("memory of a queued no-op task", "bytes")
def queued(side: Side) -> float:
    side.stock(10)
    before = side.server.memory
    number = side.stock(depth(side))
    return (side.server.memory - before) / number


@line("memory that a lease adds", "bytes", peers=ONLY_OWN)
def leased(side: Side) -> float:
    number = side.stock(depth(side))
    before = side.server.memory
    side.call("lease", number=number)
    return (side.server.memory - before) / number


def depth(side: Side) -> int:
    """Messages in a sample: the same for all peers, since hash tables grow by doubling."""
    return max(int(6_000 * side.seconds), 100)
