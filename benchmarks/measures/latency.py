"""How soon an idle worker starts a task, and how soon its result is back."""

from __future__ import annotations

from benchmarks.measures import Figures, line, middle
from benchmarks.sides import Side

PAUSE = 0.02  #: seconds between two, in which workers fall idle


@line("submit to start, idle worker", "ms")
def start(side: Side) -> Figures:
    with side.working(warm=True):
        return percentiles(side.call("latencies", number=samples(side), pause=PAUSE))


@line("submit to result, idle worker", "ms")
def result(side: Side) -> Figures:
    side.keep_results()
    side.require("roundtrip")
    with side.working(warm=True):
        side.call("roundtrips", number=5, pause=PAUSE)
        return percentiles(side.call("roundtrips", number=samples(side), pause=PAUSE))


def samples(side: Side) -> int:
    """So many as fit the sample's time twice over, since a p99 needs them."""
    return max(int(2 * side.seconds / PAUSE), 20)


def percentiles(times: list[float]) -> Figures:
    """The two that the goals speak of."""
    return {"p50": middle(times), "p99": middle(times, 0.99)}
