"""What DESIGN promises of order, measured beside the speed: priority arrivals, and no waiting behind a slow task."""

from __future__ import annotations

from benchmarks.measures import ONLY_OWN, Figures, line, middle
from benchmarks.sides import Side

LONG = 2.0  #: seconds of the slow task
NEIGHBOURS = 100


@line("a task of higher priority arrives while draining: until it starts", "ms", peers=ONLY_OWN)
def priority(side: Side) -> Figures:
    arrivals = max(int(20 * side.seconds), 5)
    side.call("prioritize", queue="urgent", priority=1)
    side.call("prioritize", queue="bench", priority=2)
    side.stock(int(900 * (arrivals * 0.05 + 2)), "crunch", argument=1000)
    with side.working(slots=1) as workers:
        workers.until_done(10)
        side.call("arrivals", number=arrivals, queue="urgent", pause=0.05)
        workers.until(lambda: len(side.stamps()) >= arrivals, "the urgent tasks")
        times = side.stamps()
    return {"p50": middle(times), "p99": middle(times, 0.99)}


@line("a 2 s task and two workers: longest wait of a neighbour", "ms", peers=ONLY_OWN)
def neighbours(side: Side) -> float:
    with side.working(processes=2, slots=1, warm=True) as workers:
        before = len(side.stamps())
        side.call("neighbours", seconds=LONG, number=NEIGHBOURS)
        workers.until(lambda: len(side.stamps()) >= before + NEIGHBOURS, "the neighbours")
        return max(side.stamps()[before:])
