"""ALWAYS_EAGER: calls run when they are made, the way of any other call, and without Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from rpqueue import App, Middleware, TaskRunner, aio, current_task, fixed
from rpqueue.enqueued import EnqueuedTask
from rpqueue.errors import (
    MessageTooLarge,
    NoCurrentTask,
    RedisUnavailable,
    RefusedInput,
    RetryException,
    SoftTimeout,
    TaskCancelled,
    TaskFailed,
    TaskTimeout,
    UnknownTask,
    UnserializableValue,
)


@pytest.fixture
def eager() -> App:
    """An App of eager calls, with nobody where its Redis should be."""
    app = App("redis://127.0.0.1:1/0", prefix="test")
    app.settings.always_eager = True
    return app


@pytest.fixture
def log(eager: App) -> list[Any]:
    """What tasks of the test write down."""
    return []


def sends(app: App, task: Any, *args: Any) -> dict[str, Callable[[], Any]]:
    """The ways by which a call is made."""
    face = aio.of(app)

    def in_pipeline() -> Any:
        with app.pipeline():
            return task.execute(*args)

    async def in_awaited_pipeline() -> Any:
        async with face.pipeline():
            return await face.execute(task, *args)

    return {
        "execute": lambda: task.execute(*args),
        "delay": lambda: task.delay(*args),
        "execute_many": lambda: task.execute_many([args])[0],
        "pipeline": in_pipeline,
        "call_task": lambda: app.call_task(task.name, None, *args),
        "known_tasks": lambda: app.known_tasks[task.name].execute(*args),
        "aio.execute": lambda: asyncio.run(face.execute(task, *args)).sync,
        "aio.execute_many": lambda: asyncio.run(face.execute_many(task, [args]))[0].sync,
        "aio.pipeline": lambda: asyncio.run(in_awaited_pipeline()).sync,
        "aio.call_task": lambda: asyncio.run(face.call_task(task.name, None, *args)).sync,
    }


WAYS = list(sends(App(), App().task(print)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_call_runs_when_it_is_made_without_redis(eager: App, log: list[Any], way: str, is_async: bool) -> None:
    def plain(x: Any) -> Any:
        log.append((x, threading.get_ident()))
        return [x, current_task().id]

    async def awaited(x: Any) -> Any:
        await asyncio.sleep(0)
        return plain(x)

    task = eager.task(awaited if is_async else plain, name="job", save_results=60)
    call = sends(eager, task, (1, 2))[way]()
    assert log == [([1, 2], threading.get_ident())]
    assert call.result == call.get() == [[1, 2], call.taskid]
    assert call.status == "done"
    assert call.wait()
    assert isinstance(call, EnqueuedTask)


def test_a_coroutine_may_make_a_plain_call_of_an_async_task(eager: App) -> None:
    @eager.task(save_results=60)
    async def inner() -> str:
        await asyncio.sleep(0)
        return current_task().name

    async def outer() -> Any:
        return inner.execute().get()

    assert asyncio.run(outer()) == inner.name


def test_an_awaited_call_has_the_face_of_one(eager: App) -> None:
    task = eager.task(lambda: 7, name="seven", save_results=60)

    async def ask() -> list[Any]:
        call = await aio.of(eager).execute(task, taskid="x")
        taskid, name, args, kwargs, _ = await call.args()
        told = [
            await call.status(),
            await call.result(),
            await call.get(),
            await call.wait(),
            taskid,
            name,
            args,
            kwargs,
        ]
        return [*told, await call.cancel(), await call.get()]

    assert asyncio.run(ask()) == ["done", 7, 7, True, "x", "seven", [], {}, -1, None]


def test_without_save_results_nothing_is_kept_of_the_result(eager: App) -> None:
    call = eager.task(lambda: 7, name="seven").execute()
    assert (call.status, call.result, call.get(), call.cancel()) == ("done", None, None, False)


def test_a_call_tells_what_it_was_made_with(eager: App) -> None:
    call = eager.task(lambda *args, **kwargs: None, name="job").execute((1,), x=2, taskid="mine", _queue=b"other")
    assert call.args[:4] == ["mine", "job", [[1]], {"x": 2}]
    assert (call.queue, call.taskid, call.name) == ("other", "mine", "job")
    assert repr(call) == "<EagerTask taskid=mine queue=other function=job status=done>"


# The way of any other call.


def test_arguments_make_the_round_trip_through_json(eager: App, log: list[Any]) -> None:
    task = eager.task(lambda x: log.append(x), name="job")
    given: dict[str, Any] = {"a": [1, (2,)]}
    task.execute(given)
    assert log == [{"a": [1, [2]]}]
    log[0]["a"].append(3)
    assert given == {"a": [1, (2,)]}


@pytest.mark.parametrize("value", [{1, 2}, {1: 2}, float("nan"), b"x", object()])
def test_what_json_cannot_carry_is_refused_before_anything_runs(eager: App, log: list[Any], value: Any) -> None:
    task = eager.task(log.append, name="job")
    with pytest.raises(UnserializableValue):
        task.execute(value)
    with pytest.raises(UnserializableValue, match="call 1"):
        task.execute_many([(1,), (value,)])
    assert log == []


def test_calls_over_the_size_limit_are_refused(eager: App, log: list[Any]) -> None:
    eager.settings.max_message_bytes = 100
    with pytest.raises(MessageTooLarge):
        eager.task(log.append, name="job").execute("x" * 100)
    assert log == []


def test_results_that_json_cannot_carry_fail_the_run(eager: App) -> None:
    call = eager.task(lambda: {1, 2}, name="job", save_results=60).execute()
    assert call.status == "failed"
    with pytest.raises(TaskFailed, match="UnserializableValue"):
        call.get()


def test_options_are_checked_as_ever(eager: App) -> None:
    task = eager.task(lambda: None, name="job")
    for options in (
        {"_attempts": 0},
        {"durability": "no"},
        {"_queue": "DEADLETTER_QUEUE"},
        {"delay": -1},
        {"taskid": ""},
    ):
        with pytest.raises(RefusedInput):
            task.execute(**options)
    with pytest.raises(RefusedInput):
        task.execute_many([()], taskids=["a", "b"])


@pytest.mark.parametrize("way", WAYS)
def test_calls_are_signed_and_checked(eager: App, way: str) -> None:
    eager.settings.signing_keys = {"a": 32 * "s"}
    eager.settings.signing_required = True
    assert sends(eager, eager.task(lambda x: x, name="job", save_results=60), 7)[way]().get() == 7


def test_redacted_arguments_stay_hidden(eager: App, caplog: pytest.LogCaptureFixture) -> None:
    @eager.task(name="job", redact=["secret"])
    def fails(secret: str) -> None:
        raise ValueError(secret)

    call = fails.execute("hush")
    assert "hush" not in str(call.executions) + caplog.text
    with pytest.raises(UnserializableValue) as refused:
        fails.execute({"hush"})
    assert "hush" not in str(refused.value)


def test_middleware_and_context_managers_and_runners_are_in_it(eager: App, log: list[Any]) -> None:
    class Noting(Middleware):
        def on_enqueue(self, call: Any) -> None:
            call.meta["user"] = "ada"

        @contextlib.contextmanager
        def around(self, run: Any) -> Iterator[None]:
            log.append(("around", run.meta))
            yield

        def on_success(self, run: Any, seconds: float) -> None:
            log.append(("success", run.id, seconds >= 0))

        def on_failure(self, run: Any, failure: Any) -> None:
            log.append(("failure", failure.state, type(failure.error)))

        def on_retry(self, run: Any, failure: Any) -> None:
            log.append(("retry", run.attempt))

        def on_dead(self, run: Any, failure: Any) -> None:
            log.append(("dead", run.attempt))

    class Loud(TaskRunner):
        def run(self, function: Any, args: Any, kwargs: Any) -> Any:
            log.append("runner")
            return function(*args, **kwargs)

        def on_permanent_error(self, failure: Any) -> None:
            log.append("permanent")

    @contextlib.contextmanager
    def child() -> Iterator[None]:
        log.append("in")
        yield
        log.append("out")

    eager.settings.middleware = [Noting()]
    eager.settings.child_context_managers = [child]
    eager.task(lambda: log.append("ran"), name="good", runner_class=Loud).execute(taskid="a")
    assert log == ["in", ("around", {"user": "ada"}), "runner", "ran", "out", ("success", "a", True)]
    log.clear()
    eager.task(lambda: 1 / 0, name="bad", runner_class=Loud, retry_method=fixed(60, 1)).execute()
    once = ["in", ("around", {"user": "ada"}), "runner", ("failure", "ready", ZeroDivisionError), ("retry", 1)]
    last = [
        "in",
        ("around", {"user": "ada"}),
        "runner",
        ("failure", "failed", ZeroDivisionError),
        ("dead", 2),
        "permanent",
    ]
    assert log == once + last


def test_runs_are_logged(eager: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "rpqueue.task")
    eager.task(lambda: None, name="good").execute()
    eager.task(lambda: 1 / 0, name="bad").execute()
    assert [(record.message, record.task) for record in caplog.records] == [  # type: ignore[attr-defined]
        ("task finished", "good"),
        ("task failed", "bad"),
    ]


# Failing and retrying.


def test_a_failure_is_told_by_get_with_the_error_as_its_cause(eager: App) -> None:
    error = ValueError("no")

    def fails() -> None:
        raise error

    call = eager.task(fails, name="job").execute()
    assert call.status == "failed"
    assert call.error is error
    assert call.result is None
    with pytest.raises(TaskFailed, match="ValueError: no") as told:
        call.get()
    assert told.value.__cause__ is error
    assert told.value.error["exception"] == "ValueError"
    assert [record["message"] for record in call.executions] == ["no"]


def test_with_eager_propagates_the_error_comes_out_of_the_call(eager: App) -> None:
    eager.settings.eager_propagates = True
    task = eager.task(lambda: 1 / 0, name="job")
    for send in sends(eager, task).values():
        with pytest.raises(ZeroDivisionError):
            send()


def test_what_is_retried_well_does_not_propagate(eager: App, log: list[Any]) -> None:
    eager.settings.eager_propagates = True

    def second_time() -> None:
        log.append(current_task().attempt)
        if len(log) < 2:
            raise ValueError

    assert eager.task(second_time, name="job", retry=True).execute().status == "done"
    assert log == [1, 2]


@pytest.mark.parametrize(
    ("options", "runs", "status"),
    [
        ({}, 1, "failed"),
        ({"use_dead": True}, 1, "dead"),
        ({"attempts": 3}, 1, "failed"),  # at most once
        ({"attempts": 3, "vis_timeout": 60}, 3, "failed"),
        ({"attempts": 3, "vis_timeout": 60, "use_dead": True}, 3, "dead"),
        ({"retry": True}, 4, "failed"),  # DEFAULT_RETRY_METHOD: fixed(60, 3)
        ({"retry_method": fixed(3600, 1)}, 2, "failed"),
        ({"retry_method": fixed(3600, 5), "attempts": 2}, 2, "failed"),
        ({"retry_on": [KeyError]}, 1, "failed"),
        ({"dont_retry_on": [ValueError]}, 1, "failed"),
        ({"recover": True}, 1, "failed"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_retries_are_run_at_once_and_counted(
    eager: App, log: list[Any], options: dict[str, Any], runs: int, status: str, is_async: bool
) -> None:
    def fails(numbers: list[int]) -> None:
        run = current_task()
        log.append((run.attempt, run.token, run.n_executions(), len(run.executions), numbers))
        numbers.append(1)
        raise ValueError("no")

    async def fails_awaited(numbers: list[int]) -> None:
        fails(numbers)

    call = eager.task(fails_awaited if is_async else fails, name="job", **options).execute([0])
    assert [(at, token, before, kept) for at, token, before, kept, _ in log] == [
        (number, number, number - 1, number - 1) for number in range(1, runs + 1)
    ]
    assert all(numbers == [0, 1] for *_, numbers in log)  # each run begins with the arguments of the call
    assert (call.status, len(call.executions)) == (status, runs)
    assert [record["attempt"] for record in call.executions] == list(range(1, runs + 1))


def test_retry_exceptions_are_honoured_until_stop_retry(eager: App, log: list[Any]) -> None:
    def again() -> None:
        log.append(1)
        raise RetryException(fixed(3600, 2), log_error=False)

    call = eager.task(again, name="job").execute()
    assert len(log) == 3
    assert call.status == "failed"


def test_the_attempts_of_one_call_are_its_own(eager: App, log: list[Any]) -> None:
    def fails(_attempts: int) -> None:
        log.append(_attempts)
        raise ValueError

    task = eager.task(fails, name="job", vis_timeout=60, attempts=2)
    task.execute(_attempts=3)
    assert log == [3, 2, 1]
    log.clear()
    assert len(task.execute().executions) == 2
    assert log == [2, 1]


def test_task_retry_runs_again_at_once_while_attempts_are_left(eager: App, log: list[Any]) -> None:
    @eager.task(name="job", attempts=3, retry_delay=3600)
    def tries(x: int) -> None:
        log.append((x, current_task().attempts_left))
        tries.retry(x + 1)

    tries.execute(0)
    assert log == [(0, 3), (1, 2), (2, 1)]


def test_a_task_may_end_as_cancelled(eager: App) -> None:
    eager.settings.eager_propagates = True

    def gives_up() -> None:
        raise TaskCancelled("enough")

    call = eager.task(gives_up, name="job").execute()
    assert call.status == "cancelled"
    with pytest.raises(TaskCancelled):
        call.get()


def test_who_interrupts_is_heard(eager: App) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eager.task(interrupted, name="job").execute()
    with pytest.raises(NoCurrentTask):
        current_task()


def test_an_async_task_that_cancels_itself_has_failed(eager: App) -> None:
    async def cancels() -> None:
        raise asyncio.CancelledError

    task = eager.task(cancels, name="job")
    assert task.execute().executions[0]["exception"] == "CancelledError"
    awaited = asyncio.run(aio.of(eager).execute(task))
    assert awaited.sync.executions[0]["exception"] == "CancelledError"


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_soft_timeout_is_raised_inside(eager: App, is_async: bool) -> None:
    async def awaits() -> None:
        await asyncio.sleep(60)

    def works() -> None:
        ends_at = time.monotonic() + 60
        while time.monotonic() < ends_at:
            pass

    call = eager.task(awaits if is_async else works, name="job", soft_timeout=0.1).execute()
    assert isinstance(call.error, SoftTimeout)


def test_a_coroutine_is_stopped_by_its_hard_timeout_and_its_caller_is_not(eager: App) -> None:
    async def awaits() -> None:
        await asyncio.sleep(60)

    task = eager.task(awaits, name="job", hard_timeout=0.1)

    async def calls() -> Any:
        call = await aio.of(eager).execute(task)
        await asyncio.wait_for(asyncio.sleep(0), 20)
        return call.sync, getattr(asyncio.current_task(), "cancelling", int)()

    (awaited, cancelling), made = asyncio.run(calls()), task.execute()
    assert [type(call.error) for call in (awaited, made)] == [TaskTimeout, TaskTimeout]
    assert cancelling == 0


def test_who_cancels_an_awaited_call_cancels_the_task(eager: App, log: list[Any]) -> None:
    begun = asyncio.Event()

    async def awaits() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            log.append("cleaned up")

    task = eager.task(awaits, name="job", retry=True)

    async def cancels() -> None:
        call = asyncio.ensure_future(aio.of(eager).execute(task))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert log == ["cleaned up"]

    asyncio.run(cancels())


# Inside of a run.


def test_current_task_works_without_redis(eager: App, log: list[Any]) -> None:
    def works(x: int) -> None:
        run = current_task()
        log.append((run.id, run.name, run.queue, run.args, run.kwargs, run.attempts_left, run.is_cancelled))
        run.raise_if_cancelled()
        log.append(run.resumed)
        run.progress({"rows": run.attempt})
        run.checkpoint([run.attempt])
        before = run.deadline
        assert run.heartbeat() >= before > 0
        assert run.resumed == [run.attempt]
        if run.attempt == 1:
            raise ValueError

    call = eager.task(works, name="job", vis_timeout=60, attempts=2).execute(1, taskid="a")
    first = ("a", "job", "default", [1], {}, 2, False)
    assert log == [first, None, (*first[:5], 1, False), [1]]
    assert call.progress == {"rows": 2}
    with pytest.raises(NoCurrentTask):
        current_task()


def test_a_checkpoint_can_be_taken_back(eager: App, log: list[Any]) -> None:
    def works() -> None:
        current_task().checkpoint(1)
        current_task().checkpoint(None)
        log.append((current_task().resumed, current_task().heartbeat()))

    eager.task(works, name="job").execute()
    assert log == [(None, 0.0)]


def test_tasks_that_make_calls_run_them_inside(eager: App, log: list[Any]) -> None:
    inner = eager.task(lambda: log.append(("inner", current_task().name)), name="inner")

    def calls() -> None:
        inner.execute()
        log.append(("outer", current_task().name))

    eager.task(calls, name="outer").execute()
    assert log == [("inner", "inner"), ("outer", "outer")]


# What is not for eager calls.


@pytest.mark.parametrize("delay", [0.5, timedelta(hours=1)])
@pytest.mark.parametrize(
    "way", ["execute", "execute_many", "call_task", "aio.execute", "aio.execute_many", "aio.call_task"]
)
def test_calls_with_a_delay_go_to_redis(eager: App, log: list[Any], delay: Any, way: str) -> None:
    task, face = eager.task(log.append, name="job"), aio.of(eager)
    send: dict[str, Callable[[], Any]] = {
        "execute": lambda: task.execute(1, delay=delay),
        "execute_many": lambda: task.execute_many([(1,)], delay=delay),
        "call_task": lambda: eager.call_task("job", None, 1, delay=delay),
        "aio.execute": lambda: asyncio.run(face.execute(task, 1, delay=delay)),
        "aio.execute_many": lambda: asyncio.run(face.execute_many(task, [(1,)], delay=delay)),
        "aio.call_task": lambda: asyncio.run(face.call_task("job", None, 1, delay=delay)),
    }
    with pytest.raises(RedisUnavailable):
        send[way]()
    assert log == []


def test_calls_with_a_future_instant_go_to_redis_and_those_with_a_past_one_run(eager: App, log: list[Any]) -> None:
    task = eager.task(log.append, name="job")
    past, future = datetime(2001, 1, 1), datetime.now(timezone.utc) + timedelta(hours=1)
    task.execute(1, when=past)
    task.execute_many([(2,)], when=past)
    eager.call_task("job", None, 3, when=past)
    asyncio.run(aio.of(eager).execute(task, 4, when=past))
    asyncio.run(aio.of(eager).execute_many(task, [(5,)], when=past))
    assert log == [1, 2, 3, 4, 5]
    for send in (
        lambda: task.execute(1, when=future),
        lambda: task.execute_many([(1,)], when=future),
        lambda: eager.call_task("job", None, 1, when=future),
    ):
        with pytest.raises(RedisUnavailable):
            send()
    assert log == [1, 2, 3, 4, 5]


def test_a_delayed_call_waits_in_its_queue(app: App) -> None:
    app.settings.always_eager = True
    task = app.task(lambda: None, name="job")
    assert task.execute(delay=60).status == "early"
    assert task.execute(delay=0).status == "done"
    assert app.queue_sizes() == [("default", 1, 1)]


def test_a_name_that_nobody_here_declared_is_unknown(eager: App) -> None:
    for options in ({}, {"_verify_call": False}):
        with pytest.raises(UnknownTask, match="Import the module"):
            eager.call_task("mail.send", None, 1, **options)
    with pytest.raises(RedisUnavailable):
        eager.call_task("mail.send", None, 1, delay=5)
    with pytest.raises(UnknownTask, match="known by name only"):
        eager.Task("default", "mail.send", None).execute(1)


def test_inline_calls_stay_as_they_are(eager: App) -> None:
    task = eager.task(lambda x: x, name="job")
    assert task.execute({1}, execute_inline_now=True).result == {1}


def test_a_switch_at_run_time_has_effect_at_once(app: App, log: list[Any]) -> None:
    task = app.task(log.append, name="job")
    task.execute(1)
    app.settings.always_eager = True
    task.execute(2)
    app.settings.always_eager = False
    task.execute(3)
    assert log == [2]
    assert app.queue_sizes() == [("default", 2, 2)]
