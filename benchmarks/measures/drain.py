"""How fast a stock of no-op tasks is run, from the start of the first to the end of the last."""

from __future__ import annotations

from benchmarks.measures import ONLY_OWN, line
from benchmarks.sides import Side


@line("drain, one process, one task at a time", "tasks/s")
def one(side: Side) -> float:
    return drained(side, slots=1)


@line("drain, one process at its best", "tasks/s")
def best(side: Side) -> float:
    return drained(side)


@line("drain, two processes", "tasks/s")
def two(side: Side) -> float:
    return drained(side, processes=2)


@line("drain, at least once (vis_timeout)", "tasks/s", peers=ONLY_OWN)
def leased(side: Side) -> float:
    return drained(side, slots=1, job="noop_leased")


@line("drain, results saved", "tasks/s", peers=ONLY_OWN)
def saved(side: Side) -> float:
    return drained(side, slots=1, job="noop_saved")


@line("a bare script loop: claim and ack 100 messages a call", "messages/s", peers=ONLY_OWN)
def limit(side: Side) -> float:
    number = side.drains * 2
    return number / side.timed("bare", what="claims", number=number)


def drained(side: Side, processes: int = 1, slots: int = 0, job: str = "noop") -> float:
    """Tasks per second. The stock is there before the workers are."""
    number = side.stock(side.drains if slots else side.best_drains, job)
    with side.working(processes, slots) as workers:
        return workers.until_done(number).rate
