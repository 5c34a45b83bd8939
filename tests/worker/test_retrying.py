"""Retrying: when a call runs again, what counts as a run, and what is left of it in the end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from rpqueue import App, RetryException, StopRetry, current_task, exponential, fixed
from rpqueue.enqueued import EnqueuedTask
from rpqueue.errors import TaskFailed, TaskLost, TaskTimeout
from rpqueue.protocol import moves
from rpqueue.states import State
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench
from tests.worker.here import working

Declare = Callable[..., Any]


@pytest.fixture
def runs() -> list[int]:
    """The attempts of all runs, in order."""
    return []


@pytest.fixture
def failing(app: App, runs: list[int]) -> Declare:
    """failing(error=ValueError("x"), **options): a task that notes its attempt and raises that."""

    def declare(error: BaseException | None = None, **options: Any) -> Any:
        def fails() -> None:
            runs.append(current_task().attempt)
            raise error or ValueError("x")

        return app.task(name="fails", **options)(fails)

    return declare


def end_of(app: App, task: Any, **options: Any) -> tuple[EnqueuedTask, TaskFailed]:
    """A call, and how it failed once a worker has done what it could."""
    with working(app):
        call = task.execute(**options)
        with pytest.raises(TaskFailed) as caught:
            call.get(SOON)
    return call, caught.value


@pytest.mark.parametrize("vis_timeout", [0, 60])
@pytest.mark.parametrize(("use_dead", "ends"), [(False, "failed"), (True, "dead")])
def test_it_runs_as_often_as_its_method_says_and_is_kept_with_its_history(
    app: App, failing: Declare, runs: list[int], vis_timeout: float, use_dead: bool, ends: str
) -> None:
    task = failing(retry_method=fixed(0, 2), vis_timeout=vis_timeout, use_dead=use_dead)
    call, failure = end_of(app, task)
    assert (runs, call.status) == ([1, 2, 3], ends)
    [where] = app.broker.execute(call.whereabouts())
    assert (where.failures, where.crashes, len(where.earlier)) == (3, 0, 2)
    assert (failure.error["exception"], failure.error["attempt"]) == ("ValueError", 3)


def test_pauses_are_by_redis_clock_and_not_shorter_than_said(app: App, runs: list[int]) -> None:
    at: list[float] = []

    @app.task(retry_method=exponential(0.2, 2, 2))
    def fails() -> None:
        at.append(time.monotonic())
        raise ValueError

    call, _ = end_of(app, fails)
    assert len(at) == 3
    assert at[1] - at[0] >= 0.19
    assert at[2] - at[1] >= 0.39
    assert call.status == "failed"


def test_between_two_runs_it_is_early_and_can_be_cancelled(app: App, failing: Declare, runs: list[int]) -> None:
    task = failing(retry_method=fixed(600, 9), save_results=60)
    with working(app):
        call = task.execute()
        wait_until(lambda: call.status == "early", SOON)
    assert call.cancel() is True
    assert (call.status, runs) == ("cancelled", [1])


def test_what_does_not_call_for_a_retry_ends_it_though_attempts_are_left(
    app: App, failing: Declare, runs: list[int]
) -> None:
    call, _ = end_of(app, failing(retry_on=KeyError, vis_timeout=60, attempts=5))
    assert (runs, call.status) == ([1], "failed")


def test_a_task_may_say_itself_that_it_is_not_to_be_retried(app: App, failing: Declare, runs: list[int]) -> None:
    call, failure = end_of(app, failing(StopRetry("no use"), vis_timeout=60, attempts=5))
    assert (runs, call.status, failure.error["message"]) == ([1], "failed", "no use")


def test_a_task_without_options_retries_by_retry_exception(app: App, failing: Declare, runs: list[int]) -> None:
    app.settings.default_retry_method = fixed(0, 3)
    call, _ = end_of(app, failing(RetryException()))
    assert (runs, call.status) == ([1, 2, 3, 4], "failed")


@pytest.mark.parametrize("vis_timeout", [0, 60])
@pytest.mark.parametrize(("attempts", "told"), [(3, None), (1, 3), (9, 3)])
def test_attempts_of_the_task_or_the_call_bound_all_runs(
    app: App, failing: Declare, runs: list[int], vis_timeout: float, attempts: int, told: int | None
) -> None:
    task = failing(RetryException(fixed(0, 99)), attempts=attempts, retry=True, vis_timeout=vis_timeout)
    call, _ = end_of(app, task, **({} if told is None else {"_attempts": told}))
    assert (runs, call.status) == ([1, 2, 3], "failed")


def test_a_method_that_fails_gives_it_up_and_says_why(app: App, failing: Declare, runs: list[int]) -> None:
    call, failure = end_of(app, failing(retry_method=lambda retry: 1 / 0, vis_timeout=60, attempts=5))
    assert (runs, call.status, failure.error["exception"]) == ([1], "failed", "ZeroDivisionError")
    assert "ValueError: x" in failure.error["traceback"]


@pytest.mark.parametrize("raises", [SystemExit(1), KeyboardInterrupt()])
def test_whatever_it_raises_the_worker_goes_on(app: App, failing: Declare, raises: BaseException) -> None:
    def method(retry: int) -> float:
        raise raises

    task, fine = failing(retry_method=method), app.task(name="fine", save_results=60)(lambda: 1)
    with working(app):
        call = task.execute()
        with pytest.raises(TaskFailed, match=type(raises).__name__):
            call.get(SOON)
        assert fine.execute().get(SOON) == 1


# ---- What counts as a run.


def test_a_lease_that_runs_out_counts_as_a_run(app: App, runs: list[int]) -> None:
    go = threading.Event()

    @app.task(vis_timeout=0.3, retry_method=fixed(0, 2))
    def slow() -> None:
        runs.append(current_task().attempt)
        if current_task().attempt == 1:
            go.wait(SOON)
        else:
            raise ValueError

    with working(app, threads=2):
        call = slow.execute()
        with pytest.raises(TaskFailed):
            call.get(SOON)
        go.set()
    assert (runs, call.status) == ([1, 2, 3], "failed")


def test_leases_that_run_out_end_with_the_retries_of_the_method(app: App, runs: list[int]) -> None:
    go = threading.Event()

    @app.task(vis_timeout=0.2, retry_method=fixed(0, 1))
    def slow() -> None:
        runs.append(current_task().attempt)
        go.wait(SOON)

    with working(app, threads=3):
        call = slow.execute()
        with pytest.raises(TaskFailed, match="expired"):
            call.get(SOON)
        go.set()
    assert (runs, call.status) == ([1, 2], "failed")


def test_without_vis_timeout_it_is_lost_with_its_worker_also_between_retries(bench: Bench) -> None:
    hold = bench.task("hold", retry=True)
    bench.start()
    call = hold.execute("x")
    bench.until_noted("start")
    os.kill(bench.notes("start")[0]["pid"], signal.SIGKILL)
    with pytest.raises(TaskLost):
        call.get(SOON)
    assert (call.status, bench.labels("start")) == ("lost", ["x"])


def test_with_vis_timeout_a_crash_counts_as_a_run(bench: Bench) -> None:
    crash = bench.task("crash", retry=True, attempts=2, vis_timeout=60)
    bench.start()
    call = crash.execute("x")
    with pytest.raises(TaskFailed):
        call.get(SOON)
    assert (call.status, bench.labels("start")) == ("failed", ["x"] * 2)


def test_redriven_it_has_all_its_retries_again(app: App, failing: Declare, runs: list[int]) -> None:
    task = failing(retry_method=fixed(0, 1))
    call, _ = end_of(app, task)
    app.broker.execute(moves.redrive(call.keys, app.index, State.FAILED))
    with working(app), pytest.raises(TaskFailed):
        call.get(SOON)
    assert runs == [1, 2, 1, 2]


def test_task_retry_goes_on_counting_where_the_run_stands(app: App) -> None:
    seen: list[tuple[int, int]] = []

    @app.task(attempts=3, retry_method=fixed(0, 9), retry_delay=0)
    def both() -> None:
        seen.append((current_task().attempt, current_task().attempts_left))
        if len(seen) == 1:
            raise ValueError
        both.retry()

    with working(app):
        both.execute()
        wait_until(lambda: len(seen) == 3, SOON)
    assert seen == [(1, 3), (2, 2), (1, 1)]
    assert app.queue_sizes()[0][1] == 0


def test_an_async_task_is_retried_alike(app: App, runs: list[int]) -> None:
    @app.task(retry_method=fixed(0, 2))
    async def fails() -> None:
        runs.append(current_task().attempt)
        raise ValueError

    call, _ = end_of(app, fails)
    assert (runs, call.status) == ([1, 2, 3], "failed")


def test_a_timeout_of_an_async_task_is_retried_when_retry_on_says_so(app: App, runs: list[int]) -> None:
    @app.task(retry_on=TaskTimeout, retry_method=fixed(0, 1), hard_timeout=0.1, save_results=60)
    async def slow() -> str:
        import asyncio

        runs.append(current_task().attempt)
        if current_task().attempt == 1:
            await asyncio.sleep(SOON)
        return "in time"

    with working(app):
        assert slow.execute().get(SOON) == "in time"
    assert runs == [1, 2]


# ---- Quietly.


@pytest.mark.parametrize("signed", [False, True])
def test_with_log_error_false_nothing_is_left_but_an_outcome_where_results_are_saved(
    app: App, redis_client: redis.Redis, failing: Declare, runs: list[int], signed: bool, caplog: Any
) -> None:
    if signed:
        app.settings.signing_keys = {"a": "a" * 32}
    task = failing(RetryException(fixed(0, 1), log_error=False), save_results=60, use_dead=True)
    call, failure = end_of(app, task)
    assert (runs, call.status) == ([1, 2], "failed")
    assert failure.error["exception"] == "RetryException"
    assert not redis_client.hlen(call.keys.messages)
    assert not redis_client.hlen(call.keys.errors)
    assert call.result is None
    levels = [record.levelname for record in caplog.records if record.getMessage() == "task failed"]
    assert levels == ["WARNING"] * 2


def test_with_log_error_false_and_no_saved_results_nothing_is_left_at_all(
    app: App, redis_client: redis.Redis, failing: Declare, runs: list[int]
) -> None:
    task = failing(RetryException(fixed(0, 0), log_error=False), use_dead=True)
    with working(app):
        call = task.execute()
        assert call.get(SOON) is None
    assert (runs, call.status) == ([1], "done")
    assert not redis_client.hlen(call.keys.messages)


@pytest.mark.parametrize(("original", "shown"), [(True, "KeyError"), (False, "RetryException")])
def test_the_original_traceback_is_recorded_and_logged_where_it_is_asked_for(
    app: App, original: bool, shown: str, caplog: Any
) -> None:
    @app.task
    def fails() -> None:
        try:
            {}["x"]
        except KeyError as error:
            raise RetryException(fixed(0, 0), original_traceback=original) from error

    _, failure = end_of(app, fails)
    assert failure.error["exception"] == shown
    [record] = [record for record in caplog.records if record.getMessage() == "task failed"]
    assert record.exc_info[0].__name__ == shown


# ---- History.


def test_the_history_is_bounded_by_number_and_by_size(app: App, runs: list[int]) -> None:
    app.settings.keep_executions = 50

    @app.task(retry_method=fixed(0, 29))
    def fails() -> None:
        runs.append(1)
        raise ValueError("x" * 5000)

    call, _ = end_of(app, fails)
    assert len(runs) == 30
    [where] = app.broker.execute(call.whereabouts())
    assert where.failures == 30
    assert 3 <= len(where.earlier) < 29
    assert sum(map(len, where.earlier)) < 70_000
