"""Tasks that take their time."""

from __future__ import annotations

from benchmarks.measures import line
from benchmarks.sides import Side

NAP, SLOTS = 0.1, 10
CRUNCH = 1000


@line("100 ms tasks, ten at a time", "% of the ideal", more_is_better=True)
def waiting(side: Side) -> float:
    number = max(int(side.seconds * 2 / NAP), 1) * SLOTS
    with side.working(1, SLOTS, warm=True) as workers:
        side.stock(number, "nap", argument=NAP)
        tally = workers.until_done(number)
    return number * NAP / SLOTS / (tally.last - tally.first) * 100


@line("CPU-bound tasks, 1,000 SHA-256 each", "tasks/s")
def crunching(side: Side) -> float:
    number = side.stock(max(int(700 * side.seconds), 10), "crunch", argument=CRUNCH)
    with side.working(slots=1) as workers:
        return workers.until_done(number).rate
