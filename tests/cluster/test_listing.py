"""What finds queues by itself, on a cluster: inspection, dead letters, flush_tasks, the command line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

import rpqueue
from rpqueue import App, aio
from rpqueue.cli import main
from rpqueue.inspection import Inspection
from rpqueue.protocol import moves
from rpqueue.states import State
from rpqueue.worker.janitor import Janitor
from tests.cluster.hands import claim, fail, finish, spread, waiting
from tests.cluster.nodes import Cluster
from tests.servers import wait_until

Run = Callable[..., Result]


@pytest.fixture
def run(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Run:
    """run("status", "--json"): a command on the cluster, in this process."""
    monkeypatch.delenv("RPQUEUE_URL", raising=False)

    def run(*arguments: str, **options: Any) -> Result:
        monkeypatch.setattr(rpqueue, "app", App(prefix="test"))
        result = CliRunner().invoke(main, [*arguments, "--url", cluster.url], **options)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        rpqueue.app.broker.close()
        return result

    return run


def test_queues_are_known_once_something_came_in(app: App, queues: list[str], add: Any) -> None:
    add.execute(1, 2, _queue=queues[0])
    for _ in range(2):
        add.execute(1, 2, _queue=queues[1])
    with app.pipeline():
        add.execute(1, 2, _queue=queues[2], delay=60)
    assert app.known_queues() == sorted(queues)
    assert app.queue_sizes() == [
        (queue, 2 if queue == queues[1] else 1, 2 if queue == queues[1] else 1) for queue in sorted(queues)
    ]


def test_a_queue_that_is_deleted_is_empty_and_has_no_priority(app: App, queues: list[str], add: Any) -> None:
    for queue in queues:
        add.execute(1, 2, _queue=queue)
    app.set_priority(queues[1], 1)
    assert app.clear_queue(queues[1]) == 1
    assert app.known_queues()[0] == queues[1]
    app.clear_queue(queues[1], delete=True)
    assert app.known_queues() == sorted(queues)  # it stays known: nothing on Cluster could unlist it safely
    assert {queue: seen for queue, _, seen in app.queue_sizes()}[queues[1]] == 0
    add.execute(1, 2, _queue=queues[1])
    assert waiting(app, queues[1])


def test_priorities_are_kept_and_shown(app: App, queues: list[str], add: Any) -> None:
    for n, queue in enumerate(queues):
        app.set_priority(queue, -n)
        add.execute(1, 2, _queue=queue)
    assert app.known_queues() == queues[::-1]
    app.set_priority(queues[0], None)
    assert [(row.name, row.priority) for row in Inspection(app).queues()] == [
        (queues[2], -2.0),
        (queues[1], -1.0),
        (queues[0], None),
    ]


def test_dead_letters_of_all_nodes_are_read_as_one(app: App, queues: list[str], add: Any) -> None:
    ids = []
    for queue in queues:
        ids.append(add.execute(1, 2, _queue=queue).taskid)
        fail(app, queue)
        time.sleep(0.005)  # so that the next one dies in another millisecond
    assert [row[0] for row in app.read_deadletter()] == ids
    assert [row[0] for row in app.get_page("DEADLETTER_QUEUE", 1)] == ids
    assert app.delete_item("DEADLETTER_QUEUE", ids[1]) is True
    assert [row[0] for row in app.read_deadletter(delete=True, limit=1)] == ids[:1]
    assert [row[0] for row in app.read_deadletter()] == ids[2:]


def test_results_are_found_without_saying_where(app: App, queues: list[str], add: Any) -> None:
    ids = [add.execute(1, 2, _queue=queue).taskid for queue in queues]
    for n, queue in enumerate(queues):
        finish(app, queue, n)
    assert app.results([*ids, "nobody"]) == [0, 1, 2, None]
    assert app.result(ids[2]) == 2

    async def awaited() -> list[Any]:
        face = aio.of(app)
        try:
            return await face.results([*ids, "nobody"])
        finally:
            await face.close()

    assert asyncio.run(awaited()) == [0, 1, 2, None]


def test_flush_tasks_waits_for_queues_on_all_nodes(app: App, queues: list[str], add: Any, start: Any) -> None:
    ids = [add.execute(1, 2, _queue=queue).taskid for queue in queues]
    last = sorted(queues)[-1]  # which is listed last
    ids.append(add.execute(1, 2, delay=60, _queue=last).taskid)
    flushed = start(lambda: app.flush_tasks(complete=True, force_delayed=True, timeout=20))
    wait_until(lambda: app.broker.client.llen(app.task_keys(last).ready) == 2)  # it has forced what was delayed
    ended = []
    for queue in (*queues, last):
        ended += wait_until(lambda queue=queue: finish(app, queue, 1))
    assert sorted(ended) == sorted(ids)
    wait_until(lambda: flushed)
    assert sorted(flushed[0].done) == sorted(ids)
    assert not flushed[0].waiting


def test_inspection_sees_queues_of_all_nodes(app: App, cluster: Cluster, queues: list[str], add: Any) -> None:
    calls = [add.execute(n, 2, _queue=queue) for n, queue in enumerate(queues)]
    later = add.execute(1, 2, delay=60, _queue=queues[0])
    [(held, token)] = claim(app, queues[1])
    app.broker.execute(moves.park(app.task_keys(queues[1]), [(held, token, "unknown.task")]))
    fail(app, queues[2])
    app.Data(next(spread(cluster, app, data=True, stem="d"))).put_data([1, 2])
    look = Inspection(app)
    rows = {row.name: row for row in look.queues()}
    assert [rows[queues[0]].ready, rows[queues[0]].scheduled, rows[queues[1]].parked, rows[queues[2]].dead] == [1] * 4
    assert sorted(row.kind for row in rows.values()) == ["data", "tasks", "tasks", "tasks"]
    assert look.parked_names() == {"unknown.task": 1}
    for call in (*calls, later):
        found = look.message(call.taskid)
        assert found is not None
        assert found.id == call.taskid
    assert look.message("nobody") is None
    assert [one.id for one in look.buried(State.DEAD)] == [calls[2].taskid]


def test_what_was_given_up_on_all_nodes_is_run_again_and_deleted(app: App, queues: list[str], add: Any) -> None:
    calls = [add.execute(n, 2, _queue=queue) for n, queue in enumerate(queues)]
    for queue in queues:
        fail(app, queue)
    look = Inspection(app)
    first = look.page(None, "dead", limit=2)
    rest = look.page(None, "dead", first.after)
    assert sorted(view.id for page in (first, rest) for view in page.messages) == sorted(call.taskid for call in calls)
    assert look.names(None, "error").names == {calls[0].name: 3}
    assert calls[0].retry() is True
    assert calls[0].n_executions() == 1
    assert app.redrive(name=calls[0].name, rate=0.001) == 2
    assert [view.state for view in look.page(None, "scheduled").messages] == [State.SCHEDULED] * 2
    assert calls[1].run_now() is True
    assert calls[2].update_scheduled_time(timedelta(hours=3)) is True
    for call in calls[:2]:
        fail(app, call.queue)
    assert calls[2].delete() is True
    assert app.purge_errored_tasks(limit=1) == 1
    app.settings.dead_ttl = 0.001
    janitor = Janitor(app, app.broker)
    while janitor.tick() < janitor.INTERVAL:
        pass
    assert sum(row.retired for row in look.queues()) == 1
    assert look.page(None, "error").messages == []


def test_the_command_line_looks_into_a_cluster_and_changes_it(app: App, run: Run, queues: list[str], add: Any) -> None:
    calls = [add.execute(n, 2, _queue=queue) for n, queue in enumerate(queues)]
    for queue in queues[:2]:
        fail(app, queue)
    told = json.loads(run("status", "--json").output)
    assert {row["name"]: (row["ready"], row["dead"]) for row in told["queues"]} == dict(
        zip(queues, [(0, 1), (0, 1), (1, 0)], strict=True)
    )
    assert calls[2].taskid in run("page", queues[2]).output
    assert run("task", "show", calls[0].taskid).exit_code == 0
    assert run("priority", queues[2], "3").exit_code == 0
    assert app.known_queues()[0] == queues[2]
    assert all(call.taskid in run("dead", "ls").output for call in calls[:2])
    assert run("dead", "redrive", calls[0].taskid).exit_code == 0
    assert run("dead", "redrive", "--all").exit_code == 0
    assert [waiting(app, queue) for queue in queues] == [[call.taskid] for call in calls]
    assert run("task", "cancel", calls[1].taskid).exit_code == 0
    assert run("clear", queues[0], "--yes").exit_code == 0
    assert [waiting(app, queue) for queue in queues] == [[], [], [calls[2].taskid]]
