"""Data queues on a cluster."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import islice
from typing import Any

import pytest

from rpqueue import App, aio
from rpqueue.data import Data
from tests.cluster.hands import spread
from tests.cluster.nodes import Cluster
from tests.servers import wait_until


@pytest.fixture
def queues(app: App, cluster: Cluster) -> list[Data]:
    """Three data queues, one on each master."""
    return [
        app.Data(name, vis_timeout=30, attempts=2, use_dead=True)
        for name in islice(spread(cluster, app, data=True, stem="d"), 3)
    ]


def test_items_are_put_got_refreshed_and_done_on_every_node(queues: list[Data]) -> None:
    for queue in queues:
        ids = queue.put_data([{"n": n} for n in range(5)])
        items = queue.get_data(5)
        assert list(items) == ids
        assert list(items.values()) == [{"n": n} for n in range(5)]
        assert queue.refresh_data(items, 60) == ids
        assert queue.done_data(items) == ids
        assert queue.done_data(ids) == []
        assert queue.currently_available() == (0, 0)


def test_many_items_arrive_in_order(app: App, queues: list[Data]) -> None:
    queue = queues[1]
    queue.put_data(range(3000))
    got: list[int] = []
    while items := queue.get_data(700):
        got += items.values()
        queue.done_data(items)
    assert got == list(range(3000))


def test_a_blocked_get_wakes_at_once_on_every_node(rare_looks: float, queues: list[Data]) -> None:
    for queue in queues:
        got: list[Any] = []
        getter = threading.Thread(target=lambda queue=queue, got=got: got.append(queue.get_data(3, get_timeout=30)))
        getter.start()
        time.sleep(0.2)
        put_at = time.monotonic()
        queue.put_data([1, 2], is_one=False)
        getter.join(30)
        assert time.monotonic() - put_at < rare_looks, "it was polled for, not heard of"
        assert list(got[0].values()) in ([1, 2], [1])


def test_coroutines_block_on_queues_of_all_nodes_at_the_same_time(
    rare_looks: float, app: App, queues: list[Data]
) -> None:
    async def get_all() -> tuple[list[Any], float]:
        face = aio.of(app)
        sides = [face.Data(queue.queue, vis_timeout=30) for queue in queues]
        getting = asyncio.gather(*(side.get_data(1, get_timeout=30) for side in sides))
        await asyncio.sleep(0.2)
        put_at = time.monotonic()
        for n, side in enumerate(sides):
            await side.put_data([n])
        got = await getting
        took = time.monotonic() - put_at
        for side, items in zip(sides, got, strict=True):
            assert await side.done_data(items) == list(items)
        await face.close()
        return [list(items.values()) for items in got], took

    got, took = asyncio.run(get_all())
    assert got == [[0], [1], [2]]
    assert took < rare_looks, "they were polled for, not heard of"


def test_dead_items_of_all_nodes_are_got_as_one(app: App, queues: list[Data]) -> None:
    for queue in queues:
        queue.put_data([queue.queue])
        for _ in range(2):
            assert wait_until(lambda queue=queue: queue.get_data(1, vis_timeout=0.01))
        time.sleep(0.02)
        assert not queue.get_data(1)
    view = app.Data(app.settings.deadletter_queue)
    assert len(app.read_deadletter(is_data=True)) == 3
    assert len(view.get_data(10)) == 3
    assert app.read_deadletter(is_data=True) == []


def test_a_view_of_dead_items_wakes_when_one_dies(app: App, queues: list[Data]) -> None:
    for queue in queues:
        queue.put_data(["one"])
        queue.get_data(2, vis_timeout=0.01)
        queue.get_data(2, vis_timeout=0.3, get_timeout=5)
    got: list[Any] = []
    view = app.Data(app.settings.deadletter_queue)
    getter = threading.Thread(target=lambda: got.append(view.get_data(1, get_timeout=10)))
    getter.start()
    time.sleep(0.5)
    assert not queues[2].get_data(1)  # which buries what has run out
    getter.join(20)
    assert got
    assert len(got[0]) == 1


def test_deleting_and_clearing(app: App, queues: list[Data]) -> None:
    for queue in queues:
        queue.put_data([1, 2, 3])
    assert queues[0].delete_all() == 3
    assert app.clear_queue(queues[1].queue, is_data=True) == 3
    assert app.clear_queue(queues[2].queue, is_data=True, delete=True) == 3
    assert [queue.currently_available() for queue in queues] == [(0, 0)] * 3


@pytest.mark.parametrize("vis_timeout", [0, 30])
def test_two_consumers_never_get_the_same_item(app: App, queues: list[Data], vis_timeout: float) -> None:
    queues[0].put_data(range(200))
    got: list[int] = []

    def consume() -> None:
        while items := queues[0].get_data(7, vis_timeout=vis_timeout):
            got.extend(items.values())
            if vis_timeout:
                queues[0].done_data(items)

    consumers = [threading.Thread(target=consume) for _ in range(3)]
    for consumer in consumers:
        consumer.start()
    for consumer in consumers:
        consumer.join(20)
    assert sorted(got) == list(range(200))
