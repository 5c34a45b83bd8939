"""What befalls workers."""

from __future__ import annotations

from tests.stress.faults import Fault
from tests.stress.scene import Scene


class KillChild:
    """SIGKILL of a worker process whose supervisor lives."""

    name = "worker process killed"
    supervised = True
    pause = 0.1

    def inject(self, scene: Scene) -> None:
        worker, pid = scene.some_child()
        worker.kill(pid)


class KillMachine:
    """SIGKILL of a supervisor and all its children at once."""

    name = "machine dies"

    def inject(self, scene: Scene) -> None:
        worker = scene.some_worker()
        worker.kill_all()
        scene.replace(worker)


FAULTS: list[Fault] = [KillChild(), KillMachine()]
