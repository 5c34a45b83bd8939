"""What a fault is, and where all of them are found."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tests.stress.scene import Scene

#: Modules with a list FAULTS.
MODULES = ("worker_faults", "server_faults", "network_faults", "clock_faults", "cluster_faults", "sentinel_faults")


class Deployment(Protocol):
    """Several servers that are one to their clients."""

    @property
    def url(self) -> str:
        """How an App finds it."""

    def client(self) -> Any:
        """For the drain and the checker."""

    def close(self) -> None:
        """End all of it."""


class Fault(Protocol):
    """
    Something that goes wrong, and is mended again.

    A fault may further say, as attributes:
        proxied: True: clients of its scene go through a proxy, `scene.proxy`.
        ticking: True: its scene's workers have a recurring task, too.
        supervised: True: it only kills worker processes whose supervisor lives, so that no call may be listed as
            lost that had not started.
        deploy: makes what its scene stands on instead of one server, from a flavour or None: see `Deployment`. The
            scene has it as `deployment`. Such a fault is not `mixed`.
        fsync: ``appendfsync`` of the scene's server; the default is ``everysec``.
        options: more arguments for the scene's server.
        workers, processes, threads: numbers of these in the scene.
        pause: seconds between two injections, instead of the default.
        back: seconds in which work must go on after `inject` has returned; the default is 20.
        mixed: False: it is left out where all faults are mixed.
    """

    name: str

    def inject(self, scene: Scene) -> None:
        """Do it, and heal it. Whatever is drawn by lot is drawn from `scene.random`."""


def found() -> list[Fault]:
    """All faults, in the order of `MODULES`."""
    faults: list[Fault] = []
    for name in MODULES:
        try:
            module = importlib.import_module(f"tests.stress.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"tests.stress.{name}":
                raise
            continue
        faults += module.FAULTS
    return faults


def named(name: str) -> Fault:
    """The fault of that name."""
    for fault in found():
        if fault.name == name:
            return fault
    raise LookupError(f"no fault is called {name!r}; there are: {', '.join(fault.name for fault in found())}")
