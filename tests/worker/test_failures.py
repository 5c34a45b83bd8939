"""What becomes of tasks that raise."""

from __future__ import annotations

import socket

import pytest

from rpqueue.errors import TaskFailed
from rpqueue.states import State
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench


@pytest.mark.parametrize("function", ["boom", "boom_async"])
def test_a_task_that_raises_has_failed_and_tells_all_about_it(bench: Bench, function: str) -> None:
    boom = bench.task(function)
    worker = bench.start()
    call = boom.execute("now")
    with pytest.raises(TaskFailed, match=r"ValueError: boom now") as caught:
        call.get(SOON)
    assert f"in {function}\n    raise ValueError" in str(caught.value)
    error = caught.value.error
    assert error["exception"] == "ValueError"
    assert error["message"] == "boom now"
    assert error["traceback"].rstrip().endswith("ValueError: boom now")
    assert error["host"] == socket.gethostname()
    assert error["pid"] == worker.child()
    assert error["attempt"] == 1
    assert error["started_at"] <= error["failed_at"]
    assert call.status == "failed"
    assert bench.ids("failed") == [call.taskid]
    assert bench.labels("start") == ["now"]


def test_a_failure_is_logged_with_its_traceback_and_the_worker_goes_on(bench: Bench) -> None:
    boom, echo = bench.task("boom"), bench.task("echo", save_results=60)
    worker = bench.start()
    failed = boom.execute()
    assert echo.execute(1).get(SOON) == 1
    assert bench.until(failed, "failed")
    assert "ERROR rpqueue.task task failed\nTraceback (most recent call last):" in worker.log


def test_with_use_dead_it_is_dead_lettered(bench: Bench) -> None:
    boom = bench.task("boom", use_dead=True)
    bench.start()
    call = boom.execute(1, two=2)
    with pytest.raises(TaskFailed):
        call.get(SOON)
    assert call.status == "dead"
    [row] = bench.app.read_deadletter()
    assert row[:4] == [call.taskid, "boom", [1], {"two": 2}]


def test_sys_exit_in_a_task_is_a_failure_and_not_the_end_of_the_worker(bench: Bench) -> None:
    leave, echo = bench.task("leave"), bench.task("echo", save_results=60)
    worker = bench.start()
    before = worker.child()
    call = leave.execute()
    with pytest.raises(TaskFailed, match="SystemExit"):
        call.get(SOON)
    assert echo.execute(1).get(SOON) == 1
    assert worker.child() == before


@pytest.mark.parametrize(("use_dead", "ends"), [(True, "dead"), (False, "failed")])
def test_a_task_with_vis_timeout_that_raises_is_tried_again_up_to_its_attempts(
    bench: Bench, use_dead: bool, ends: str
) -> None:
    boom = bench.task("boom", vis_timeout=30, attempts=3, retry_delay=0, use_dead=use_dead)
    bench.start()
    call = boom.execute("x")
    with pytest.raises(TaskFailed) as caught:
        call.get(SOON)
    assert call.status == ends
    assert caught.value.error["attempt"] == 3
    assert bench.labels("start") == ["x"] * 3
    assert bench.stats() == {"seen": 1, "claimed": 3, "errors": 3, ends: 1}


def test_it_is_tried_again_after_its_retry_delay_and_not_before(bench: Bench) -> None:
    boom = bench.task("boom", vis_timeout=30, attempts=2, retry_delay=0.5)
    bench.start()
    call = boom.execute("x")
    bench.until_noted("start")
    assert bench.until(call, "early", "failed") == "early"
    first, second = bench.until_noted("start", number=2)
    assert 0.5 <= second["at"] - first["at"] < 0.5 + SOON


def test_it_is_tried_again_when_its_visibility_timeout_would_have_ended_if_that_is_sooner(bench: Bench) -> None:
    boom = bench.task("boom", vis_timeout=0.6, attempts=2, retry_delay=600)
    bench.start()
    boom.execute("x")
    first, second = bench.until_noted("start", number=2)
    assert second["at"] - first["at"] > 0.5


def test_a_result_that_json_cannot_carry_is_a_failure(bench: Bench) -> None:
    echo = bench.task("unfit", save_results=60)
    bench.start()
    with pytest.raises(TaskFailed, match="result of unfit"):
        echo.execute().get(SOON)


def test_arguments_that_do_not_fit_are_a_failure(bench: Bench) -> None:
    echo = bench.task("echo")
    bench.start()
    with pytest.raises(TaskFailed, match="TypeError"):
        echo.execute(1, 2, 3).get(SOON)


def test_a_failed_task_can_be_put_back_and_runs_again(bench: Bench) -> None:
    boom = bench.task("boom")
    bench.start()
    call = boom.execute("x")
    bench.until(call, "failed")
    assert bench.redrive(State.FAILED) == [call.taskid]
    bench.until_noted("start", "x", 2)
    bench.until(call, "failed")


def test_retry_in_a_task_counts_every_try(bench: Bench) -> None:
    countdown = bench.task("fail_until_zero", attempts=3, retry_delay=0)
    bench.start()
    countdown.execute(3)
    bench.until_noted("start", number=3)
    bench.until_empty()
    assert [(entry["label"], entry["attempts"]) for entry in bench.notes("start")] == [(3, 3), (2, 2), (1, 1)]
    countdown.execute(2)
    bench.until_noted("succeeded")
    bench.until_empty()
    assert [(entry["label"], entry["attempts"]) for entry in bench.notes("start")[3:]] == [(2, 3), (1, 2), (0, 1)]


def test_attempts_of_one_call_are_its_own(bench: Bench) -> None:
    countdown = bench.task("fail_until_zero", attempts=1, retry_delay=0)
    bench.start()
    countdown.execute(5, _attempts=2)
    bench.until_noted("start", number=2)
    bench.until_empty()
    assert [(entry["label"], entry["attempts"]) for entry in bench.notes("start")] == [(5, 2), (4, 1)]


def test_failed_messages_are_kept_up_to_a_number(bench: Bench) -> None:
    boom = bench.task("boom")
    bench.start(keep_failed=2)
    calls = []
    for number in range(4):
        calls.append(boom.execute(str(number)))
        bench.until(calls[-1], "failed")
    assert bench.ids("failed") == [call.taskid for call in calls[2:]]
    assert [call.status for call in calls] == ["done", "done", "failed", "failed"]


def test_a_task_is_known_by_name_where_it_was_never_imported(bench: Bench) -> None:
    boom = bench.task("boom", use_dead=True, queue="far")
    bench.start()
    stranger = type(bench.app)(bench.server.url, bench.prefix)
    wait_until(lambda: boom.name in stranger.known_tasks, description="the worker told Redis its tasks")
    call = stranger.known_tasks[boom.name].execute("x")
    assert call.queue == "far"
    with pytest.raises(TaskFailed):
        call.get(SOON)
    assert call.status == "dead"
    stranger.broker.close()
