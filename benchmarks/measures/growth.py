"""What everything costs when there is a lot of it."""

from __future__ import annotations

from benchmarks.measures import ONLY_OWN, Figures, line
from benchmarks.sides import Side

SMALL, LARGE = 10_000, 1_000_000
BUSY, KNOWN = 5, 10_000


@line("cost of one message, by how many there are (10,000; 1,000,000 in each state)", "µs", peers=ONLY_OWN, quick=False)
def depth(side: Side) -> Figures:
    figures = {}
    size = LARGE if side.seconds >= 2 else int(LARGE * side.seconds / 20)
    for name, more in (("small", SMALL), ("large", size)):
        side.stock(more, delay=86_400)
        side.stock(more)
        side.call("lease", number=more)
        side.stock(more)
        number = max(int(1_000 * side.seconds), 100)
        figures[f"enqueue, {name}"] = side.timed("enqueue", number=number) / number * 1e6
        rounds = max(int(20 * side.seconds), 5)
        figures[f"claim and ack, {name}"] = side.timed("claim", rounds=rounds) / rounds / 100 * 1e6
    return figures


@line("drain five queues, by how many are known (5; 10,000)", "tasks/s", peers=ONLY_OWN, quick=False)
def queues(side: Side) -> Figures:
    figures = {}
    known = KNOWN if side.seconds >= 2 else int(KNOWN * side.seconds / 20)
    for name, more in (("few", 0), ("many", known)):
        if more:
            side.call("known_queues", number=more)
            with side.working() as workers:
                workers.until_done(more)
        side.forget()
        for number in range(BUSY):
            side.stock(side.drains // BUSY, queue=f"busy-{number}")
        with side.working(slots=1) as workers:
            figures[name] = workers.until_done(side.drains // BUSY * BUSY).rate
        side.forget()
    return figures
