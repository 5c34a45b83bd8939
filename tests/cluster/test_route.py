"""The route of a worker on Cluster: what it hears, what it learns, and what it finds when it heard nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from rpqueue import App
from rpqueue.errors import RedisUnavailable
from rpqueue.protocol.cycle import Round
from rpqueue.worker import cluster_route
from rpqueue.worker.cluster_route import ClusterQueues
from tests.cluster.nodes import Cluster

SPREAD = ("a", "b", "c", "d", "e", "f")  # over all three masters


@contextlib.contextmanager
def listening(app: App) -> Iterator[ClusterQueues]:
    """The route of a worker of all queues, which has looked at them and listens."""
    route = ClusterQueues(app, app.broker, None)
    route.queues((), True)
    yield route
    route._hang_up()


@pytest.fixture
def route(app: App) -> Iterator[ClusterQueues]:
    with listening(app) as route:
        yield route


def nothing(due: float = 0.0) -> Round:
    return Round(100.0, [], [], due, [], [], {})


def visit(route: ClusterQueues) -> str | None:
    """Visit the next queue, and find it empty."""
    queues = route.queues((), True)
    if not queues:
        return None
    route.learn(queues, nothing(), 0.0)
    return queues[0].name


def enqueue(app: App, *queues: str, **options: Any) -> None:
    for queue in queues:
        app.task(queue=queue, name=f"task of {queue}")(print).execute(**options)


def test_news_of_any_node_say_where_work_is(app: App, route: ClusterQueues) -> None:
    for queue in SPREAD:
        enqueue(app, queue)
        assert route.wait(app.broker, 5) == queue.encode()
        assert not app.broker.client.exists(app.task_keys(queue).wake)
        route.woken(queue.encode())
        assert not route.is_done
        assert visit(route) == queue
        assert route.is_done


def test_one_of_two_workers_goes_for_a_message(app: App, route: ClusterQueues) -> None:
    with listening(app) as other:
        enqueue(app, "a")
        assert [one.wait(app.broker, 0.3) for one in (route, other)] == [b"a", None]


def test_what_was_said_while_the_worker_was_busy_is_heard_before_its_next_round(
    app: App, route: ClusterQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    route.queues((), True)
    monkeypatch.setattr(cluster_route, "LOOK_EVERY", 60.0)
    enqueue(app, *SPREAD)
    seen = {visit(route) for _ in range(40)}
    assert seen - {None} == set(SPREAD)


def test_a_look_finds_what_nobody_told(app: App, cluster: Cluster) -> None:
    enqueue(app, *SPREAD)
    enqueue(app, "later", delay=60)
    fresh = App(cluster.url, prefix="test")
    route = ClusterQueues(fresh, fresh.broker, None)
    assert {visit(route) for _ in range(len(SPREAD) + 2)} == {*SPREAD, "later", None}
    fresh.broker.close()


def test_a_look_takes_some_queues_at_a_time_and_all_have_their_turn(
    app: App, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(app, *SPREAD)
    monkeypatch.setattr(cluster_route, "LOOKED_AT", 2)
    monkeypatch.setattr(cluster_route, "LOOK_EVERY", 0.0)
    fresh = App(cluster.url, prefix="test")
    route = ClusterQueues(fresh, fresh.broker, None)
    assert {visit(route) for _ in range(20)} >= set(SPREAD)
    fresh.broker.close()


def test_the_most_urgent_queue_goes_first(app: App, cluster: Cluster) -> None:
    enqueue(app, *SPREAD)
    for priority, queue in enumerate(("c", "a")):
        app.set_priority(queue, priority)
    fresh = App(cluster.url, prefix="test")
    route = ClusterQueues(fresh, fresh.broker, None)
    assert [visit(route) for _ in range(2)] == ["c", "a"]
    fresh.broker.close()


def test_a_worker_of_named_queues_visits_no_others(app: App) -> None:
    enqueue(app, *SPREAD)
    route = ClusterQueues(app, app.broker, ["a", "b"])
    assert {visit(route) for _ in range(8)} == {"a", "b", None}
    enqueue(app, "c")
    assert route.wait(app.broker, 0.3) is None
    route._hang_up()


def test_acks_go_to_their_own_queue_before_one_that_is_only_due(app: App) -> None:
    route = ClusterQueues(app, app.broker, ["a", "b"])
    for queue in ("a", "b"):
        route.learn([app.task_keys(queue)], nothing(due=100.0), 0.0)
    assert [queue.name for queue in route.queues(["b"], False)] == ["b"]
    assert len(route.queues((), False)) == 1


def test_the_first_due_instant_of_all_queues_is_told(app: App) -> None:
    route = ClusterQueues(app, app.broker, ["a", "b"])
    assert route.learn([app.task_keys("a")], nothing(due=105.0), 20.0) == 25.0
    assert route.learn([app.task_keys("b")], nothing(due=101.0), 20.0) == 21.0
    assert route.learn([app.task_keys("b")], nothing(), 20.0) == 25.0


def test_who_leaves_hands_on_what_he_was_woken_for(app: App, route: ClusterQueues) -> None:
    with listening(app) as other:
        enqueue(app, "grün {1}")
        name = route.wait(app.broker, 5)
        route.woken(name)
        assert other.wait(app.broker, 0.2) is None
        for operation in route.farewell():
            app.broker.execute(operation)
        assert other.wait(app.broker, 5) == name == "grün {1}".encode()


def test_a_listener_that_breaks_is_replaced_and_the_queues_are_looked_at(
    app: App, route: ClusterQueues, client: redis.RedisCluster
) -> None:
    for node in client.get_primaries():
        client.client_kill_filter(_type="pubsub", target_nodes=node)
    with pytest.raises(RedisUnavailable):
        route.wait(app.broker, 5)
    assert route.wait(app.broker, 1) == b""
    enqueue(app, "a")
    assert route.wait(app.broker, 5) == b"a"
