"""How fast one producer enqueues."""

from __future__ import annotations

from benchmarks.measures import ONLY_OWN, line
from benchmarks.sides import Side


@line("enqueue one by one", "tasks/s")
def single(side: Side) -> float:
    return side.submits / side.timed("enqueue", number=side.submits)


@line("enqueue in bulk", "tasks/s")
def bulk(side: Side) -> float:
    side.require("bulk")
    number = side.submits * 5
    return number / side.timed("bulk", number=number)


@line("PINGs over a bare connection", "round trips/s", peers=ONLY_OWN)
def pings(side: Side) -> float:
    return side.submits / side.timed("bare", what="pings", number=side.submits)
