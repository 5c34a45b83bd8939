"""Task.tasks_from_queue and Task.from_id: the rows of TaskTiger's table about its Task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rpqueue import App
from rpqueue.errors import RefusedInput, UnknownTask
from rpqueue.tasks import Task
from tests.servers import wait_until


@pytest.fixture
def work(app: App) -> Task[..., Any]:
    @app.task(queue="mail", name="work")
    def work(number: int, *, fails: bool = False) -> int:
        if fails:
            raise ValueError(f"number {number}")
        return number * 2

    return work


def test_tasks_from_queue_has_the_total_and_a_slice_latest_first(app: App, work: Task[..., Any]) -> None:
    ids = [work.execute(n).taskid for n in range(250)]
    for state in ("queued", "ready"):
        total, tasks = app.Task.tasks_from_queue("mail", state)
        assert (total, [task.id for task in tasks]) == (250, ids[::-1])
    total, tasks = app.Task.tasks_from_queue("mail", "queued", skip=3, limit=120)
    assert (total, [task.id for task in tasks]) == (250, ids[::-1][3:123])
    assert app.Task.tasks_from_queue("mail", "queued", limit=0) == (250, [])
    assert app.Task.tasks_from_queue("mail", "active") == (0, [])
    assert app.Task.tasks_from_queue("mail", "error", skip=5) == (0, [])


def test_parked_tasks_are_sliced_too(app: App, work: Task[..., Any]) -> None:
    call = work.execute(1)
    app.broker.client.lrem(call.keys.ready, 1, call.taskid)
    app.broker.client.hset(call.keys.parked, call.taskid, "work")
    total, [task] = app.Task.tasks_from_queue("mail", "parked")
    assert (total, task.id) == (1, call.taskid)
    assert app.Task.tasks_from_queue("mail", "parked", skip=1) == (1, [])


def test_a_task_tells_id_data_func_args_and_kwargs(app: App, work: Task[..., Any]) -> None:
    call = work.execute(5, fails=False, delay=60)
    task = app.Task.from_id("mail", "scheduled", call.taskid)
    assert task is not None
    assert (task.id, task.queue, task.serialized_func) == (call.taskid, "mail", "work")
    assert (task.args, task.kwargs, task.executions) == ([5], {"fails": False}, [])
    assert task.data["id"] == call.taskid
    assert task.func is work.function
    assert task.execute() == 10
    assert call.taskid in repr(task)
    assert app.Task.from_id("mail", "queued", call.taskid) is None
    assert app.Task.from_id("mail", "scheduled", "nobody") is None
    del app.settings.registry["work"]
    other = app.Task.from_id("mail", "scheduled", call.taskid)
    assert other is not None
    with pytest.raises(UnknownTask, match="'work': expected a task of this process"):
        other.func()


def test_a_task_in_error_tells_its_executions_and_is_retried(
    app: App, work: Task[..., Any], start_worker: Callable[..., None]
) -> None:
    call = work.execute(7, fails=True)
    start_worker()
    wait_until(lambda: call.status == "failed")
    total, [task] = app.Task.tasks_from_queue("mail", "error", load_executions=5)
    assert total == 1
    [execution] = task.executions
    assert execution["exception_name"] == "ValueError"
    assert "number 7" in execution["traceback"]
    assert execution["host"]
    assert execution["time_started"] <= execution["time_failed"]
    assert task.n_executions() == 1
    assert app.Task.tasks_from_queue("mail", "error")[1][0].executions == []
    assert task.retry() is True
    wait_until(lambda: task.n_executions() == 2)
    wait_until(lambda: call.status == "failed")
    found = app.Task.from_id("mail", "error", task.id, load_executions=1)
    assert found is not None
    assert len(found.executions) == 1
    assert task.delete() is True
    assert app.Task.tasks_from_queue("mail", "error") == (0, [])


def test_a_scheduled_task_is_moved_and_cancelled(app: App, work: Task[..., Any]) -> None:
    work.execute(1, delay=60)
    _, [task] = app.Task.tasks_from_queue("mail", "scheduled")
    before = task.view.at
    assert task.update_scheduled_time(before + 600) is True
    _, [moved] = app.Task.tasks_from_queue("mail", "scheduled")
    assert moved.view.at == pytest.approx(before + 600, abs=0.01)
    assert task.cancel() is True
    assert app.Task.tasks_from_queue("mail", "scheduled") == (0, [])


def test_hidden_arguments_stay_hidden(app: App) -> None:
    secret = app.task(queue="mail", name="secret", redact=True)(lambda value: None)
    secret.execute("hush")
    _, [task] = app.Task.tasks_from_queue("mail", "queued")
    assert "hush" not in repr((task.args, task.data))


def test_a_state_that_is_none_is_refused(app: App) -> None:
    with pytest.raises(RefusedInput, match=r"state: expected ready, .*, got 'errors'; did you mean 'error'"):
        app.Task.tasks_from_queue("mail", "errors")
