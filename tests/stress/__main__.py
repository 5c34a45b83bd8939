"""``python -m tests.stress``: faults done to real processes and real servers, and what became of every message."""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from tests.stress import faults, report, running
from tests.stress.faults import Fault
from tests.stress.running import Outcome, Plan


def main() -> int:
    """Run it. Returns the exit code: 1 when an invariant is broken or a number is missed."""
    given = parse()
    seed = given.seed if given.seed is not None else random.randrange(10**9)
    print(f"seed {seed}", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    began = time.monotonic()
    chosen = faults.found() if given.only is None else [faults.named(name) for name in given.only]
    outcomes = [] if given.part == "numbers" else run_all(plans(chosen, seed, given), given.jobs)
    figures = (
        [] if given.only or given.part == "faults" or running.stopping.is_set() else report.figures(seed, given.server)
    )
    if given.minutes >= FULL and outcomes and not given.only:
        figures = [*report.totals(outcomes), *figures]
    report.show(outcomes, figures, time.monotonic() - began)
    if given.rst:
        server = next((outcome.server for outcome in outcomes if outcome.server), "")
        about = f"Seed {seed}, {(time.monotonic() - began) / 60:.0f} minutes on {os.cpu_count()} cores, {server}."
        report.write_rst(given.rst, outcomes, figures, about)
    if any(outcome.broken for outcome in outcomes) or any(not figure.holds for figure in figures):
        print(f"\nrepeat it: {report.how_to_repeat(seed, sys.argv[1:])}")
        return 1
    return 0


def stop(number: int, frame: FrameType | None) -> None:
    """Come to an end; told a second time, at once."""
    if running.stopping.is_set():
        sys.exit(128 + number)
    running.stopping.set()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--seed", type=int, help="of everything that is drawn by lot; without it, a new one")
    parser.add_argument("--minutes", type=float, default=10.0, help="for the faults; the numbers come on top")
    parser.add_argument("--messages", type=int, default=110_000, help="to be sent in all")
    parser.add_argument("--only", action="append", metavar="NAME", help="this fault alone; may be given again")
    parser.add_argument("--jobs", type=int, default=3, help="scenes at a time")
    parser.add_argument("--server", choices=("valkey", "redis"), help="which server; without it, whichever there is")
    parser.add_argument("--part", choices=("faults", "numbers"), help="this part only")
    parser.add_argument("--rst", type=Path, metavar="FILE", help="write the tables there, too")
    return parser.parse_args()


def plans(chosen: list[Fault], seed: int, given: argparse.Namespace) -> list[Plan]:
    """Each fault alone, for a short while; all of them mixed in what time is left."""
    if len(chosen) == 1:
        rate = min(given.messages / (given.minutes * 60), running.MOST_RATE)
        return running.single(chosen, seed, given.minutes * 60, rate, given.server)
    seconds, scenes = given.minutes * 60 * given.jobs, MIXED_SCENES * given.jobs
    each = max(seconds * ALONE / len(chosen) - OVERHEAD, 1.0)
    together = max((seconds - (each + OVERHEAD) * len(chosen)) / scenes - OVERHEAD, 5.0)
    rate = min(given.messages / (each * len(chosen) + together * scenes), running.MOST_RATE)
    alone = running.single(chosen, seed, each, rate, given.server)
    return [*alone, *running.mixed(chosen, seed, together, rate, given.server, scenes)]


#: Minutes of a full run, which has to reach certain numbers.
FULL = 10
#: Seconds that a scene takes around its faults.
OVERHEAD = 8.0
#: Part of the time in which faults come alone.
ALONE = 0.35
#: Scenes of mixed faults for each job.
MIXED_SCENES = 3


def run_all(planned: list[Plan], jobs: int) -> list[Outcome]:
    """Run plans, so many at a time."""

    def say(text: str) -> None:
        print(text, flush=True)

    if jobs == 1:
        return [running.run(plan, say) for plan in planned]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda plan: running.run(plan, say), planned))


if __name__ == "__main__":
    sys.exit(main())
