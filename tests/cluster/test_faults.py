"""A short tier of the faults of clusters; ``make faults`` runs all of them, and longer."""

from __future__ import annotations

import random
import sys

import pytest

from tests.stress import running
from tests.stress.faults import named
from tests.stress.running import Plan

pytestmark = pytest.mark.stress


def test_slots_that_move_and_replicas_that_take_over_lose_nothing() -> None:
    seed = random.SystemRandom().randrange(10**9)
    sys.stdout.write(f"seed {seed}\n")
    names = ("cluster: slot moved", "cluster: replica takes over")
    outcome = running.run(Plan("short", [named(name) for name in names], seed, seconds=2.5, rate=150.0))
    assert outcome.broken == []
    assert outcome.counts["completed"] > 50
    assert sum(outcome.faults.values()) >= 2
