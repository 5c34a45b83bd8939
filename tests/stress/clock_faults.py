"""What befalls clocks. Nothing may come of it: instants are Redis's own."""

from __future__ import annotations

from tests import clocks
from tests.stress.faults import Fault
from tests.stress.scene import Scene


class Misset:
    """A worker is replaced by one whose clock is an hour fast or slow."""

    name = "clock an hour off"
    ticking = True

    def inject(self, scene: Scene) -> None:
        before, _ = scene.some_child()  # of one that works: before, Python itself takes the signal
        scene.start_worker(**scene.shape, environment=clocks.off_by(scene.random.choice((3600, -3600))))
        scene.workers.remove(before)
        before.stop()
        assert before.code() == 0, "it ended badly"
        scene.until_working()


#: None where there is no libfaketime.
FAULTS: list[Fault] = [Misset()] if clocks.library() else []
