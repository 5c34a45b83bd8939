"""Programs that enqueue, wait and cancel, on a cluster: their queues lie on different nodes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from rpqueue import App, aio
from rpqueue.attempts import Attempts
from rpqueue.errors import IdTaken, NoLock, ResultTimeout, TaskCancelled, TaskFailed
from tests.cluster.hands import fail, finish, spread, waiting
from tests.cluster.nodes import Cluster
from tests.servers import wait_until


def test_calls_go_into_queues_on_all_nodes(cluster: Cluster, app: App, queues: list[str], add: Any) -> None:
    calls = [add.execute(1, 2, _queue=queue) for queue in queues]
    places = {cluster.master_of(cluster.slot_of(app.task_keys(queue).ready)) for queue in queues}
    assert places == set(cluster.masters)
    for queue, call in zip(queues, calls, strict=True):
        assert (waiting(app, queue), call.status) == ([call.taskid], "waiting")


def test_the_same_call_under_one_id_is_one_call(app: App, queues: list[str], add: Any) -> None:
    for _ in range(2):
        add.execute(1, 2, taskid="mine", _queue=queues[1])
    assert waiting(app, queues[1]) == ["mine"]
    with pytest.raises(IdTaken):
        add.execute(2, 3, taskid="mine", _queue=queues[1])


def test_many_calls_of_one_task_keep_their_order(app: App, add: Any) -> None:
    calls = add.execute_many([(n, 1) for n in range(800)])
    assert waiting(app, add.queue) == [call.taskid for call in calls]


def test_each_sending_of_a_call_by_redis_py_is_counted(app: App, queues: list[str]) -> None:
    key, attempts, awaited = app.task_keys(queues[1]).ready, Attempts(), Attempts()
    app.broker.client.execute_command(*attempts.counted(("LLEN", key)))

    async def ask() -> None:
        client = await aio.of(app).broker.client()
        await client.execute_command(*awaited.counted(("LLEN", key)))
        await aio.of(app).close()

    asyncio.run(ask())
    assert (attempts.number, awaited.number) == (1, 1)


@pytest.mark.parametrize("is_awaited", [False, True])
def test_a_pipeline_fills_queues_on_all_nodes_in_order(
    app: App, cluster: Cluster, queues: list[str], add: Any, is_awaited: bool
) -> None:
    items = app.Data(next(spread(cluster, app, data=True)), vis_timeout=30)
    calls = []

    def fill() -> None:
        for n in range(90):
            calls.append(add.execute(n, 1, _queue=queues[n % 3]))
        items.put_data(list(range(5)))

    async def awaited() -> None:
        face = aio.of(app)
        async with face.pipeline():
            for n in range(90):
                calls.append(await face.execute(add, n, 1, _queue=queues[n % 3]))
            await face.Data(items.queue, vis_timeout=30).put_data(list(range(5)))
        await face.close()

    if is_awaited:
        asyncio.run(awaited())
    else:
        with app.pipeline():
            fill()
    for n, queue in enumerate(queues):
        assert waiting(app, queue) == [call.taskid for call in calls[n::3]]
    assert list(items.get_data(10).values()) == list(range(5))


def test_a_refused_call_leaves_the_other_nodes_calls_in_the_pipeline(app: App, queues: list[str], add: Any) -> None:
    add.execute(1, 1, taskid="taken", _queue=queues[1])
    with pytest.raises(IdTaken), app.pipeline():  # noqa: PT012
        good = [add.execute(1, 2, _queue=queue) for queue in (queues[0], queues[2])]
        add.execute(2, 2, taskid="taken", _queue=queues[1])
    assert [waiting(app, queue) for queue in queues] == [[good[0].taskid], ["taken"], [good[1].taskid]]


def test_results_come_from_every_node_at_once(
    rare_looks: float, app: App, queues: list[str], add: Any, start: Any
) -> None:
    calls = [add.execute(1, 2, _queue=queue) for queue in queues]
    with pytest.raises(ResultTimeout):
        calls[0].get(0.01)
    waiters = [start(call.get, 30) for call in calls]
    time.sleep(0.3)  # so that all of them listen
    ended_at = time.monotonic()
    for n, queue in enumerate(queues):
        finish(app, queue, n)
    wait_until(lambda: all(waiters))
    assert waiters == [[0], [1], [2]]
    assert time.monotonic() - ended_at < rare_looks, "it was polled for, not heard of"


def test_coroutines_wait_for_results_on_every_node(
    rare_looks: float, app: App, queues: list[str], add: Any, start: Any
) -> None:
    async def wait_for_all() -> list[int]:
        face = aio.of(app)
        calls = [await face.execute(add, 1, 2, _queue=queue) for queue in queues]
        results = await asyncio.gather(*(call.get(30) for call in calls))
        await face.close()
        return list(results)

    waiter = start(asyncio.run, wait_for_all())
    for n, queue in enumerate(queues):
        wait_until(lambda queue=queue: finish(app, queue, n))  # noqa: B023
    ended_at = time.monotonic()
    wait_until(lambda: waiter)
    assert waiter == [[0, 1, 2]]
    assert time.monotonic() - ended_at < rare_looks, "it was polled for, not heard of"


def test_an_end_without_result_is_heard_of_as_well(app: App, queues: list[str], add: Any, start: Any) -> None:
    failing, cancelled = (add.execute(1, 2, _queue=queue) for queue in queues[:2])
    waiters = [start(call.get, 20) for call in (failing, cancelled)]
    time.sleep(0.1)
    fail(app, queues[0])
    assert cancelled.cancel() is True
    wait_until(lambda: all(waiters))
    assert [type(waiter[0]) for waiter in waiters] == [TaskFailed, TaskCancelled]
    assert (failing.status, cancelled.status) == ("dead", "cancelled")


def test_delayed_calls_are_early_until_they_are_due_and_can_be_cancelled(app: App, queues: list[str], add: Any) -> None:
    calls = [add.execute(1, 2, delay=60, _queue=queue) for queue in queues]
    assert [call.status for call in calls] == ["early"] * 3
    assert calls[1].args[2:4] == [[1, 2], {}]
    assert app.delete_item(queues[1], calls[1].taskid) is True
    assert calls[2].cancel() is True
    assert [call.status for call in calls] == ["early", "cancelled", "cancelled"]


def test_a_lock_is_held_by_one_at_a_time(app: App) -> None:
    for n in range(5):
        with app.SimpleLock(name=f"lock {n}", duration=5), pytest.raises(NoLock):
            app.SimpleLock(name=f"lock {n}", duration=5).acquire()
        with app.SimpleLock(name=f"lock {n}", duration=5) as lock:
            lock.refresh()


def test_hundreds_of_coroutines_may_begin_at_once(app: App, queues: list[str], add: Any) -> None:
    async def enqueue_all() -> list[Any]:
        face = aio.of(app)
        calls = await asyncio.gather(*(face.execute(add, n, 1, _queue=queues[n % 3]) for n in range(300)))
        await face.close()
        return calls

    calls = asyncio.run(enqueue_all())
    for n, queue in enumerate(queues):
        assert sorted(waiting(app, queue)) == sorted(call.taskid for call in calls[n::3])
