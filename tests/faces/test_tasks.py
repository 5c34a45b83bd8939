"""Tasks as users declare and call them, and calls of them seen from outside."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rpqueue import CURRENT_TASK, App, cron_expr, periodic
from rpqueue.errors import (
    IdTaken,
    MessageTooLarge,
    QueueFull,
    RedisUnavailable,
    RefusedInput,
    RefusedName,
    RefusedSchedule,
    ResultTimeout,
    TaskCancelled,
    TaskFailed,
    UnserializableValue,
    WrongType,
)
from rpqueue.tasks import Task
from tests.monitor import Monitor
from tests.servers import Server, listeners, wait_until

SOON = 20.0
StartWorker = Callable[..., None]


def add(x: int, y: int = 1) -> int:
    """Add two numbers."""
    return x + y


class Gate:
    """A task that runs until it is let go."""

    def __init__(self, app: App, **options: Any) -> None:
        self.started, self.may_end = threading.Event(), threading.Event()
        self.task: Task[..., Any] = app.task(name="gate", **options)(self.run)

    def run(self) -> str:
        self.started.set()
        self.may_end.wait(SOON)
        return "through"


# ---- Declaring.


def test_a_bare_decorator_makes_a_task_that_still_is_the_function(app: App) -> None:
    task = app.task(add)
    assert task(2, y=3) == 5
    assert task.function is add
    assert task.name == f"{add.__module__}.add"
    assert task.queue == "default"
    assert task.__doc__ == "Add two numbers."
    assert inspect.signature(task) == inspect.signature(add)
    assert (task.attempts, task.retry_delay, task.save_results, task.vis_timeout) == (1, 30, 0, 0)
    assert (task.use_dead, task.schedule, task.next()) == (False, None, None)
    assert app.settings.registry[task.name] is task
    assert app.get_task(task.name) is task
    assert repr(task) == f"<Task function={task.name} queue=default>"


def test_a_called_decorator_takes_options(app: App) -> None:
    @app.task(queue="mail", attempts=3, retry_delay=5, save_results=60, vis_timeout=7, use_dead=True, name="mail")
    def task() -> None: ...

    assert (task.queue, task.name, task.attempts, task.retry_delay) == ("mail", "mail", 3, 5)
    assert (task.save_results, task.vis_timeout, task.use_dead) == (60, 7, True)


def test_options_stand_in_the_order_of_the_published_package(app: App) -> None:
    task = app.task(None, "mail", 3, 5, 60, 7, True)(add)
    assert (task.queue, task.attempts, task.retry_delay) == ("mail", 3, 5)
    assert (task.save_results, task.vis_timeout, task.use_dead) == (60, 7, True)
    parameters = list(inspect.signature(app.Task.__init__).parameters.values())[1:]
    names = "queue name function delay never_skip attempts retry_delay low_delay_okay save_results vis_timeout use_dead"
    assert " ".join(one.name for one in parameters if one.kind is not one.KEYWORD_ONLY) == names


def test_the_default_queue_is_the_setting_of_the_moment(app: App) -> None:
    app.settings.default_queue = "elsewhere"
    assert app.task(add).queue == "elsewhere"


def test_queue_names_as_str_and_as_bytes_are_one(app: App) -> None:
    assert app.task(queue=b"m\xc3\xa4il")(add).queue == "mäil"


def test_coroutine_functions_are_known_as_such(app: App) -> None:
    @app.task(name="coroutine")
    async def coroutine() -> int:
        return 7

    assert coroutine.is_async
    assert asyncio.run(coroutine()) == 7


def test_a_module_that_is_imported_again_declares_its_tasks_again(app: App) -> None:
    first = app.task(add)
    again: dict[str, Any] = {"__name__": add.__module__}
    exec(compile(inspect.getsource(add), add.__code__.co_filename, "exec"), again)
    second = app.task(again["add"])
    assert second is not first
    assert app.get_task(second.name) is second


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"attempts": 0}, RefusedInput, "attempts of .*: expected a whole number >= 1, got 0"),
        ({"attempts": 1.5}, RefusedInput, "got 1.5"),
        ({"attempts": "3"}, WrongType, "got '3'"),
        ({"attempts": True}, WrongType, "got True"),
        ({"attempts": float("nan")}, RefusedInput, "got nan"),
        ({"attempts": float("inf")}, RefusedInput, "got inf"),
        ({"retry_delay": -1}, RefusedInput, "retry_delay of .*: expected seconds >= 0, got -1"),
        ({"save_results": "long"}, WrongType, "save_results of .*: expected seconds"),
        ({"vis_timeout": float("inf")}, RefusedInput, "vis_timeout of .*: expected seconds"),
        ({"vis_timeout": float("nan")}, RefusedInput, "got nan"),
        ({"queue": "DEADLETTER_QUEUE"}, RefusedInput, "dead-letter view"),
        ({"queue": 7}, WrongType, "queue: expected str or bytes, got 7"),
        ({"queue": b"\xff"}, RefusedName, "UTF-8"),
        ({"queue": "x" * 513}, RefusedName, "512"),
        ({"name": "x" * 513}, RefusedName, "task name"),
        ({"visibility_timeout": 5}, RefusedInput, "did you mean 'vis_timeout'"),
        ({"retries": 5}, RefusedInput, "expected queue, attempts"),
    ],
)
def test_what_cannot_be_used_is_refused(app: App, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        app.task(**options)(add)
    assert app.settings.registry == {}


def test_two_functions_cannot_have_one_name(app: App) -> None:
    app.task(name="same")(add)
    with pytest.raises(RefusedInput, match=r"got 'same', which is that of .*add.*; give one of them another"):
        app.task(name="same")(len)


@pytest.mark.parametrize("value", [7, "mail", None])
def test_only_functions_become_tasks(app: App, value: Any) -> None:
    with pytest.raises(WrongType, match="expected a function"):
        app.task()(value)


def test_a_task_is_not_made_a_task_again(app: App) -> None:
    with pytest.raises(RefusedInput, match=r"use its \.function"):
        app.task(app.task(add))


@pytest.mark.parametrize("run_every", [0, 0.5, timedelta(milliseconds=999)])
def test_an_interval_under_the_minimum_is_refused_unless_it_is_meant(app: App, run_every: float | timedelta) -> None:
    with pytest.raises(RefusedInput, match=r"MINIMUM_DELAY.*low_delay_okay=True"):
        app.periodic_task(run_every)(add)
    task = app.periodic_task(run_every, low_delay_okay=True)(add)
    assert task.schedule is not None


def test_the_minimum_is_a_setting(app: App) -> None:
    app.settings.minimum_delay = 0.1
    app.periodic_task(0.1)(add)
    app.settings.minimum_delay = 60
    with pytest.raises(RefusedInput, match="at least 60 s"):
        app.periodic_task(59)(add)


@pytest.mark.parametrize("run_every", [25, 25.0, timedelta(seconds=25)])
def test_an_interval_may_be_int_float_or_timedelta(app: App, run_every: float | timedelta) -> None:
    task = app.periodic_task(run_every, queue="low")(add)
    assert task.next(now=1000.0) == 25
    assert task.queue == "low"


@pytest.mark.parametrize(("run_every", "error"), [(-1, RefusedInput), ("often", WrongType), (None, WrongType)])
def test_other_intervals_are_refused(app: App, run_every: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="run_every"):
        app.periodic_task(run_every)(add)


def test_a_cron_task_has_its_expression_and_time_zone(app: App) -> None:
    task = app.cron_task("0 5 * * *", timezone="Europe/Berlin")(add)
    assert task.next(now=1_700_000_000.0) == 1_700_020_800 - 1_700_000_000 + 0
    assert app.cron_task("0 5 * * *", name="utc")(add).next(now=1_700_000_000.0) == 1_700_024_400 - 1_700_000_000


def test_a_bad_expression_is_refused_where_it_is_declared(app: App) -> None:
    with pytest.raises(RefusedSchedule, match="cron expression"):
        app.cron_task("61 * * * *")


@pytest.mark.parametrize("decorator", ["periodic_task", "cron_task"])
def test_recurring_tasks_take_the_options_of_tasks(app: App, decorator: str) -> None:
    make = getattr(app, decorator)
    first: Any = 60 if decorator == "periodic_task" else "* * * * *"
    options = {"attempts": 2, "retry_delay": 3, "save_results": 4, "vis_timeout": 5, "use_dead": True}
    task = make(first, queue="low", never_skip=True, name="mine", **options)(add)
    assert {option: getattr(task, option) for option in options} == options
    assert (task.queue, task.name, task.never_skip) == ("low", "mine", True)
    assert task(1) == 2


# ---- Calling.


def test_it_returns_what_was_enqueued(app: App) -> None:
    task = app.task(queue="mail")(add)
    call = task.execute(1, y=2)
    assert len(call.taskid) == 24
    assert (call.name, call.queue, call.task) == (task.name, "mail", task)
    assert repr(call) == f"<EnqueuedTask taskid={call.taskid} queue=mail function={task.name}>"
    taskid, name, args, kwargs, available_at = call.args
    assert (taskid, name, args, kwargs) == (call.taskid, task.name, [1], {"y": 2})
    assert abs(available_at - time.time()) < 60


def test_delay_is_its_other_name(app: App, start_worker: StartWorker) -> None:
    task = app.task(save_results=60)(add)
    start_worker()
    assert task.delay(1, y=5).get(SOON) == 6


@pytest.mark.parametrize("delay", [3600, 3600.0, timedelta(hours=1)])
def test_a_delay_may_be_int_float_or_timedelta(app: App, delay: Any) -> None:
    call = app.task(add).execute(1, delay=delay)
    assert call.status == "early"
    assert 3500 < call.args[4] - time.time() < 3700
    [(_, due)] = app.broker.client.zrange(app.task_keys("default").scheduled, 0, -1, withscores=True)
    assert due == call.args[4] * 1000


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"delay": -1}, RefusedInput, "delay of .*add: expected seconds >= 0, got -1"),
        ({"delay": "5"}, WrongType, "delay of .*add"),
        ({"delay": float("nan")}, RefusedInput, "got nan"),
        ({"taskid": ""}, RefusedName, "taskid of .*add"),
        ({"taskid": "x" * 513}, RefusedName, "513"),
        ({"taskid": 7}, WrongType, "got 7"),
        ({"_queue": ""}, RefusedName, "queue"),
        ({"_queue": "DEADLETTER_QUEUE"}, RefusedInput, "dead-letter view"),
        ({"_attempts": 0}, RefusedInput, "_attempts of .*add: expected a whole number >= 1"),
        ({"y": float("nan")}, UnserializableValue, "arguments of .*add"),
        ({"y": {1, 2}}, UnserializableValue, "expected a value that JSON can carry"),
        ({"y": {1: 2}}, UnserializableValue, "str keys"),
        ({"y": b"bytes"}, UnserializableValue, "JSON"),
        ({"y": "\ud800" * 300_000}, MessageTooLarge, "at most 1048576 bytes"),
        ({"y": "x" * 1_048_576}, MessageTooLarge, "MAX_MESSAGE_BYTES"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused_and_nothing_is_sent(
    app: App, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    task = app.task(add)
    with pytest.raises(error, match=text):
        task.execute(1, **options)
    assert app.broker.client.keys() == []


def test_a_list_that_holds_itself_is_refused(app: App) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(UnserializableValue):
        app.task(add).execute(loop)


def test_the_size_limit_is_a_setting(app: App) -> None:
    task = app.task(add)
    app.settings.max_message_bytes = 200
    with pytest.raises(MessageTooLarge, match="200"):
        task.execute("x" * 200)
    app.settings.max_message_bytes = 0
    task.execute("x" * 2_000_000)


def test_the_same_call_under_one_id_is_one_call(app: App, start_worker: StartWorker) -> None:
    task = app.task(save_results=60)(add)
    calls = [task.execute(1, taskid="mine"), task.execute(1, taskid="mine")]
    assert [call.taskid for call in calls] == ["mine", "mine"]
    assert app.queue_sizes() == [("default", 1, 1)]
    with pytest.raises(IdTaken, match="id 'mine': expected one that queue 'default' does not hold"):
        task.execute(2, taskid="mine")
    start_worker()
    assert calls[0].get(SOON) == 2
    assert task.execute(2, taskid="mine").get(SOON) in (2, 3)
    wait_until(lambda: app.result("mine") == 3)
    assert app.queue_sizes() == [("default", 0, 2)]


def test_a_call_may_go_into_another_queue(app: App, start_worker: StartWorker) -> None:
    task = app.task(queue="low", save_results=60)(add)
    call = task.execute(1, _queue=b"high")
    assert call.queue == "high"
    assert app.known_queues() == ["high"]
    start_worker()
    assert call.get(SOON) == 2


def test_inline_it_runs_here_without_redis() -> None:
    app = App("redis://127.0.0.1:1/0", prefix="test")
    call = app.task(add).execute(1, y=2, execute_inline_now=True, delay=5, taskid="x", _queue="y", _attempts=3)
    assert (call.get(), call.result, call.status, call.wait(0), call.cancel()) == (3, 3, "done", True, False)
    assert call.args == [[1], {"y": 2}]

    @app.task(name="coroutine")
    async def coroutine() -> int:
        await asyncio.sleep(0)
        return 7

    assert coroutine.execute(execute_inline_now=True).result == 7


def test_inline_an_exception_is_the_functions_own(app: App) -> None:
    with pytest.raises(TypeError):
        app.task(add).execute(1, "x", execute_inline_now=True)


def test_when_redis_is_not_there_it_says_so_at_once() -> None:
    app = App("redis://127.0.0.1:1/0", prefix="test")
    started = time.monotonic()
    with pytest.raises(RedisUnavailable, match=r"Redis at redis://127\.0\.0\.1:1/0: not reached"):
        app.task(add).execute(1)
    assert time.monotonic() - started < 10


def test_keyword_arguments_called_like_options_of_the_task_reach_the_function(
    app: App, start_worker: StartWorker
) -> None:
    @app.task(name="mine", save_results=60)
    def mine(**kwargs: Any) -> Any:
        return kwargs

    start_worker()
    said = {"queue": 1, "name": 2, "attempts": 3, "self": 4, "args": 5, "timeout": 6}
    assert mine.execute(**said).get(SOON) == {**said, "_attempts": 1}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(json_values)
def test_any_json_value_arrives_as_it_was(app: App, value: Any) -> None:
    task = app.settings.registry.get("any") or app.task(name="any")(add)
    call = task.execute(value)
    _, _, [came], _, _ = call.args
    # JSON text tells 1 from 1.0 and True from 1, which == does not.
    assert json.dumps(came) == json.dumps(value)


# ---- The status of a call.


def test_early_late_waiting_and_done(app: App, start_worker: StartWorker) -> None:
    task = app.task(save_results=60)(add)
    early, late, waiting = task.execute(1, delay=3600), task.execute(1, delay=0.01), task.execute(1)
    wait_until(lambda: late.status == "late")
    assert (early.status, waiting.status) == ("early", "waiting")
    start_worker()
    assert (late.get(SOON), waiting.get(SOON)) == (2, 2)
    assert (early.status, late.status, waiting.status) == ("early", "done", "done")


@pytest.mark.one_server("a busy worker hears of it when a slot is free")
def test_a_delayed_call_that_is_due_and_waits_for_a_worker_is_late(app: App, start_worker: StartWorker) -> None:
    gate, task = Gate(app), app.task(add)
    start_worker()
    gate.task.execute()
    assert gate.started.wait(SOON)
    call = task.execute(1, delay=0.01)
    wait_until(lambda: app.broker.client.llen(app.task_keys("default").ready) == 1)
    assert call.status == "late"
    gate.may_end.set()
    call.get(SOON)


def test_started_and_done(app: App, start_worker: StartWorker) -> None:
    gate = Gate(app)
    call = gate.task.execute()
    start_worker()
    assert gate.started.wait(SOON)
    assert call.status == "started"
    gate.may_end.set()
    wait_until(lambda: call.status == "done")
    assert call.args is None


def test_failed_and_dead(app: App, start_worker: StartWorker) -> None:
    def fail() -> None:
        raise LookupError("nothing here")

    failing, dying = app.task(fail, name="failing"), app.task(use_dead=True, name="dying")(fail)
    start_worker()
    failed, dead = failing.execute(), dying.execute()
    for call, status in (failed, "failed"), (dead, "dead"):
        with pytest.raises(TaskFailed, match="LookupError: nothing here"):
            call.get(SOON)
        assert call.status == status
        assert call.args is not None
        assert call.result is None


def test_cancelled(app: App) -> None:
    call = app.task(add).execute(1)
    assert call.cancel() is True
    assert call.status == "cancelled"
    app.settings.remember_cancelled = 0
    call = app.get_task(call.name).execute(1)
    call.cancel()
    assert call.status == "done"


def test_a_call_of_which_nothing_is_known_is_done(app: App) -> None:
    assert app.EnqueuedTask("name", "never", "default").status == "done"


# ---- Cancelling.


@pytest.mark.parametrize("options", [{}, {"delay": 3600}, {"taskid": "mine"}])
def test_what_was_cancelled_never_runs(app: App, start_worker: StartWorker, options: dict[str, Any]) -> None:
    ran: list[int] = []
    task = app.task(name="task")(lambda number: ran.append(number))
    call = task.execute(1, **options)
    assert call.cancel() is True
    with pytest.raises(TaskCancelled):
        call.get(SOON)
    assert call.args is None
    start_worker()
    task.execute(2).get(SOON)
    assert ran == [2]
    assert call.cancel() is True
    assert call.status == "cancelled"


def test_what_runs_is_not_cancelled(app: App, start_worker: StartWorker) -> None:
    gate = Gate(app, save_results=60)
    start_worker()
    call = gate.task.execute()
    assert gate.started.wait(SOON)
    assert call.cancel() is False
    gate.may_end.set()
    assert call.get(SOON) == "through"


def test_after_the_end_it_deletes_the_saved_result(app: App, start_worker: StartWorker) -> None:
    start_worker()
    call = app.task(save_results=60)(add).execute(1)
    call.get(SOON)
    assert call.cancel() == -1
    assert call.result is None
    assert call.cancel() is False


def test_of_what_is_unknown_it_says_false(app: App) -> None:
    assert app.EnqueuedTask("name", "never", "default").cancel() is False


# ---- Waiting for the start, and for the end.


def test_wait_is_true_once_it_has_started(app: App, start_worker: StartWorker) -> None:
    gate = Gate(app, save_results=60)
    call = gate.task.execute()
    assert call.wait(0) is False
    assert call.wait(0.05) is False
    start_worker()
    assert call.wait(SOON) is True
    assert gate.started.wait(SOON)
    gate.may_end.set()
    call.get(SOON)
    assert call.wait(0) is True


def test_get_gives_up_after_its_time(app: App) -> None:
    call = app.task(add).execute(1)
    with pytest.raises(ResultTimeout, match=r"expected it to end within 0\.05 s, it is waiting"):
        call.get(0.05)
    with pytest.raises(TimeoutError):
        call.get(0)


@pytest.mark.parametrize("save_results", [0, 60])
def test_get_wakes_at_once(app: App, start_worker: StartWorker, save_results: float) -> None:
    gate = Gate(app, save_results=save_results)
    start_worker()
    call, ended = gate.task.execute(), []

    def get() -> None:
        call.get(SOON)
        ended.append(time.monotonic())

    waiting = threading.Thread(target=get)
    waiting.start()
    assert gate.started.wait(SOON)
    wait_until(lambda: subscribers(app) > 0)
    let_go = time.monotonic()
    gate.may_end.set()
    waiting.join(SOON)
    # It looks again by itself after two seconds.
    assert ended[0] - let_go < 1.5


@pytest.mark.parametrize("end", ["cancelled", "failed", "dead"])
def test_get_wakes_at_once_however_it_ends(app: App, start_worker: StartWorker, end: str) -> None:
    go = threading.Event()

    @app.task(name="fail", use_dead=end == "dead")
    def fail() -> None:
        go.wait(SOON)
        raise ValueError

    call = fail.execute(delay=3600 if end == "cancelled" else 0)
    start_worker()
    ended = []

    def get() -> None:
        with pytest.raises(TaskCancelled if end == "cancelled" else TaskFailed):
            call.get(SOON)
        ended.append(time.monotonic())

    waiting = threading.Thread(target=get)
    waiting.start()
    wait_until(lambda: subscribers(app) > 0)
    let_go = time.monotonic()
    go.set()
    if end == "cancelled":
        call.cancel()
    waiting.join(SOON)
    assert ended[0] - let_go < 1.5


@pytest.mark.parametrize("verb", ["wait", "get"])
def test_waiting_sends_few_commands(app: App, server: Server, verb: str) -> None:
    call = app.task(save_results=60)(add).execute(1)
    with Monitor(server).listening() as monitor:
        if verb == "wait":
            assert call.wait(1.0) is False
        else:
            with pytest.raises(ResultTimeout):
                call.get(1.0)
        monitor.wait_for_mark()
        asked = [command for command in monitor.sent() if command.startswith("EVAL")]
    assert len(asked) <= 5, monitor.sent()


def test_many_threads_may_wait_at_the_same_time(app: App, start_worker: StartWorker) -> None:
    task = app.task(save_results=60)(add)
    calls = [task.execute(number) for number in range(20)]
    results: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda number=number: results.update({number: calls[number].get(SOON)}))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    start_worker()
    for thread in threads:
        thread.join(SOON)
    assert results == {number: number + 1 for number in range(20)}


def subscribers(app: App) -> int:
    """How many clients wait for news."""
    return sum(listeners(app.broker.client).values())


# ---- Results.


def test_result_and_results_tell_what_tasks_returned(app: App, start_worker: StartWorker) -> None:
    task = app.task(save_results=60)(add)
    unsaved = app.task(name="unsaved")(add)
    start_worker()
    calls = [task.execute(1), task.execute(2, _queue="other"), unsaved.execute(3)]
    for call in calls:
        call.get(SOON)
    ids = [call.taskid for call in calls]
    assert app.results([*ids, "never"]) == [2, 3, None, None]
    assert app.result(ids[0]) == 2
    assert app.results(iter(ids[:1]), conn=app.broker.client) == [2]
    assert app.results([]) == []


def test_a_result_is_kept_for_as_long_as_the_task_says(app: App, start_worker: StartWorker) -> None:
    start_worker()
    call = app.task(save_results=0.3)(add).execute(1)
    assert call.get(SOON) == 2
    wait_until(lambda: call.result is None)


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, 2**63, 0.1 + 0.2, "ü\x00\ud800", [[], {"a": []}]])
def test_a_result_comes_back_as_it_was(app: App, start_worker: StartWorker, value: Any) -> None:
    @app.task(save_results=60, name="same")
    def same() -> Any:
        return value

    start_worker()
    call = same.execute()
    assert json.dumps(call.get(SOON)) == json.dumps(value)


# ---- Retrying.


def test_outside_of_a_run_it_counts_from_the_tasks_attempts(app: App) -> None:
    task = app.task(attempts=3, retry_delay=3600)(add)
    call = task.retry(1)
    assert call.status == "early"
    assert call.args[3] == {"_attempts": 2}
    again = task.retry(1, **call.args[3])
    assert again.args[3] == {"_attempts": 1}
    assert task.retry(1, **again.args[3]) is None


def test_its_delay_may_be_chosen(app: App) -> None:
    task = app.task(attempts=3)(add)
    assert task.retry(1, delay=0).status == "waiting"


def test_a_task_of_one_attempt_is_never_retried(app: App) -> None:
    assert app.task(add).retry(1) is None


def test_the_function_gets_attempts_only_if_it_takes_them(app: App, start_worker: StartWorker) -> None:
    @app.task(name="takes", attempts=3, save_results=60)
    def takes(_attempts: int) -> int:
        return _attempts

    @app.task(name="takes_not", attempts=3, save_results=60)
    def takes_not() -> str:
        return "fine"

    start_worker()
    assert takes.execute().get(SOON) == 3
    assert takes.execute(_attempts=2).get(SOON) == 2
    assert takes_not.execute(_attempts=2).get(SOON) == "fine"


def test_a_function_that_takes_no_attempts_is_not_retried_for_ever(app: App, start_worker: StartWorker) -> None:
    seen: list[tuple[int, int]] = []

    @app.task(attempts=3, retry_delay=0)
    def tries(number: int) -> None:
        seen.append((number, CURRENT_TASK.attempts_left))
        if tries.retry(number + 1) is None:
            over.set()

    over = threading.Event()
    start_worker()
    tries.execute(1)
    assert over.wait(SOON)
    assert seen == [(1, 3), (2, 2), (3, 1)]


def test_deliveries_count_down_what_one_call_was_given(app: App, start_worker: StartWorker) -> None:
    seen: list[int] = []

    @app.task(attempts=9, vis_timeout=60, retry_delay=0)
    def fails(_attempts: int) -> None:
        seen.append(_attempts)
        raise ValueError

    start_worker()
    with pytest.raises(TaskFailed):
        fails.execute(_attempts=3).get(SOON)
    assert seen == [3, 2, 1]


# ---- Instants and schedules by TaskTiger's names.


@pytest.mark.parametrize(
    "make",
    [
        lambda now: now,
        lambda now: now.replace(tzinfo=None),
        lambda now: now.astimezone(timezone(timedelta(hours=5))),
        lambda now: now.timestamp(),
    ],
    ids=["aware", "naive is UTC", "elsewhere", "epoch seconds"],
)
def test_a_call_may_be_due_at_an_instant(app: App, make: Callable[[datetime], Any]) -> None:
    task = app.task(add)
    due = datetime.now(timezone.utc) + timedelta(hours=1)
    call = task.execute(1, when=make(due))
    assert call.status == "early"
    assert call.args is not None
    assert call.args[4] == pytest.approx(due.timestamp(), abs=0.001)
    many = task.execute_many([(1,)], when=make(due))
    assert many[0].status == "early"


def test_a_call_may_be_due_after_a_time_and_at_once_when_its_instant_is_past(app: App) -> None:
    task = app.task(add)
    assert task.execute(1, when=timedelta(hours=1)).status == "early"
    assert task.execute(1, when=datetime(2001, 1, 1)).status == "late"


def test_a_parameter_named_when_belongs_to_the_function(app: App) -> None:
    @app.task(name="remind")
    def remind(when: str) -> None: ...

    call = remind.execute(when="tomorrow")
    assert call.args is not None
    assert call.args[3] == {"when": "tomorrow"}


@pytest.mark.parametrize("options", [{"when": "tomorrow"}, {"when": timedelta(-1)}, {"when": 5.0, "delay": 5}])
def test_instants_that_cannot_be_used_are_refused(app: App, options: dict[str, Any]) -> None:
    with pytest.raises((RefusedInput, WrongType), match="expected"):
        app.task(add).execute(1, **options)


def test_a_schedule_by_its_period_a_cron_expression_or_a_function(app: App, start_worker: StartWorker) -> None:
    ran = threading.Event()

    @app.task(name="often", schedule=periodic(seconds=0.2))
    def often() -> None:
        ran.set()

    @app.task(name="nightly", schedule=cron_expr("0 4 * * *"), misfire="skip", jitter=60)
    def nightly() -> None: ...

    @app.task(name="never", schedule=lambda now: None)
    def never() -> None: ...

    start_worker()
    assert ran.wait(SOON)
    assert 0 < nightly.next() <= 86_400
    assert never.next() > 1e10


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "0 4 * * *"},
        {"schedule": 60},
        {"schedule": periodic(hours=1), "misfire": "never"},
        {"schedule": periodic(hours=1), "overlap": "no"},
        {"misfire": "skip"},
        {"jitter": 5},
    ],
)
def test_schedules_that_cannot_be_used_are_refused(app: App, options: dict[str, Any]) -> None:
    with pytest.raises((RefusedInput, WrongType), match="expected"):
        app.task(name="x", **options)(add)


# ---- Full queues.


def test_a_full_queue_refuses_calls_until_some_are_over(app: App, start_worker: StartWorker) -> None:
    task = app.task(queue="small", max_queue_size=2)(add)
    task.execute(1)
    task.execute(1, delay=60)
    with pytest.raises(QueueFull, match="at most 2 messages"):
        task.execute(1)
    with pytest.raises(QueueFull):
        app.call_task(task.name, None, 1)
    start_worker()
    wait_until(lambda: app.queue_sizes()[0][1] == 1, SOON, "room in the queue")
    task.execute(1)


def test_of_many_calls_that_a_full_queue_has_no_room_for_none_is_in(app: App) -> None:
    task = app.task(queue="small", max_queue_size=3)(add)
    with pytest.raises(QueueFull) as failure:
        task.execute_many([(1,)] * 4)
    assert failure.value.fates is not None
    assert failure.value.fates.done == []
    assert len(task.execute_many([(1,)] * 3)) == 3
    with pytest.raises(QueueFull), app.pipeline():
        task.execute(1)


def test_many_producers_at_once_never_overfill_a_queue(app: App) -> None:
    task = app.task(queue="small", max_queue_size=20)(add)
    refused = []

    def produce() -> None:
        for _ in range(10):
            try:
                task.execute(1)
            except QueueFull:
                refused.append(1)

    threads = [threading.Thread(target=produce) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert app.queue_sizes()[0][1] == 20
    assert len(refused) == 30


def test_items_may_fill_a_queue_too(app: App) -> None:
    small = app.Data("small", vis_timeout=5, max_queue_size=3)
    small.put_data([1, 2])
    with pytest.raises(QueueFull):
        small.put_data([3, 4])
    small.put_data([3])
    small.done_data(small.get_data(1))
    small.put_data([4])
    assert small.currently_available() == (3, 0)


@pytest.mark.parametrize("size", [-1, 1.5, "9", None, True])
def test_sizes_that_are_no_number_are_refused(app: App, size: Any) -> None:
    with pytest.raises(RefusedInput, match="max_queue_size of"):
        app.task(name="x", max_queue_size=size)(add)
