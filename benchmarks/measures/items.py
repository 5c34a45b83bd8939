"""The data queue: items of about 100 bytes."""

from __future__ import annotations

from benchmarks.measures import BOTH, line
from benchmarks.sides import Side

PACE = 40_000


@line("data queue: put", "items/s", peers=BOTH)
def put(side: Side) -> float:
    number = max(int(PACE * side.seconds), 500)
    return number / side.timed("put_items", number=number)


@line("data queue: get(100) and done", "items/s", peers=BOTH)
def get_done(side: Side) -> float:
    number = max(int(PACE * side.seconds), 500)
    side.call("put_items", number=number)
    return number / side.timed("get_items", number=number)
