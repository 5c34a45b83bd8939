"""64 KB payloads, beside SET and GET of as many bytes through the same client."""

from __future__ import annotations

from benchmarks.measures import ONLY_OWN, Figures, line
from benchmarks.sides import Side

SIZE = 65_536


@line("64 KB payloads, there and back", "MB/s", peers=ONLY_OWN)
def large(side: Side) -> Figures:
    number = max(int(1000 * side.seconds) // 10, 2) * 10
    megabytes = number * SIZE / 1e6
    enqueueing = side.timed("put_large", number=number, size=SIZE)
    with side.working(slots=1) as workers:
        tally = workers.until_done(number)
    draining = tally.last - tally.first
    return {
        "tasks": megabytes / (enqueueing + draining),
        "items": megabytes / side.timed("large_items", number=number, size=SIZE),
        "SET + GET": megabytes / side.timed("bare", what="set_get", number=number, size=SIZE),
    }
