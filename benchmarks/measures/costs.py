"""What a worker costs: the machine, and Redis."""

from __future__ import annotations

import time

from benchmarks.measures import Figures, line
from benchmarks.sides import Side

#: Part of the stock that runs before anything is counted: start-up is another matter.
WARM_UP = 0.2


@line("cost of a no-op task while draining", "µs of CPU", more_is_better=False)
def cpu(side: Side) -> Figures:
    number = side.stock(side.best_drains * 2)
    with side.working() as workers:
        began = workers.until_done(int(number * WARM_UP)).ended
        redis, worker = side.server.cpu_seconds, workers.cpu_seconds
        counted = workers.until_done(number).ended - began
        redis, worker = side.server.cpu_seconds - redis, workers.cpu_seconds - worker
    return {"Redis": redis / counted * 1e6, "worker": worker / counted * 1e6}


@line("commands to Redis for a no-op task while draining", "commands", more_is_better=False)
def commands(side: Side) -> float:
    number = side.stock(side.best_drains)
    with side.server.monitor() as monitor, side.working() as workers:
        began, before = workers.until_done(int(number * WARM_UP)).ended, monitor.count
        counted = workers.until_done(number).ended - began
        return (monitor.count - before) / counted


@line("commands to Redis of an idle worker", "a second", more_is_better=False)
def idle(side: Side) -> float:
    seconds = max(5.0, side.seconds * 3) if side.seconds >= 0.3 else 1.0
    with side.working(warm=True), side.server.monitor() as monitor:
        time.sleep(seconds)
        return monitor.count / seconds


@line("resident memory of a worker process", "MB", more_is_better=False)
def resident(side: Side) -> float:
    number = side.stock(side.best_drains)
    with side.working() as workers:
        workers.until_done(number)
        return workers.memory / 1e6
