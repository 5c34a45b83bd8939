"""Enqueueing that waits for replicas, on a cluster: those of the node that has the queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest

from rpqueue import App, aio
from rpqueue.errors import DurabilityNotConfirmed
from tests.cluster.hands import spread
from tests.cluster.nodes import Cluster, Node
from tests.servers import wait_until


@pytest.fixture
def own_app(own_cluster: Cluster) -> Iterator[App]:
    app = App(own_cluster.url, prefix="test")
    app.settings.durability_timeout = 10.0
    with contextlib.closing(app.broker):
        yield app


def ways(app: App, queue: str) -> dict[str, Callable[[], Any]]:
    task = app.task(name="noop", queue=queue, durability="replicated")(lambda: None)

    def piped() -> None:
        with app.pipeline():
            task.execute()
            task.execute()

    async def awaited() -> None:
        await aio.of(app).execute(task)

    return {
        "execute": task.execute,
        "execute_many": lambda: task.execute_many([()] * 3),
        "pipeline": piped,
        "aio": lambda: asyncio.run(awaited()),
        "put_data": lambda: app.Data(queue).put_data([1, 2], durability="replicated"),
    }


def test_the_replicas_of_the_queues_own_node_confirm_it(own_cluster: Cluster, own_app: App) -> None:
    queues = list(islice(spread(own_cluster, own_app), 3))
    for queue in queues:
        for enqueue in ways(own_app, queue).values():
            enqueue()
        own_app.settings.registry.clear()
    for master in own_cluster.masters:
        for replica in replicas_of(own_cluster, master):
            replica.pause()
    own_app.settings.durability_timeout = 0.3
    try:
        for queue in queues:
            for name, enqueue in ways(own_app, queue).items():
                with pytest.raises(DurabilityNotConfirmed, match="0 of 1 replicas"):
                    print(name, enqueue())
            own_app.settings.registry.clear()
    finally:
        for node in own_cluster.nodes:
            node.resume()


def replicas_of(cluster: Cluster, master: Node) -> list[Node]:
    known = {one["id"]: one["master"] for one in master.view()}
    return [node for node in cluster.nodes if known[node.id] == master.id]


def test_a_slot_that_has_moved_meanwhile_is_followed(own_cluster: Cluster, own_app: App) -> None:
    queue = next(spread(own_cluster, own_app))
    task = own_app.task(name="noop", queue=queue, durability="replicated")(lambda: None)
    task.execute()
    slot = Cluster.slot_of(own_app.task_keys(queue).ready)
    owner = own_cluster.master_of(slot)
    other = next(node for node in own_cluster.masters if node is not owner)
    with own_cluster.moving(slot, other):
        pass
    wait_until(lambda: own_cluster.master_of(slot) is other, 10)
    task.execute()
