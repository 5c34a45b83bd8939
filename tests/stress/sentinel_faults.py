"""What befalls a master that sentinels watch: it dies, freezes, is replaced in good order, or is cut off."""

from __future__ import annotations

import time

from tests.conftest import default_flavour
from tests.sentinel import trials
from tests.sentinel.deployment import Deployment
from tests.stress.faults import Fault
from tests.stress.scene import Scene

#: Seconds within which work goes on when most sentinels name another master.
BACK = 2.0


class Replace:
    """
    Something by which another server becomes the master. How long work stands still is counted from then on.

    Replication is not waited for, so what was done just before may be undone: that is forgiven here, and counted in
    tests/sentinel/trials.py, where nothing takes calls away.
    """

    mixed = False  # the others are done to one server
    back = BACK
    pause = 1.0

    def __init__(self, name: str, harm: trials.Harm, *, partable: bool = False) -> None:
        self.name, self._harm, self._partable = f"sentinel: {name}", harm, partable

    def deploy(self, flavour: str | None) -> Deployment:
        """What the scene stands on."""
        return Deployment(flavour or default_flavour(), partable=self._partable)

    def inject(self, scene: Scene) -> None:
        deployment = scene.deployment
        assert isinstance(deployment, Deployment)
        for server in deployment.servers:  # what the last time has left
            if not server.is_running:
                server.start()
        deployment.until_whole(60)
        master, since = deployment.master, time.monotonic_ns()
        self._harm(deployment, master)
        scene.forgive(since)


FAULTS: list[Fault] = [
    Replace("master killed", trials.kill),
    Replace("master frozen", trials.freeze),
    Replace("failover ordered", trials.fail_over),
    Replace("master cut off", trials.part, partable=True),
]
