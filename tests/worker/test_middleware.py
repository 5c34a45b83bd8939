"""Middleware and runners: each hook is called once, where and with what it says, and none can do harm."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import rpqueue
from rpqueue import App, Middleware, RunningTask, TaskRunner, aio, current_task, fixed
from rpqueue.errors import IdTaken, RefusedInput, RetryException, StopRetry, TaskCancelled, TaskFailed
from rpqueue.middleware import Failure, Outgoing
from tests.servers import wait_until
from tests.worker.here import working

SOON = 30.0
HOOKS = ("on_success", "on_failure", "on_retry", "on_dead")


class Watching(Middleware):
    """Writes down what it is told, in order."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.seen: list[tuple[Any, ...]] = []

    def on_enqueue(self, call: Outgoing) -> None:
        self.seen.append(("on_enqueue", call.name, call.queue, call.task_id))
        call.meta[self.name] = len(self.seen)

    @contextlib.contextmanager
    def around(self, run: RunningTask) -> Iterator[None]:
        self.seen.append(("enter", run.id, run.attempt, threading.get_ident()))
        try:
            yield
        except BaseException as error:
            self.seen.append(("raised", type(error).__name__))
            raise
        finally:
            self.seen.append(("leave", run.id))

    def on_success(self, run: RunningTask, seconds: float) -> None:
        self.seen.append(("on_success", run.id, seconds))

    def on_failure(self, run: RunningTask, failure: Failure) -> None:
        self.seen.append(("on_failure", run.id, failure))

    def on_retry(self, run: RunningTask, failure: Failure) -> None:
        self.seen.append(("on_retry", run.id, failure))

    def on_dead(self, run: RunningTask, failure: Failure) -> None:
        self.seen.append(("on_dead", run.id, failure))

    @property
    def words(self) -> list[str]:
        return [one[0] for one in self.seen]


class Raising(Middleware):
    """Its hooks all fail."""

    def on_enqueue(self, call: Outgoing) -> None:
        raise ZeroDivisionError

    def on_success(self, run: RunningTask, seconds: float) -> None:
        raise ZeroDivisionError

    on_failure = on_retry = on_dead = on_success  # type: ignore[assignment]


@pytest.fixture
def watching(app: App) -> Watching:
    one = Watching("meta")
    app.settings.middleware = [one]
    return one


def until_told(watching: Watching, word: str, number: int = 1) -> None:
    wait_until(lambda: watching.words.count(word) == number, SOON, f"{number} x {word} in {watching.words}")


# ---- In order, once.


@pytest.mark.parametrize("is_async", [False, True])
def test_a_run_that_ends_well(app: App, watching: Watching, is_async: bool) -> None:
    def plain() -> int:
        inside.append(threading.get_ident())
        return 5

    async def coroutine() -> int:
        await asyncio.sleep(0)
        return plain()

    inside: list[int] = []
    task = app.task(name="it", save_results=60)(coroutine if is_async else plain)
    with working(app):
        call = task.execute()
        assert call.get(SOON) == 5
    assert watching.words == ["on_enqueue", "enter", "leave", "on_success"]
    enqueued, entered, _, (_, taskid, seconds) = watching.seen
    assert enqueued == ("on_enqueue", "it", "default", call.taskid)
    assert entered == ("enter", call.taskid, 1, inside[0])
    assert taskid == call.taskid
    assert 0 <= seconds < SOON


@pytest.mark.parametrize("is_async", [False, True])
def test_a_run_that_fails_is_retried_and_fails_for_good(app: App, watching: Watching, is_async: bool) -> None:
    def plain() -> None:
        raise ValueError(current_task().attempt)

    async def coroutine() -> None:
        plain()

    task = app.task(name="it", retry_method=fixed(0.01, 1), use_dead=True)(coroutine if is_async else plain)
    with working(app):
        call = task.execute()
        until_told(watching, "on_dead")
    run = ["enter", "raised", "leave", "on_failure"]
    assert watching.words == ["on_enqueue", *run, "on_retry", *run, "on_dead"]
    failures = [one[2] for one in watching.seen if one[0].startswith("on_") and len(one) == 3]
    assert [(one.state, one.is_final, one.is_retried) for one in failures] == [
        ("scheduled", False, True),
        ("scheduled", False, True),
        ("dead", True, False),
        ("dead", True, False),
    ]
    assert [str(one.error) for one in failures] == ["1", "1", "2", "2"]
    assert failures[-1].record["exception"] == "ValueError"
    assert failures[-1].log_error
    assert call.status == "dead"


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ValueError(), "failed"),
        (StopRetry(), "failed"),
        (RetryException(fixed(0, 0)), "failed"),
        (RetryException(fixed(0, 0), log_error=False), "dropped"),
        (SystemExit(3), "failed"),
    ],
)
def test_a_last_failure_says_where_the_call_went(
    app: App, watching: Watching, error: BaseException, state: str
) -> None:
    @app.task
    def fails() -> None:
        raise error

    with working(app):
        fails.execute()
        until_told(watching, "on_dead")
    assert watching.words[-2:] == ["on_failure", "on_dead"]
    failure = watching.seen[-1][2]
    assert (failure.state, failure.error, failure.log_error) == (state, error, state == "failed")


def test_a_call_that_is_cancelled_is_no_failure(app: App, watching: Watching) -> None:
    @app.task
    def gives_in() -> None:
        raise TaskCancelled("enough")

    with working(app):
        call = gives_in.execute()
        wait_until(lambda: call.status == "cancelled", SOON)
    assert watching.words == ["on_enqueue", "enter", "raised", "leave"]


def test_of_a_run_whose_lease_was_lost_only_the_failure_is_told(app: App, watching: Watching) -> None:
    from rpqueue.protocol import moves

    @app.task(vis_timeout=60, attempts=5)
    def stale() -> None:
        lease = [(current_task().id, "", "interrupted")]
        keys = app.task_keys("default")
        app.broker.execute(moves.release(keys, app.index, lease, app.task_rules, delay=60))  # type: ignore[arg-type]
        raise ValueError

    with working(app):
        stale.execute()
        until_told(watching, "on_failure")
    assert watching.words[-1] == "on_failure"
    assert watching.seen[-1][2].state == "stale"


def test_the_first_one_is_the_outermost(app: App) -> None:
    order: list[str] = []

    class Nested(Watching):
        @contextlib.contextmanager
        def around(self, run: RunningTask) -> Iterator[None]:
            order.append(f"{self.name} in")
            yield
            order.append(f"{self.name} out")

    @contextlib.contextmanager
    def manager() -> Iterator[None]:
        order.append("manager in")
        yield
        order.append("manager out")

    app.settings.middleware = (Nested("a"), Nested("b"))
    app.settings.child_context_managers = [manager]
    with working(app):
        app.task(name="it", save_results=60)(lambda: order.append("run")).execute().get(SOON)
    assert order == ["manager in", "a in", "b in", "run", "b out", "a out", "manager out"]


# ---- What hooks may and may not do.


@pytest.mark.parametrize("fails", [False, True])
def test_a_hook_that_raises_is_logged_and_changes_nothing(
    app: App, watching: Watching, fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app.settings.middleware = [Raising(), watching]

    def job() -> str:
        if fails:
            raise ValueError
        return "fine"

    task = app.task(name="it", retry_method=fixed(0, 1), save_results=60)(job)
    with working(app):
        call = task.execute()
        if fails:
            with pytest.raises(TaskFailed, match="ValueError"):
                call.get(SOON)
            until_told(watching, "on_dead")
        else:
            assert call.get(SOON) == "fine"
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("middleware failed")]
    hooks = ["on_enqueue", *(["on_failure", "on_retry", "on_failure", "on_dead"] if fails else ["on_success"])]
    assert told == [f"middleware failed: {hook}" for hook in hooks]
    assert watching.words.count("enter") == (2 if fails else 1)


@pytest.mark.parametrize("where", ["made", "entered", "left"])
def test_what_around_raises_is_what_the_run_has_raised(app: App, where: str) -> None:
    class Breaks(Middleware):
        def around(self, run: RunningTask) -> Any:
            if where == "made":
                raise ZeroDivisionError
            return self._manager()

        @contextlib.contextmanager
        def _manager(self) -> Iterator[None]:
            if where == "entered":
                raise ZeroDivisionError
            yield
            raise ZeroDivisionError

    app.settings.middleware = [Breaks()]
    with working(app), pytest.raises(TaskFailed, match="ZeroDivisionError"):
        app.task(name="it", save_results=60)(lambda: 1).execute().get(SOON)


def test_a_manager_may_let_an_exception_end_and_the_result_is_none(app: App) -> None:
    class Lenient(Middleware):
        def around(self, run: RunningTask) -> Any:
            return contextlib.suppress(ValueError)

    app.settings.middleware = [Lenient()]

    @app.task(save_results=60)
    def fails() -> None:
        raise ValueError

    with working(app):
        call = fails.execute()
        assert call.get(SOON) is None
        assert call.status == "done"
        assert app.get_connection().exists(call.keys.outcome(call.taskid))


def test_middleware_that_is_assigned_or_appended_while_workers_work_counts_from_then_on(app: App) -> None:
    first, second = Watching("a"), Watching("b")
    task = app.task(name="it", save_results=60)(lambda: None)
    with working(app):
        task.execute().get(SOON)
        app.settings.middleware = [first]
        task.execute().get(SOON)
        app.settings.middleware.append(second)  # type: ignore[attr-defined]
        task.execute().get(SOON)
    assert (first.words.count("enter"), second.words.count("enter")) == (2, 1)


# ---- meta


def enqueue(app: App, task: Any, how: str) -> None:
    if how == "execute":
        task.execute()
    elif how == "chosen":
        task.execute(taskid="mine")
    elif how == "many":
        task.execute_many([()])
    elif how == "pipeline":
        with app.pipeline():
            task.execute()
    elif how == "by name":
        app.call_task("it")
    elif how == "delayed":
        task.execute(delay=0.01)
    elif how == "retry":
        task.retry()
    elif how == "durable":
        task.execute(durability=False)
    else:
        asyncio.run(enqueue_async(app, task, how))


async def enqueue_async(app: App, task: Any, how: str) -> None:
    face = aio.of(app)
    if how == "aio":
        await face.execute(task)
    elif how == "aio many":
        await face.execute_many(task, [()])
    elif how == "aio by name":
        await face.call_task("it")
    else:
        async with face.pipeline():
            await face.execute(task)


WAYS = ("execute", "chosen", "many", "pipeline", "by name", "delayed", "retry", "durable")


@pytest.mark.parametrize("how", [*WAYS, "aio", "aio many", "aio by name", "aio pipeline"])
def test_what_middleware_sends_along_arrives_however_the_call_is_made(app: App, watching: Watching, how: str) -> None:
    seen: list[Any] = []
    task = app.task(name="it", attempts=2, retry_delay=0)(lambda: seen.append(current_task().meta))
    enqueue(app, task, how)
    with working(app):
        wait_until(lambda: seen, SOON)
    assert seen == [{"meta": 1}]
    assert watching.words.count("on_enqueue") == 1


def test_so_it_does_with_each_slot_of_a_recurring_task_and_each_run_of_a_call(app: App, watching: Watching) -> None:
    seen: list[Any] = []

    @app.periodic_task(0.05, low_delay_okay=True, retry_method=fixed(0, 9))
    def recurs() -> None:
        seen.append((current_task().id, current_task().meta))
        if current_task().attempt == 1:
            raise ValueError

    with working(app):
        wait_until(lambda: len(seen) >= 4, SOON)
    assert seen[0] == seen[1]
    assert seen[2] == seen[3]
    assert seen[1] != seen[2]


def test_calls_without_anything_sent_along_have_the_bytes_that_they_always_had(
    app: App, redis_client: redis.Redis
) -> None:
    app.settings.middleware = [Middleware()]
    call = app.task(name="it")(lambda x: None).execute(1)
    stored = redis_client.hget(call.keys.messages, call.taskid)
    assert (stored or b"").partition(b"|")[2] == b'["it",[1],{}]'


def test_meta_is_signed_with_the_body(app: App, watching: Watching, redis_client: redis.Redis) -> None:
    app.settings.signing_keys = {"a": "a" * 32}
    app.settings.signing_required = True
    seen: list[Any] = []
    task = app.task(name="it")(lambda: seen.append(current_task().meta))
    good, forged = task.execute(), task.execute()
    stored = redis_client.hget(forged.keys.messages, forged.taskid) or b""
    redis_client.hset(forged.keys.messages, forged.taskid, stored.replace(b'{"meta":2}', b'{"meta":9}'))
    with working(app):
        wait_until(lambda: seen and forged.status == "dead", SOON)
    assert seen == [{"meta": 1}]
    assert good.status == "done"


@pytest.mark.parametrize("how", ["execute", "many"])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({1, 2}, r"meta of it: expected a value that JSON can carry"),
        ({1: 2}, "meta of it: expected dicts with str keys"),
        ("x" * 2_000_000, "meta of it: expected at most 1048576 bytes"),
        ("x" * 1_048_560, "arguments and meta of it: expected at most 1048576 bytes"),
    ],
    ids=["a set", "keys", "alone too long", "together too long"],
)
def test_what_json_cannot_carry_is_refused_and_nothing_is_sent(app: App, how: str, value: Any, text: str) -> None:
    class Sends(Middleware):
        def on_enqueue(self, call: Outgoing) -> None:
            call.meta["x"] = value

    app.settings.middleware = [Sends()]
    task = app.task(name="it", redact=True)(lambda x: None)
    with pytest.raises(RefusedInput, match=text):
        task.execute(1) if how == "execute" else task.execute_many([(1,)])
    assert app.queue_sizes() == []


def test_refused_input_refuses_the_call_and_of_a_recurring_task_the_slot(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    class Refuses(Middleware):
        def on_enqueue(self, call: Outgoing) -> None:
            if call.name in ("not", "recurs"):
                raise RefusedInput(f"no {call.name} today")

    app.settings.middleware = [Refuses()]
    ran: list[str] = []
    app.periodic_task(0.05, low_delay_okay=True, name="recurs")(lambda: ran.append("recurs"))
    app.periodic_task(0.05, low_delay_okay=True, name="other")(lambda: ran.append("other"))
    with pytest.raises(RefusedInput, match="no not today"):
        app.task(name="not")(lambda: None).execute()
    with working(app):
        wait_until(lambda: ran.count("other") >= 3, SOON)
    assert "recurs" not in ran
    assert caplog.text.count("a slot is left out: no recurs today") >= 2


@pytest.mark.parametrize("signed", [False, True])
def test_a_call_under_a_chosen_id_may_come_again_though_its_meta_differs(
    app: App, watching: Watching, signed: bool
) -> None:
    if signed:
        app.settings.signing_keys = {"a": "a" * 32}
    seen: list[Any] = []
    task = app.task(name="it")(lambda x: seen.append(current_task().meta))
    for _ in range(2):
        task.execute(1, taskid="same")
    app.settings.middleware = []
    task.execute(1, taskid="same")
    with pytest.raises(IdTaken):
        task.execute(2, taskid="same")
    app.settings.middleware = [watching]
    with pytest.raises(IdTaken):
        task.execute(12, taskid="same")
    with working(app):
        wait_until(lambda: seen, SOON)
    assert seen == [{"meta": 1}]


# ---- Runners of one task.


@pytest.mark.parametrize("is_async", [False, True])
def test_a_runner_calls_the_function_in_its_own_way(app: App, is_async: bool) -> None:
    class Doubles(TaskRunner):
        def run(self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
            seen.append((self.current.id, args, kwargs))
            return function(*args, *args, **kwargs)

    def plain(*args: int, more: int) -> int:
        return sum(args) + more

    async def coroutine(*args: int, more: int) -> int:
        return plain(*args, more=more)

    seen: list[Any] = []
    task = app.task(name="it", save_results=60, runner_class=Doubles)(coroutine if is_async else plain)
    with working(app):
        call = task.execute(1, 2, more=10)
        assert call.get(SOON) == 16
    assert seen == [(call.taskid, [1, 2], {"more": 10})]


def test_a_runner_hears_of_the_end_of_a_task_that_failed_for_good(app: App, caplog: pytest.LogCaptureFixture) -> None:
    class Hears(TaskRunner):
        def on_permanent_error(self, failure: Failure) -> None:
            heard.append((self.current.attempt, failure.state, str(failure.error)))
            raise ZeroDivisionError

    @app.task(runner_class=Hears, retry_method=fixed(0, 1))
    def fails() -> None:
        raise ValueError(current_task().attempt)

    heard: list[Any] = []
    with working(app):
        call = fails.execute()
        wait_until(lambda: heard, SOON)
        assert call.status == "failed"
        wait_until(lambda: "on_permanent_error failed" in caplog.text, SOON)
    assert heard == [(2, "failed", "2")]


def test_managers_of_children_are_entered_around_runs_in_threads_as_well(app: App) -> None:
    order: list[Any] = []

    @contextlib.contextmanager
    def manager() -> Iterator[None]:
        order.append(("in", current_task().id))
        yield
        order.append("out")

    app.settings.child_context_managers = [manager]
    with working(app):
        call = app.task(name="it", save_results=60)(lambda: order.append(time.time())).execute()
        call.get(SOON)
    assert (order[0], order[2], len(order)) == (("in", call.taskid), "out", 3)


def test_the_names_are_shown() -> None:
    assert {"Middleware", "TaskRunner", "RunningTask"} <= set(rpqueue.__all__)
