"""A short tier of the fault suite; ``make faults`` runs all of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import clocks
from tests.stress import running
from tests.stress.faults import named
from tests.stress.running import Outcome, Plan

pytestmark = [pytest.mark.stress, pytest.mark.timeout(180)]  # a busy machine takes its time

CLOCK = "clock an hour off"
#: Scenes: their faults, and their seed; None draws a new one.
SCENES: list[tuple[tuple[str, ...], int | None]] = [
    (("worker process killed", "worker process killed: claimed", "worker process killed: acking", "segfault"), 1),
    (("machine dies", "supervisor killed: burying", "told to stop", "worker process suspended"), None),
    (("child killed", "child hangs past its hard_timeout", "worker process with children killed"), None),
    (("worker process killed: firing", "worker process killed: fired", "producer killed"), None),
    (("Redis killed: AOF everysec", "Redis frozen for 2 s", "maxmemory reached", "ACL revoked"), 2),
    (("Redis loading", "Redis busy with a script", "SCRIPT FLUSH in a loop", "CLIENT KILL in a loop"), None),
    (("replies lost", "black hole", "connections reset", "cut inside replies"), None),
    (("Redis back by a second",), None),
    ((CLOCK,), 1),
]


@pytest.fixture(scope="module")
def outcome_of(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Outcome]]:
    """What came of the scene that has a fault of that name first. They run side by side: most of a scene is waiting."""
    here = [item for item in request.session.items if item.path == request.path]
    asked = {item.callspec.params["name"] for item in here if hasattr(item, "callspec")}
    with ThreadPoolExecutor(4) as pool:
        begun = {
            names[0]: pool.submit(running.run, plan(names, seed))
            for names, seed in SCENES
            if names[0] in asked and (names[0] != CLOCK or clocks.library())
        }
        yield lambda name: begun[name].result()


def plan(names: tuple[str, ...], seed: int | None) -> Plan:
    drawn = random.SystemRandom().randrange(10**9) if seed is None else seed
    return Plan("short", [named(name) for name in names], drawn, seconds=2.5, rate=200.0)


@pytest.mark.parametrize("name", [names[0] for names, _ in SCENES])
def test_faults_lose_nothing_and_do_nothing_twice(name: str, outcome_of: Callable[[str], Outcome]) -> None:
    if name == CLOCK and clocks.library() is None:
        pytest.skip("no libfaketime on this machine")
    outcome = outcome_of(name)
    print(running.told(outcome))  # with its seed
    assert outcome.broken == []
    assert outcome.counts["completed"] > 50
    assert sum(outcome.faults.values()) >= 1
