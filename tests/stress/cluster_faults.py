"""What befalls a cluster: slots move, masters change places with replicas, die, or freeze until they are replaced."""

from __future__ import annotations

import time

from tests.cluster.nodes import Cluster, Node
from tests.conftest import default_flavour
from tests.stress.faults import Fault
from tests.stress.scene import Scene

#: Seconds within which work goes on when all slots are served again.
BACK = 3.0


def deploy(flavour: str | None) -> Cluster:
    """What the scenes of these faults stand on."""
    return Cluster(flavour or default_flavour(), appendonly=True)


def some_slot(scene: Scene) -> int:
    """The slot of one of the queues."""
    return Cluster.slot_of(scene.random.choice(list(scene.queues.values())).ready)


class OnCluster:
    """What all of them say about their scene."""

    deploy = staticmethod(deploy)
    mixed = False  # the others are done to one server
    back = BACK
    pause = 0.5

    def cluster(self, scene: Scene) -> Cluster:
        cluster = scene.deployment
        assert isinstance(cluster, Cluster)
        return cluster


class Reshard(OnCluster):
    """The slot of a queue moves to another master, with a while in which it is on both."""

    name = "cluster: slot moved"

    def inject(self, scene: Scene) -> None:
        cluster, slot = self.cluster(scene), some_slot(scene)
        owner = cluster.master_of(slot)
        others = [node for node in cluster.masters if node is not owner]
        with cluster.moving(slot, scene.random.choice(others)):
            time.sleep(scene.random.uniform(0, 0.5))


class FailOver(OnCluster):
    """A replica takes over in good order, so that nothing may be lost."""

    name = "cluster: replica takes over"

    def inject(self, scene: Scene) -> None:
        cluster = self.cluster(scene)
        cluster.fail_over(cluster.master_of(some_slot(scene)))


class Killed(OnCluster):
    """SIGKILL of a master; a replica takes over, and the old one comes back as a replica of that."""

    name = "cluster: master killed"

    def inject(self, scene: Scene) -> None:
        cluster, since = self.cluster(scene), time.monotonic_ns()
        master = cluster.master_of(some_slot(scene))
        self.strike(scene, cluster, master)
        cluster.mend()
        # What the master had answered, and its replica had not heard of, is gone.
        scene.forgive(since)

    def strike(self, scene: Scene, cluster: Cluster, master: Node) -> None:
        cluster.kill(master)


class Frozen(Killed):
    """SIGSTOP of a master until a replica has taken over, and SIGCONT."""

    name = "cluster: master frozen until replaced"

    def strike(self, scene: Scene, cluster: Cluster, master: Node) -> None:
        master.pause()
        cluster.until_replaced(master)


FAULTS: list[Fault] = [Reshard(), FailOver(), Killed(), Frozen()]
