"""A short tier of the fault suite; ``make faults`` runs all of it."""

from __future__ import annotations

import random
import sys

import pytest

from tests import clocks
from tests.stress import running
from tests.stress.faults import named
from tests.stress.running import Plan

pytestmark = [pytest.mark.stress, pytest.mark.timeout(180)]  # a busy machine takes its time

#: Scenes: their faults, and their seed; None draws a new one.
SCENES: list[tuple[tuple[str, ...], int | None]] = [
    (("worker process killed", "worker process killed: claimed", "worker process killed: acking", "segfault"), 1),
    (("machine dies", "supervisor killed: burying", "told to stop", "worker process suspended"), None),
    (("worker process killed: firing", "worker process killed: fired", "producer killed"), None),
    (("Redis killed: AOF everysec", "Redis frozen for 2 s", "maxmemory reached", "ACL revoked"), 2),
    (("Redis loading", "Redis busy with a script", "SCRIPT FLUSH in a loop", "CLIENT KILL in a loop"), None),
    (("replies lost", "black hole", "connections reset", "cut inside replies"), None),
    (("Redis back by a second",), None),
]


@pytest.mark.parametrize(("names", "seed"), SCENES, ids=[names[0] for names, _ in SCENES])
def test_faults_lose_nothing_and_do_nothing_twice(names: tuple[str, ...], seed: int | None) -> None:
    drawn = random.SystemRandom().randrange(10**9) if seed is None else seed
    sys.stdout.write(f"seed {drawn}\n")
    outcome = running.run(Plan("short", [named(name) for name in names], drawn, seconds=2.5, rate=200.0))
    assert outcome.broken == []
    assert outcome.counts["completed"] > 50
    assert sum(outcome.faults.values()) >= 2


@pytest.mark.skipif(clocks.library() is None, reason="no libfaketime on this machine")
def test_nothing_comes_of_clocks_that_are_wrong() -> None:
    outcome = running.run(Plan("short", [named("clock an hour off")], 1, seconds=2.5, rate=200.0))
    assert outcome.broken == []
    assert outcome.counts["completed"] > 50
