"""A short tier of the fault suite; ``make faults`` runs all of it."""

from __future__ import annotations

import random
import sys

import pytest

from tests.stress import running
from tests.stress.faults import named
from tests.stress.running import Plan

pytestmark = pytest.mark.stress

#: Scenes: their faults, and their seed; None draws a new one.
SCENES: list[tuple[tuple[str, ...], int | None]] = [
    (("worker process killed", "worker process killed: claimed", "worker process killed: acking", "segfault"), 1),
    (("machine dies", "supervisor killed: burying", "told to stop", "worker process suspended"), None),
    (("worker process killed: firing", "worker process killed: fired", "producer killed"), None),
]


@pytest.mark.parametrize(("names", "seed"), SCENES, ids=[names[0] for names, _ in SCENES])
def test_faults_lose_nothing_and_do_nothing_twice(names: tuple[str, ...], seed: int | None) -> None:
    drawn = random.SystemRandom().randrange(10**9) if seed is None else seed
    sys.stdout.write(f"seed {drawn}\n")
    outcome = running.run(Plan("short", [named(name) for name in names], drawn, seconds=2.5, rate=200.0))
    assert outcome.broken == []
    assert outcome.counts["completed"] > 50
    assert sum(outcome.faults.values()) >= 2
