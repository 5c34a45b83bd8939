"""The table at the end of a run."""

from __future__ import annotations

import itertools
import shlex
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.stress import network_faults, sentinel_figures, server_faults
from tests.stress.figures import Figure, measure
from tests.stress.running import Outcome, stopping

#: Seconds after which work goes on when Redis is well again.
BACK = 2.0
#: Columns between the name and the recoveries; gone are messages that a server forgot, or that went with their taker.
COUNTS = ("messages", "completed", "dead", "cancelled", "lost-listed", "gone", "lost", "duplicated")


def figures(seed: int, flavour: str | None) -> list[Figure]:
    """Measure what is to be reached, and say each as soon as it is known."""
    measured = []
    for figure in itertools.chain(measure(seed, flavour), sentinel_figures.measure(flavour)):
        print(f"{figure.name}: {figure.measured} (goal: {figure.goal})", flush=True)
        measured.append(figure)
        if stopping.is_set():
            break
    return measured


def totals(outcomes: Sequence[Outcome]) -> list[Figure]:
    """What a full run has to reach."""
    counts, faults, twice = Counter[str](), 0, 0
    for outcome in outcomes:
        counts.update(outcome.counts)
        faults += sum(outcome.faults.values())
        twice += sum(one.invariant == "I6" for one in outcome.broken)
    least = (("messages", counts["messages"], 100_000), ("faults", faults, 1_000))
    none = (("lost", counts["lost"]), ("delivered twice that may be once only", counts["duplicated"]))
    return [
        *(Figure(name, f"{number:,}", f"{goal:,}", number >= goal) for name, number, goal in least),
        *(Figure(name, str(number), "0", number == 0) for name, number in none),
        Figure("queues in which a completion was accepted twice", str(twice), "0", twice == 0),
        *back_at_work(outcomes),
    ]


def back_at_work(outcomes: Sequence[Outcome]) -> list[Figure]:
    """How soon something came to its end when a server or the network was well again, and nothing else was wrong."""
    names = {fault.name for fault in (*server_faults.FAULTS, *network_faults.FAULTS)}
    alone = [outcome for outcome in outcomes if len(outcome.plan.faults) == 1 and outcome.plan.title in names]
    took = [seconds for outcome in alone for recoveries in outcome.recoveries.values() for seconds in recoveries]
    if not took:
        return []
    soon = sum(seconds < BACK for seconds in took)
    measured = f"{soon} of {len(took)} times within {BACK:g} s, {max(took):.2f} s at most"
    return [
        Figure("back at work after Redis is healed", measured, f"{BACK:g} s, 19 of 20 times", soon >= 0.95 * len(took))
    ]


def show(outcomes: Sequence[Outcome], measured: Sequence[Figure], seconds: float) -> None:
    """Print tables."""
    console = Console(width=150)
    table = Table(title=f"what was tried, in {seconds / 60:.1f} minutes")
    table.add_column("fault")
    for name in ("faults", *COUNTS, "back after, median", "at most", "broken"):
        table.add_column(name, justify="right")
    for outcome in outcomes:
        table.add_row(*row(outcome.plan.title, [outcome]))
    table.add_section()
    table.add_row(*row("all", outcomes), style="bold")
    console.print(table)
    mixture = Counter[str]()
    for outcome in outcomes:
        mixture.update(outcome.faults)
    console.print(", ".join(f"{name}: {number}" for name, number in mixture.most_common()))
    if measured:
        numbers = Table("number", "measured", "to be reached", "")
        for figure in measured:
            numbers.add_row(figure.name, figure.measured, figure.goal, "holds" if figure.holds else "MISSED")
        console.print(numbers)


def write_rst(file: Path, outcomes: Sequence[Outcome], measured: Sequence[Figure], about: str) -> None:
    """Write the same tables for the documentation."""
    by_title: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_title.setdefault(outcome.plan.title, []).append(outcome)
    rows = [row(title, some)[:-1] for title, some in by_title.items()] + [row("all", outcomes)[:-1]]
    heads = ["fault", "times", *COUNTS, "back after, median", "at most"]
    lines = [about, ""]
    lines += _rst_table("22 5 7 8 5 7 6 5 5 8 7 7", [heads, *rows])
    lines += ["", *_rst_table("40 35 25", [["number", "measured", "to be reached"], *(f[:3] for f in measured)])]
    file.write_text("\n".join(lines) + "\n")


def _rst_table(widths: str, rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for cells in rows:
        lines += [f"   {'*' if not at else ' '} - {cell}".rstrip() for at, cell in enumerate(cells)]
    return lines


def row(title: str, outcomes: Sequence[Outcome]) -> list[str]:
    """A row of the table."""
    counts, recoveries = Counter[str](), [0.0][:0]
    for outcome in outcomes:
        counts.update(outcome.counts)
        for seconds in outcome.recoveries.values():
            recoveries += seconds
    counts["gone"] = counts["forgiven"] + counts["taken and gone"]
    faults = sum(sum(outcome.faults.values()) for outcome in outcomes)
    broken = sum(len(outcome.broken) for outcome in outcomes)
    back = [f"{statistics.median(recoveries):.2f} s", f"{max(recoveries):.2f} s"] if recoveries else ["", ""]
    return [title, str(faults), *(str(counts[name]) for name in COUNTS), *back, str(broken or "")]


def how_to_repeat(seed: int, arguments: Sequence[str]) -> str:
    """The command for the same run."""
    rest = list(arguments)
    if "--seed" in rest:
        place = rest.index("--seed")
        del rest[place : place + 2]
    return shlex.join(["python", "-m", "tests.stress", "--seed", str(seed), *rest])
