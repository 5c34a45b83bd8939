"""Runs faults in scenes: each kind in one of its own, and then all of them mixed."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import wait_until
from tests.stress.checker import Broken
from tests.stress.faults import Fault
from tests.stress.scene import Scene

#: Seconds between two injections, unless a fault says otherwise.
PAUSE = 0.2
#: Messages in a second that two workers keep up with, on a busy machine.
MOST_RATE = 250.0


#: Set when no more faults are to be done.
stopping = threading.Event()


@dataclass
class Plan:
    """One scene to be run."""

    title: str
    faults: list[Fault]
    seed: int
    seconds: float  #: for which faults are injected
    rate: float  #: messages in a second
    flavour: str | None = None

    def asked(self, name: str, default: Any) -> Any:
        """What the faults say about their scene: the first that says anything."""
        return next((getattr(fault, name) for fault in self.faults if hasattr(fault, name)), default)

    def any(self, name: str) -> bool:
        return any(getattr(fault, name, False) for fault in self.faults)


@dataclass
class Outcome:
    """What came of a plan."""

    plan: Plan
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    seconds: float = 0.0
    server: str = ""  #: name and version
    kept: Path | None = None  #: histories and logs, where something is broken


def single(faults: Sequence[Fault], seed: int, seconds: float, rate: float, flavour: str | None) -> list[Plan]:
    """A plan for each fault."""
    return [Plan(fault.name, [fault], seed + number, seconds, rate, flavour) for number, fault in enumerate(faults)]


def mixed(
    faults: Sequence[Fault], seed: int, seconds: float, rate: float, flavour: str | None, scenes: int
) -> list[Plan]:
    """Plans in which all faults come in any order; *seconds* for each."""
    some = [fault for fault in faults if getattr(fault, "mixed", True)]
    return [Plan("mixed", some, seed + 1000 + number, seconds, rate, flavour) for number in range(scenes)]


def run(plan: Plan, say: Callable[[str], None] = print) -> Outcome:
    """Run a plan, and judge. Whatever goes wrong is in the outcome."""
    began, outcome = time.monotonic(), Outcome(plan)
    if stopping.is_set():
        return outcome
    directory = Path(tempfile.mkdtemp(prefix="rpqueue-stress-"))
    try:
        with scene_of(plan, directory) as scene:
            outcome.server = version_of(scene)
            with noted(outcome, "I15"):
                inject_all(scene, plan)
            with noted(outcome, "I15"):
                scene.drain()
            verdict = scene.verdict()
            outcome.counts, outcome.faults = verdict.counts, verdict.faults
            outcome.recoveries = verdict.recoveries
            outcome.broken += verdict.broken
    except Exception as error:  # a scene that cannot be judged is no pass
        outcome.broken.append(Broken("?", f"the scene failed: {error}", traceback.format_exc()))
    outcome.seconds = time.monotonic() - began
    if outcome.broken:
        outcome.kept = directory
    else:
        shutil.rmtree(directory, ignore_errors=True)
    say(told(outcome))
    return outcome


def version_of(scene: Scene) -> str:
    """What the scene's server calls itself."""
    info: Any = scene.client.info("server")
    return f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"


def scene_of(plan: Plan, directory: Path) -> Scene:
    """The scene that the plan's faults ask for."""
    way = importlib.import_module("tests.stress.proxy").Proxy if plan.any("proxied") else None
    deploy = plan.asked("deploy", None)
    return Scene(
        directory,
        plan.seed,
        flavour=plan.flavour,
        deployment=deploy(plan.flavour) if deploy else None,
        fsync=plan.asked("fsync", "everysec"),
        options=plan.asked("options", ()),
        proxy=way,
        ticking=plan.any("ticking"),
    )


def inject_all(scene: Scene, plan: Plan) -> None:
    """Begin to send messages, and inject faults for as long as planned; each fault once at least where it is alone."""
    shape = {name: plan.asked(name, 2) for name in ("processes", "threads")}
    scene.start_workers(plan.asked("workers", 2), **shape)
    scene.start_consumer()
    for _ in range(2):
        scene.start_producer(10**6, plan.rate / 2)
    wait_until(lambda: scene.seen() > 20, 30, "messages come")
    ends_at = time.monotonic() + plan.seconds
    waiting = list(plan.faults)
    took = {fault.name: 0.0 for fault in plan.faults}
    scene.random.shuffle(waiting)
    while (waiting or time.monotonic() < ends_at) and not stopping.is_set():
        if time.monotonic() > ends_at and len(waiting) < len(plan.faults):
            return
        # Quick ones more often.
        [drawn] = scene.random.choices(plan.faults, [1 / (0.3 + took[fault.name]) for fault in plan.faults])
        fault = waiting.pop() if waiting else drawn
        before = time.monotonic()
        # Where all come together, one hides how soon work goes on after another.
        scene.inject(fault, back=60.0 if len(plan.faults) > 1 else None)
        took[fault.name] = time.monotonic() - before
        time.sleep(scene.random.uniform(0.5, 1.5) * getattr(fault, "pause", PAUSE))


@contextlib.contextmanager
def noted(outcome: Outcome, invariant: str) -> Iterator[None]:
    """Take what is raised as a broken invariant."""
    try:
        yield
    except Exception as error:
        outcome.broken.append(Broken(invariant, str(error) or type(error).__name__, traceback.format_exc()))


def told(outcome: Outcome) -> str:
    """A line about an outcome."""
    counts, faults = outcome.counts, sum(outcome.faults.values())
    text = (
        f"{outcome.plan.title}: {faults} faults, {counts['messages']} messages, {counts['lost']} lost, "
        f"{counts['duplicated']} duplicated, {outcome.seconds:.1f} s (seed {outcome.plan.seed})"
    )
    if not outcome.broken:
        return text
    found = "\n".join(str(one) for one in outcome.broken[:5])
    return f"{text}\n{len(outcome.broken)} BROKEN; histories and logs are in {outcome.kept}\n{found}"
