"""What is to be reached, as data: ratios between figures of one run, and a few plain bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.measures import middle
from benchmarks.peers import OWN, SEED

#: Figure name -> peer -> a figure for each round.
Samples = dict[str, dict[str, list[float]]]
Outcome = Literal["holds", "within noise", "missed", "not measured"]


@dataclass(frozen=True)
class Goal:
    """
    A bound on rpqueue's figure of a line.

    Args:
        number: of the goal in the list that was set.
        figure: its name: the line's, with a part where a line has several.
        against: whose figure it is divided by: ``(figure, peer)``; None: it stands for itself.
        least: lower bound.
        most: upper bound.
    """

    number: int
    figure: str
    against: tuple[str, str] | None = None
    least: float | None = None
    most: float | None = None

    @property
    def bound(self) -> str:
        """As text."""
        times = "x" if self.against else ""
        return f">= {self.least:g}{times}" if self.least is not None else f"<= {self.most:g}{times}"


@dataclass(frozen=True)
class Verdict:
    """A goal, and how a run met it: the ratio of each round."""

    goal: Goal
    ratios: Sequence[float]

    @property
    def outcome(self) -> Outcome:
        """The middle of the rounds decides. A miss is one beyond the noise when no round reached the bound."""
        if not self.ratios:
            return "not measured"
        if self._reaches(middle(self.ratios)):
            return "holds"
        return "within noise" if any(map(self._reaches, self.ratios)) else "missed"

    def _reaches(self, ratio: float) -> bool:
        if self.goal.least is not None:
            return ratio >= self.goal.least
        return self.goal.most is not None and ratio <= self.goal.most


def at_least(number: int, figure: str, least: float, than: tuple[str, str] | None = None) -> Goal:
    """Short for a lower bound."""
    return Goal(number, figure, than, least=least)


def at_most(number: int, figure: str, most: float, than: tuple[str, str] | None = None) -> Goal:
    """Short for an upper bound."""
    return Goal(number, figure, than, most=most)


GOALS = [
    # 1. Drain, with default guarantees.
    at_least(1, "drain.one", 40, ("drain.one", SEED)),
    at_least(1, "drain.one", 12, ("drain.one", "mayu")),
    at_least(1, "drain.one", 8, ("drain.best", "ardiq")),
    at_least(1, "drain.two", 4.5, ("drain.two", "ardiq")),
    at_least(1, "drain.leased", 0.75, ("drain.one", OWN)),
    at_least(1, "drain.saved", 0.75, ("drain.one", OWN)),
    # 2. Enqueue.
    at_least(2, "enqueue.single", 1.15, ("enqueue.single", "mayu")),
    at_least(2, "enqueue.single", 2, ("enqueue.single", SEED)),
    at_least(2, "enqueue.single", 0.8, ("enqueue.pings", OWN)),
    at_least(2, "enqueue.bulk", 2.5, ("enqueue.bulk", "ardiq")),
    # 3. Latency.
    at_most(3, "latency.start, p50", 0.8, ("latency.start, p50", "mayu")),
    at_most(3, "latency.start, p99", 2.5, ("latency.start, p50", OWN)),
    at_most(3, "latency.result, p50", 0.5, ("latency.result, p50", "huey")),
    at_most(3, "latency.result, p50", 0.5, ("latency.result, p50", "ardiq")),
    at_most(3, "latency.result, p99", 2, ("latency.result, p50", OWN)),
    # 4. Bytes.
    at_most(4, "memory.queued", 200),
    at_most(4, "memory.leased", 90),
    # 5. Data queue.
    at_least(5, "items.put", 2.5, ("items.put", SEED)),
    at_least(5, "items.get_done", 3.5, ("items.get_done", SEED)),
    # 6. Cost of a worker.
    at_most(6, "costs.commands", 0.12),
    at_most(6, "costs.cpu, Redis", 12),
    at_most(6, "costs.cpu, worker", 18),
    at_most(6, "costs.idle", 1),
    at_most(6, "costs.resident", 40),
    at_most(6, "imports.library", 120),
    at_most(6, "imports.unneeded", 0),
    # 7. Growth.
    at_most(7, "growth.depth, enqueue, large", 1.5, ("growth.depth, enqueue, small", OWN)),
    at_most(7, "growth.depth, claim and ack, large", 1.5, ("growth.depth, claim and ack, small", OWN)),
    at_least(7, "growth.queues, many", 0.5, ("growth.queues, few", OWN)),
    at_least(7, "payloads.large, tasks", 0.5, ("payloads.large, SET + GET", OWN)),
    at_least(7, "payloads.large, items", 0.5, ("payloads.large, SET + GET", OWN)),
    at_least(7, "naps.waiting", 99),
    at_least(7, "naps.crunching", 1, ("naps.crunching", "mayu")),
    # 8. The physical limit.
    at_least(8, "drain.one", 0.4, ("drain.limit", OWN)),
    # 9. The promises of order.
    at_most(9, "promises.priority, p99", 10),
    at_most(9, "promises.neighbours", 100),
]


def verdicts(samples: Samples, goals: Sequence[Goal] = tuple(GOALS)) -> list[Verdict]:
    """Every goal beside what was measured, ratios taken round by round."""
    found = []
    for goal in goals:
        ours = samples.get(goal.figure, {}).get(OWN, [])
        if goal.against is None:
            ratios = list(ours)
        else:
            figure, peer = goal.against
            theirs = samples.get(figure, {}).get(peer, [])
            ratios = [own / other for own, other in zip(ours, theirs, strict=False) if other]
        ratios = [ratio for ratio in ratios if not math.isnan(ratio)]  # of rounds in which somebody failed
        found.append(Verdict(goal, ratios))
    return found


def rivals() -> list[str]:
    """The peers that goals name, rpqueue first."""
    named = [goal.against[1] for goal in GOALS if goal.against]
    return list(dict.fromkeys([OWN, *named]))
