"""
Each row of TaskTiger's table that is about a task, a retry, an error or a worker, in a worker of this process.

What a row says there and here is in docs/coming-from/tasktiger. Rows about uniqueness, locks, subqueues, limits and
batches are tested beside what they are about.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rpqueue import (
    App,
    RetryException,
    StopRetry,
    TaskRunner,
    TaskTimeout,
    current_task,
    current_tasks,
    exponential,
    fixed,
    linear,
)
from rpqueue.errors import RefusedInput, TaskFailed
from rpqueue.inspection import Inspection
from rpqueue.middleware import Failure
from tests.servers import wait_until
from tests.worker.here import working

#: Seconds in which what should happen soon happens on a busy machine.
SOON = 30.0


def until(call: Any, *statuses: str) -> str:
    """The status of a call, once it is one of these."""
    wait_until(lambda: call.status in statuses, SOON, f"{call} is {statuses}")
    return str(call.status)


# Row: delay, of a TaskTiger and of a task, with `when`.


def test_delay_enqueues_and_when_takes_a_datetime_or_a_timedelta(app: App) -> None:
    @app.task(name="greet", save_results=60)
    def greet(name: str, n: int = 0) -> list[Any]:
        return [name, n]

    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(milliseconds=100)
    calls = [
        greet.delay("John", n=1),
        greet.execute("John", n=2, when=soon),
        greet.execute("John", n=3, when=datetime.timedelta(milliseconds=100)),
        greet.execute("John", n=4, delay=0.1),
    ]
    later = greet.execute("John", n=5, when=datetime.timedelta(hours=1))
    with working(app):
        assert [call.get(timeout=SOON) for call in calls] == [["John", n] for n in (1, 2, 3, 4)]
    assert later.status == "early"


# Row: hard_timeout and JobTimeoutException.


def test_hard_timeout_kills_a_run_that_takes_too_long_and_it_fails_with_task_timeout(app: App) -> None:
    @app.task(name="stuck", hard_timeout=0.3)
    def stuck() -> None:
        time.sleep(60)

    with working(app):
        call = stuck.execute()
        assert until(call, "failed") == "failed"
    with pytest.raises(TaskFailed) as failed:
        call.get(timeout=SOON)
    assert failed.value.error["exception"] == "TaskTimeout"


def test_hard_timeout_is_retried_where_retry_on_names_task_timeout(app: App, tmp_path: Path) -> None:
    @app.task(name="stuck", hard_timeout=1, retry_on=[TaskTimeout], retry_method=fixed(0, 1), save_results=60)
    def stuck() -> int:
        if current_task().n_executions() == 0:
            time.sleep(60)
        return current_task().n_executions()

    with working(app):
        assert stuck.execute().get(timeout=SOON) == 1


# Row: retry, retry_on, retry_method and StopRetry.


class Transient(Exception):
    """Passes."""


class VeryTransient(Transient):
    """Passes sooner."""


def runs_of(app: App, raises: type[BaseException] = ValueError, **options: Any) -> int:
    """How many times a task with these options runs that raises each time."""
    number = [0]

    @app.task(name="fails", **options)
    def fails() -> None:
        number[0] += 1
        raise raises("meant")

    with working(app):
        until(fails.execute(), "failed")
    return number[0]


def test_retry_runs_a_task_again_by_the_default_retry_method(app: App) -> None:
    app.settings.default_retry_method = fixed(0, 2)
    assert runs_of(app, retry=True) == 3
    assert runs_of(app, retry=False) == 1
    assert runs_of(app) == 1


@pytest.mark.parametrize(
    ("raises", "runs"), [(Transient, 3), (VeryTransient, 3), (ValueError, 1)], ids=lambda value: str(value)
)
def test_retry_on_retries_these_exceptions_and_their_subclasses(
    app: App, raises: type[BaseException], runs: int
) -> None:
    assert runs_of(app, raises, retry_on=[Transient], retry_method=fixed(0, 2)) == runs


def twice(number: int) -> float:
    if number > 2:
        raise StopRetry
    return 0.0


def at_most(number: int, most: int) -> float:
    if number > most:
        raise StopRetry
    return 0.0


@pytest.mark.parametrize(
    ("method", "runs"),
    [
        (fixed(0, 3), 4),
        (linear(0, 0, 2), 3),
        (exponential(0.01, 2, 2), 3),
        (twice, 3),
        ((at_most, (1,)), 2),
    ],
    ids=["fixed", "linear", "exponential", "custom function", "custom tuple"],
)
def test_retry_method_says_when_and_how_often(app: App, method: Any, runs: int) -> None:
    assert runs_of(app, retry_method=method) == runs


def test_retry_method_is_waited_for(app: App) -> None:
    instants: list[float] = []

    @app.task(name="fails", retry_method=linear(0.2, 0.2, 2))
    def fails() -> None:
        instants.append(time.monotonic())
        raise ValueError("meant")

    with working(app):
        until(fails.execute(), "failed")
    first, second, third = instants
    assert second - first >= 0.19
    assert third - second >= 0.39


# Row: RetryException with its three options.


def test_retry_exception_retries_by_a_method_of_its_own_and_all_runs_count(app: App) -> None:
    seen: list[int] = []

    @app.task(name="polls", retry_method=fixed(0, 1))
    def polls() -> None:
        seen.append(current_task().n_executions())
        raise RetryException(method=fixed(0, 2) if len(seen) < 3 else fixed(0, 3))

    with working(app):
        until(polls.execute(), "failed")
    assert seen == [0, 1, 2, 3]


def test_retry_exception_shows_the_original_traceback_when_asked(app: App) -> None:
    @app.task(name="polls")
    def polls(original: bool) -> None:
        try:
            raise KeyError("the network")
        except KeyError:
            raise RetryException(method=fixed(0, 0), original_traceback=original) from None

    with working(app):
        shown, hidden = polls.execute(True), polls.execute(False)
        until(shown, "failed")
        until(hidden, "failed")
    assert shown.executions[-1]["exception"] == "KeyError"
    assert hidden.executions[-1]["exception"] == "RetryException"


def test_retry_exception_without_log_error_is_a_warning_and_leaves_nothing_behind(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="polls")
    def polls() -> None:
        raise RetryException(method=fixed(0, 1), log_error=False)

    with working(app):
        call = polls.execute()
        wait_until(lambda: caplog.text.count("task failed") == 2, SOON)
    assert {record.levelname for record in caplog.records if record.getMessage() == "task failed"} == {"WARNING"}
    assert Inspection(app).page(state="error").messages == []
    assert call.executions == []


# Row: a fork for each task, or synchronous workers.


@pytest.mark.parametrize("pool", ["fork", "sync", "threads", "processes"])
def test_pool_says_whether_a_run_gets_a_process_of_its_own(app: App, pool: str) -> None:
    @app.task(name="where", save_results=60)
    def where() -> list[int]:
        return [os.getpid(), threading.get_ident()]

    if pool == "sync":
        app.settings.should_quit[0] = 0
        calls = [where.execute(), where.execute()]
        app.execute_task_threads(pool="sync", burst=True)
    else:
        with working(app, pool=pool):
            calls = [where.execute() for _ in range(2)]
            for call in calls:
                call.get(timeout=SOON)
    (first, thread), (second, _) = (call.get(timeout=SOON) for call in calls)
    if pool == "fork":
        assert len({first, second, os.getpid()}) == 3
    elif pool == "processes":
        assert first == second != os.getpid()
    else:
        assert first == second == os.getpid()
        assert (thread == threading.get_ident()) == (pool == "sync")


# Row: CHILD_CONTEXT_MANAGERS.


@pytest.mark.parametrize("pool", ["threads", "fork"])
def test_child_context_managers_are_entered_around_each_run_where_it_runs(app: App, tmp_path: Path, pool: str) -> None:
    @contextlib.contextmanager
    def noted() -> Iterator[None]:
        with (tmp_path / "notes").open("a") as notes:
            notes.write(f"enter {os.getpid()}\n")
        yield
        with (tmp_path / "notes").open("a") as notes:
            notes.write(f"leave {os.getpid()}\n")

    app.settings.child_context_managers = [noted]

    @app.task(name="where", save_results=60)
    def where() -> int:
        return os.getpid()

    with working(app, pool=pool):
        pid = where.execute().get(timeout=SOON)
    assert (tmp_path / "notes").read_text().splitlines() == [f"enter {pid}", f"leave {pid}"]


# Row: runner_class.


class Louder(TaskRunner):
    """Runs its task with something more, and notes where it failed for good."""

    ended: list[tuple[str, str, int]] = []  # noqa: RUF012  # of the test

    def run(self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        return function(*args, **{**kwargs, "loud": True})

    def on_permanent_error(self, failure: Failure) -> None:
        self.ended.append((self.current.id, failure.record["exception"], os.getpid()))


def test_runner_class_runs_the_function_and_hears_in_the_worker_of_a_permanent_error(app: App) -> None:
    Louder.ended.clear()

    @app.task(name="greet", runner_class=Louder, pool="fork", save_results=60)
    def greet(name: str, loud: bool = False) -> str:
        if not name:
            raise ValueError("nobody")
        return name.upper() if loud else name

    with working(app):
        assert greet.execute("John").get(timeout=SOON) == "JOHN"
        call = greet.execute("")
        wait_until(lambda: Louder.ended, SOON)
    assert Louder.ended == [(call.taskid, "ValueError", os.getpid())]


# Row: --exit-after.


def test_exit_after_ends_a_worker(app: App) -> None:
    app.settings.should_quit[0] = 0
    began = time.monotonic()
    app.execute_task_threads(exit_after=0.5)
    assert 0.5 <= time.monotonic() - began < SOON


# Row: what a Task knows: id, data, func, arguments, executions.


def test_a_call_tells_its_id_its_arguments_and_its_executions(app: App) -> None:
    @app.task(name="bill", retry_method=fixed(0, 1))
    def bill(order: int, *, rush: bool = False) -> None:
        raise ValueError(f"no price of {order}")

    before = time.time()
    with working(app):
        call = bill.execute(17, rush=True)
        until(call, "failed")
    assert (call.args or [])[:4] == [call.taskid, "bill", [17], {"rush": True}]
    assert call.task is bill
    assert bill.function is bill.__wrapped__
    assert call.n_executions() == 2
    first, second = call.executions
    for record, number in ((first, 1), (second, 2)):
        assert (record["exception"], record["message"]) == ("ValueError", "no price of 17")
        assert "in bill" in record["traceback"]
        assert record["host"]
        assert (record["pid"], record["attempt"]) == (os.getpid(), number)
        assert before - 60 < record["started_at"] <= record["failed_at"] < time.time() + 60


# Row: tasks_from_queue and from_id.


def test_messages_of_a_queue_are_listed_by_state_and_found_by_id(app: App) -> None:
    @app.task(name="bill", queue="money")
    def bill(order: int) -> None:
        raise ValueError("meant")

    with working(app):
        calls = [bill.execute(order) for order in range(5)]
        for call in calls:
            until(call, "failed")
    looks = Inspection(app)
    first = looks.page("money", "error", limit=2, newest=True, executions=1)
    second = looks.page("money", "error", limit=2, newest=True, after=first.after)
    assert [message.id for message in [*first.messages, *second.messages]] == [call.taskid for call in calls[:0:-1]]
    assert [record["exception"] for record in first.messages[0].executions] == ["ValueError"]
    found = looks.message(calls[0].taskid, "money")
    assert found is not None
    assert (found.name, found.args, found.n_executions) == ("bill", [0], 1)
    assert looks.message("nothing") is None


# Row: what can be done with a Task: cancel, delete, execute, retry, update_scheduled_time.


def test_a_scheduled_call_is_cancelled(app: App) -> None:
    task = app.task(name="plain")(lambda: None)
    call = task.execute(delay=600)
    assert call.cancel()
    assert call.status == "cancelled"


def test_a_failed_call_is_retried_or_deleted(app: App) -> None:
    broken = [True]

    @app.task(name="bill", save_results=60)
    def bill() -> str:
        if broken[0]:
            raise ValueError("meant")
        return "paid"

    with working(app):
        again, gone = bill.execute(), bill.execute()
        until(again, "failed")
        until(gone, "failed")
        broken[0] = False
        assert again.retry()
        assert again.get(timeout=SOON) == "paid"
        assert gone.delete()
    assert not gone.delete()
    assert Inspection(app).page(state="error").messages == []


def test_a_task_is_run_without_being_queued(app: App) -> None:
    @app.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    assert add(1, 2) == 3
    assert add.execute(1, 2, execute_inline_now=True).get() == 3


def test_a_scheduled_call_is_moved_to_another_time(app: App) -> None:
    call = app.task(name="plain", save_results=60)(lambda: 7).execute(delay=600)
    assert call.update_scheduled_time(datetime.timedelta(hours=2))
    assert call.status == "early"
    assert call.update_scheduled_time(datetime.datetime.now(datetime.timezone.utc))
    with working(app):
        assert call.get(timeout=SOON) == 7
    assert not call.update_scheduled_time(datetime.timedelta(hours=2))


# Row: current_task and current_tasks.


def test_current_task_is_the_run_that_asks(app: App) -> None:
    @app.task(name="who", queue="q", save_results=60)
    def who(size: int) -> list[Any]:
        run = current_task()
        assert [one.id for one in current_tasks()] == [run.id]
        return [run.id, run.name, run.queue, run.args, run.n_executions()]

    with working(app):
        call = who.execute(3)
        assert call.get(timeout=SOON) == [call.taskid, "who", "q", [3], 0]
    with pytest.raises(RuntimeError, match="expected to be called while a worker runs a task"):
        current_task()


# Row: the states queued, active, scheduled and error.


def test_the_four_states_are_known_by_their_names(app: App) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.task(name="held", queue="q")
    def held() -> None:
        begun.set()
        go.wait(SOON)

    @app.task(name="fails", queue="q")
    def fails() -> None:
        raise ValueError("meant")

    def ids(state: str) -> list[str]:
        return [message.id for message in Inspection(app).page("q", state).messages]

    with working(app):
        failed = fails.execute()
        until(failed, "failed")
        active = held.execute()
        assert begun.wait(SOON)
        scheduled = held.execute(delay=600)
        wait_until(lambda: ids("active") == [active.taskid], SOON)
        assert (ids("scheduled"), ids("error")) == ([scheduled.taskid], [failed.taskid])
        go.set()
    queued = held.execute()
    assert ids("queued") == [queued.taskid]


# Row: purge_errored_tasks.


def test_purge_errored_tasks_deletes_what_failed_before(app: App) -> None:
    @app.task(name="fails")
    def fails() -> None:
        raise ValueError("meant")

    with working(app):
        calls = [fails.execute() for _ in range(3)]
        for call in calls:
            until(call, "failed")
    assert app.purge_errored_tasks(last_execution_before=datetime.timedelta(weeks=12)) == 0
    assert app.purge_errored_tasks(limit=2) == 2
    assert app.purge_errored_tasks() == 1
    assert Inspection(app).page(state="error").messages == []


# Row: ALWAYS_EAGER, STORE_TRACEBACKS.


def test_always_eager_runs_calls_when_they_are_made_but_those_of_the_future(app: App) -> None:
    app.settings.always_eager = True

    @app.task(name="add", save_results=60)
    def add(a: int, b: int) -> int:
        return a + b

    assert add.execute(1, 2).get() == 3
    assert add.execute(1, 2, when=datetime.timedelta(hours=1)).status == "early"


@pytest.mark.parametrize("stored", [True, False])
def test_store_tracebacks_says_whether_executions_have_them(app: App, stored: bool) -> None:
    app.settings.store_tracebacks = stored

    @app.task(name="fails")
    def fails() -> None:
        raise ValueError("meant")

    with working(app):
        call = fails.execute()
        until(call, "failed")
    assert bool(call.executions[0]["traceback"]) == stored


@pytest.mark.parametrize(
    "option",
    [
        {"retry_on": "ValueError"},
        {"retry_method": 5},
        {"hard_timeout": -1},
        {"pool": "forks"},
        {"runner_class": object},
    ],
    ids=str,
)
def test_an_option_that_cannot_be_used_is_refused_by_name(app: App, option: dict[str, Any]) -> None:
    with pytest.raises((RefusedInput, TypeError), match=next(iter(option))):
        app.task(name="job", **option)(lambda: None)


# Row: logging with structlog, and Rollbar.


def test_structlog_writes_lines_of_json_that_name_the_task(app: App) -> None:
    structlog = pytest.importorskip("structlog")
    from rpqueue import logs
    from rpqueue.contrib.structlog import setup

    stream, level = io.StringIO(), logging.getLogger().level

    @app.task(name="ship", save_results=60)
    def ship(order: int) -> None:
        structlog.get_logger("shop").info("shipped", order=order)

    try:
        setup("info", stream)
        with working(app):
            call = ship.execute(17)
            call.get(timeout=SOON)
    finally:
        logging.getLogger().setLevel(level)
        structlog.reset_defaults()
        logs.install(logging.NullHandler(), logging.getLogger("rpqueue"))
    [line] = [line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == "shipped"]
    assert (line["task_id"], line["task"], line["order"]) == (call.taskid, "ship", 17)


def test_rollbar_gets_failed_tasks_by_queue_task_and_exception(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    rollbar = pytest.importorskip("rollbar")
    from rpqueue.contrib.rollbar import RollbarHandler

    reported: list[dict[str, Any]] = []
    monkeypatch.setattr(rollbar, "report_exc_info", lambda info, **said: reported.append(said["payload_data"]))
    handler = RollbarHandler("TaskTiger")
    logging.getLogger("rpqueue").addHandler(handler)

    @app.task(name="bill", queue="money")
    def bill() -> None:
        raise ValueError("meant")

    try:
        with working(app):
            bill.execute()
            wait_until(lambda: reported, SOON)
    finally:
        logging.getLogger("rpqueue").removeHandler(handler)
    assert reported[0]["title"] == "TaskTiger: bill in money: ValueError"
    assert reported[0]["fingerprint"] == "'rpqueue' 'money' 'bill' 'ValueError'"


# Row: a task whose worker crashed is executed again.


def test_a_task_that_recovers_runs_again_after_its_process_was_killed(app: App, tmp_path: Path) -> None:
    @app.task(name="dies", pool="fork", recover=True, save_results=60)
    def dies() -> int:
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return current_task().attempt

    with working(app):
        assert dies.execute().get(timeout=SOON) == 2


def test_one_that_does_not_is_lost_and_kept_for_somebody_to_look_at(app: App) -> None:
    @app.task(name="dies", pool="fork")
    def dies() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with working(app):
        call = dies.execute()
        assert until(call, "lost") == "lost"
    [message] = Inspection(app).page(state="lost").messages
    assert (message.id, message.name, message.crashes) == (call.taskid, "dies", 1)
