"""What failovers and partitions cost, with and without what narrows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conftest import default_flavour
from tests.sentinel.trials import MIN_REPLICAS, Harm, fail_over, freeze, kill, part, trial
from tests.stress.figures import Figure

#: Callers of a trial. Each may lose the call that was answered while the master died: it tells its clients first.
CALLERS = 3
#: Seconds: the sentinels' down-after, and how much longer a failover may take.
DOWN_AFTER, MORE = 1.0, 2.0

COPIED: dict[str, Any] = {"durability": "replicated"}
BOUND: dict[str, Any] = {"options": MIN_REPLICAS}
BLIND: dict[str, Any] = {"is_blind": True}
#: What is done, with what, and how many calls may be lost; None: it is counted.
TRIALS: list[tuple[str, Harm, dict[str, Any], int | None]] = [
    ("master killed", kill, {}, CALLERS),
    ("master killed, calls replicated", kill, COPIED, 0),
    ("master frozen, and back", freeze, {}, CALLERS),
    ("failover ordered", fail_over, {}, CALLERS),
    ("master cut off", part, {}, None),
    ("master cut off, min-replicas", part, BOUND, None),
    ("master cut off, calls replicated", part, COPIED, 0),
    ("cut off with a client that sees no sentinel", part, BLIND, None),
    ("the same, min-replicas", part, {**BLIND, **BOUND}, None),
    ("the same, calls replicated", part, {**BLIND, **COPIED}, 0),
]


def measure(flavour: str | None) -> Iterator[Figure]:
    """All of them, one after the other."""
    for name, harm, more, most_lost in TRIALS:
        result = trial(flavour or default_flavour(), harm, callers=CALLERS, down_after=DOWN_AFTER, **more)
        goals = ["0 twice"]
        holds = result.twice == 0
        if most_lost is not None:
            goals.append(f"{most_lost} lost" if not most_lost else f"at most {most_lost} lost")
            holds = holds and result.lost <= most_lost
        if "is_blind" not in more and harm is not part:
            goals.append(f"back within {DOWN_AFTER + MORE:g} s")
            holds = holds and result.outage < DOWN_AFTER + MORE
        yield Figure(f"sentinel: {name}", result.told, ", ".join(goals), holds)
