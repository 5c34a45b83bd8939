"""
What is measured. A file is a measure, a function in it a line: it asks a `Side` for something and returns a figure.

The lines of a measure are run in turns: every line once, with every peer, then again, as often as there are rounds.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.peers import OWN, SEED
from benchmarks.sides import Side

ALL = ()
ONLY_OWN = (OWN,)
BOTH = (OWN, SEED)

Figures = float | dict[str, float]


@dataclass(frozen=True)
class Line:
    """One line of the table, or some that come of the same sample."""

    name: str  #: ``measure.function``
    title: str
    unit: str
    run: Callable[[Side], Figures]
    peers: Sequence[str]  #: that are asked; empty: all
    is_quick: bool
    is_more_better: bool

    def asks(self, peer: str) -> bool:
        """Whether a peer takes part."""
        return not self.peers or peer in self.peers


LINES: dict[str, Line] = {}


def line(
    title: str, unit: str, *, peers: Sequence[str] = ALL, quick: bool = True, more_is_better: bool | None = None
) -> Callable[[Callable[[Side], Figures]], Callable[[Side], Figures]]:
    """
    Declare a line.

    Args:
        title: as the table says it.
        unit: of its figures; what is per second is better when there is more of it, unless it is said.
        peers: that take part; none named: all.
        quick: whether the quick subset has it.
        more_is_better: which way is good.
    """

    def declare(run: Callable[[Side], Figures]) -> Callable[[Side], Figures]:
        measure = run.__module__.rpartition(".")[2]
        name = f"{measure}.{run.__name__}"
        better = "/s" in unit if more_is_better is None else more_is_better
        LINES[name] = Line(name, title, unit, run, peers, quick, better)
        return run

    return declare


def load() -> dict[str, Line]:
    """All lines, in the order of the measures below, then by file name."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    first = ["drain", "enqueue", "latency", "memory", "items", "costs"]
    for name in [*first, *sorted(set(names) - set(first))]:
        importlib.import_module(f"{__name__}.{name}")
    return LINES


def middle(values: Sequence[float], share: float = 0.5) -> float:
    """The value that a share of them is not above."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
