"""What a run knows of itself, and what it may say: its deadline, how far it is, what the next run begins with."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

import rpqueue
from rpqueue import App, aio, awaited, current
from rpqueue.enqueued import EnqueuedTask
from rpqueue.errors import BadSignature, NoCurrentTask, StaleLease, TaskFailed, UnserializableValue
from rpqueue.protocol import moves
from rpqueue.states import State
from tests.servers import wait_until
from tests.worker.here import working

SOON = 30.0
current_task = rpqueue.current_task


@pytest.fixture
def run(app: App) -> Callable[..., Any]:
    """run(function, **options): what a call of this function returns, run by a worker in threads of this process."""

    def run(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        task = app.task(name="it", save_results=60, **options)(function)
        with working(app, threads=2):
            return task.execute(*args).get(SOON)

    return run


def end_lease(app: App, taskid: str) -> None:
    """Have somebody end it, as if it had run out; the message is ready again, or buried."""
    keys = app.task_keys("default")
    released = moves.release(keys, app.index, [(taskid, "", "interrupted")], app.task_rules, delay=60)
    assert app.broker.execute(released)


# ---- What it knows.


def test_a_run_knows_its_call(app: App, run: Callable[..., Any]) -> None:
    def tell(first: int, second: int) -> dict[str, Any]:
        me = current_task()
        names = ("id", "taskid", "name", "queue", "args", "kwargs", "meta", "attempt", "attempts_left", "deadline")
        said = {name: getattr(me, name) for name in names}
        return {**said, "mine": me.task is app.get_task("it"), "cancelled": me.is_cancelled, "n": me.n_executions()}

    said = run(tell, 1, 2)
    expected = {"name": "it", "queue": "default", "args": [1, 2], "kwargs": {}, "meta": {}, "attempt": 1}
    expected |= {"attempts_left": 1, "deadline": 0, "mine": True, "cancelled": False, "n": 0}
    assert said == {**said, **expected}
    assert (said["id"], len(said)) == (said["taskid"], len(expected) + 2)


def test_outside_of_a_run_there_is_none() -> None:
    for ask in (rpqueue.current_task, rpqueue.current_tasks, aio.current_task, aio.current_tasks):
        with pytest.raises(NoCurrentTask, match="expected to be called while a worker runs a task"):
            ask()
    assert issubclass(NoCurrentTask, RuntimeError)


def test_coroutines_that_run_at_the_same_time_each_know_their_own(app: App) -> None:
    async def tell() -> list[str]:
        before = current_task().id
        both.release()
        while both._value < 2:
            await asyncio.sleep(0.01)
        return [before, current_task().id, (await asyncio.to_thread(current_task)).id, aio.current_tasks()[0].id]

    both = threading.Semaphore(0)
    task = app.task(save_results=60)(tell)
    with working(app):
        calls = [task.execute() for _ in range(2)]
        assert [call.get(SOON) for call in calls] == [[call.taskid] * 4 for call in calls]


def test_threads_that_a_task_starts_can_be_told_of_the_run(run: Callable[..., Any]) -> None:
    def tell() -> list[str]:
        import contextvars

        seen: list[str] = []
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(lambda: seen.append(current_task().id),))
        thread.start()
        thread.join()
        return [current_task().id, *seen]

    mine, seen = run(tell)
    assert mine == seen


@pytest.mark.parametrize(("options", "expected"), [({"vis_timeout": 60}, 60.0), ({"recover": True}, 0.0), ({}, 0.0)])
def test_the_deadline_is_the_end_of_the_visibility_timeout(
    run: Callable[..., Any], options: dict[str, Any], expected: float
) -> None:
    started = time.time()
    deadline = run(lambda: current_task().deadline, **options)
    assert 0 <= deadline - (started if expected else 0) - expected < SOON


# ---- heartbeat


def test_a_heartbeat_moves_the_deadline_and_the_lease_and_the_supervisor_goes_by_it(app: App) -> None:
    """A run three times as long as its visibility timeout, which WORKER_TTL cuts into several leases."""
    app.settings.worker_ttl = 0.5
    ran: list[float] = []

    @app.task(vis_timeout=1.5, attempts=5, save_results=60)
    def long() -> int:
        me, before = current_task(), current_task().deadline
        ran.append(before)
        for _ in range(9):
            time.sleep(0.5)
            after = me.heartbeat()
            assert after > before
            assert me.deadline == after
            before = after
        return len(ran)

    with working(app):
        assert long.execute().get(SOON) == 1
    assert b"expired" not in app.get_connection().hgetall(app.task_keys("default").stats)


@pytest.mark.parametrize("options", [{}, {"recover": True}])
def test_without_a_deadline_it_holds_the_lease_and_returns_0(
    app: App, run: Callable[..., Any], options: dict[str, Any]
) -> None:
    def beat() -> tuple[float, float]:
        key, me = app.task_keys("default").leased, current_task()
        app.get_connection().zadd(key, {me.id: 1e12 * 2})
        return me.heartbeat(), app.get_connection().zscore(key, me.id) / 1000 - time.time()

    deadline, lease = run(beat, **options)
    assert deadline == 0
    assert 10 < lease <= 15.1


@pytest.mark.parametrize("verb", ["heartbeat", "progress", "checkpoint"])
@pytest.mark.parametrize("vis_timeout", [0, 60])
def test_once_the_lease_is_lost_the_run_is_told_and_changes_nothing(app: App, verb: str, vis_timeout: float) -> None:
    said: list[Any] = []

    def stale() -> None:
        me = current_task()
        if vis_timeout:
            me.checkpoint("mine")
        end_lease(app, me.id)
        for _ in range(2):
            with pytest.raises(StaleLease, match="somebody else may run it now"):
                getattr(me, verb)(*([] if verb == "heartbeat" else [1]))
        said.append((me.is_cancelled, me.resumed))
        with pytest.raises(StaleLease):
            me.raise_if_cancelled()
        over.set()

    over = threading.Event()
    task = app.task(vis_timeout=vis_timeout, attempts=9)(stale)
    with working(app):
        call = task.execute()
        assert over.wait(SOON)
    assert said == [(True, "mine" if vis_timeout else None)]
    assert call.progress is None
    assert call.status == ("early" if vis_timeout else "lost")


# ---- progress


def test_progress_is_seen_from_outside(app: App) -> None:
    steps, go = threading.Semaphore(0), threading.Semaphore(0)

    @app.task(save_results=60)
    def steady() -> None:
        for value in (0.5, {"rows": [1, "ä", None]}, None, 1):
            current_task().progress(value)
            steps.release()
            assert go.acquire(timeout=SOON)

    call = steady.execute()
    assert call.progress is None
    with working(app):
        for value in (0.5, {"rows": [1, "ä", None]}, None, 1):
            assert steps.acquire(timeout=SOON)
            assert call.progress == value
            assert asyncio.run(awaited_progress(app, call)) == value
            go.release()
        call.get(SOON)
    assert call.progress == 1  # its last word stays for a while


async def awaited_progress(app: App, call: EnqueuedTask) -> Any:
    return await aio.of(app).EnqueuedTask(call.name, call.taskid, call.queue).progress()


def test_who_waits_for_a_call_is_told_of_its_progress(app: App) -> None:
    go = threading.Semaphore(0)

    @app.task(save_results=60)
    def steady() -> str:
        for value in range(3):
            current_task().progress(value)
            assert go.acquire(timeout=SOON)
        return "done"

    def told(value: Any) -> None:
        seen.append(value)
        go.release()

    with working(app):
        seen: list[Any] = []
        assert steady.execute().get(SOON, on_progress=told) == "done"
        assert seen == [0, 1, 2]
        seen = []
        assert asyncio.run(awaited_get(app, steady.execute(), told)) == "done"
        assert seen == [0, 1, 2]


async def awaited_get(app: App, call: EnqueuedTask, told: Callable[[Any], None]) -> Any:
    return await aio.of(app).EnqueuedTask(call.name, call.taskid, call.queue, call.task).get(SOON, told)


def test_waiting_with_an_end_ends_though_there_is_progress(app: App) -> None:
    call = app.task(name="never")(lambda: None).execute()
    with pytest.raises(rpqueue.errors.ResultTimeout, match="it is waiting"):
        call.get(0.05, on_progress=print)


@pytest.mark.parametrize("verb", ["progress", "checkpoint"])
def test_what_json_cannot_carry_is_refused(run: Callable[..., Any], verb: str) -> None:
    with pytest.raises(TaskFailed, match=f"{verb} of it: expected a value that JSON can carry") as caught:
        run(lambda: getattr(current_task(), verb)({1, 2}))
    assert caught.value.error["exception"] == UnserializableValue.__name__


# ---- checkpoints


def checkpoints(app: App, client: redis.Redis) -> list[bytes]:
    return list(client.scan_iter(app.task_keys("default").checkpoint("") + b"*"))


def test_a_checkpoint_survives_a_retry_and_is_gone_when_the_call_is_done(app: App, redis_client: redis.Redis) -> None:
    seen = []

    @app.task(retry_method=rpqueue.fixed(0, 9), save_results=60)
    def resumes() -> int:
        me = current_task()
        seen.append(me.resumed)
        if len(seen) < 3:
            me.checkpoint({"at": len(seen)})
            assert me.resumed == {"at": len(seen)}
            raise ValueError
        return len(checkpoints(app, redis_client))

    with working(app):
        assert resumes.execute().get(SOON) == 1  # until the ack, for a crash in between
        wait_until(lambda: not checkpoints(app, redis_client), SOON)
    assert seen == [None, {"at": 1}, {"at": 2}]


def test_a_checkpoint_of_none_deletes_it(app: App, redis_client: redis.Redis, run: Callable[..., Any]) -> None:
    def clears() -> Any:
        current_task().checkpoint(1)
        current_task().checkpoint(None)
        return [current_task().resumed, len(checkpoints(app, redis_client))]

    assert run(clears) == [None, 0]


def test_after_the_last_run_failed_it_stays_for_who_redrives(app: App, redis_client: redis.Redis) -> None:
    seen = []

    @app.task(use_dead=True)
    def fails() -> None:
        seen.append(current_task().resumed)
        current_task().checkpoint(len(seen))
        if len(seen) == 1:
            raise ValueError

    with working(app):
        call = fails.execute()
        with pytest.raises(TaskFailed):
            call.get(SOON)
        [key] = checkpoints(app, redis_client)
        assert 6 * 86_400 < redis_client.ttl(key) <= 7 * 86_400
        app.broker.execute(moves.redrive(call.keys, app.index, State.DEAD))
        call.get(SOON)
        wait_until(lambda: not checkpoints(app, redis_client), SOON)
    assert seen == [None, 1]


@pytest.mark.parametrize(
    "error", [rpqueue.errors.TaskCancelled(), rpqueue.RetryException(rpqueue.fixed(0, 0), log_error=False)]
)
def test_it_is_deleted_with_a_call_that_leaves_nothing_else(
    app: App, redis_client: redis.Redis, error: Exception
) -> None:
    @app.task
    def gone() -> None:
        current_task().checkpoint(1)
        raise error

    with working(app):
        call = gone.execute()
        wait_until(lambda: call.status in ("done", "cancelled"), SOON)
        wait_until(lambda: not checkpoints(app, redis_client), SOON)


def test_another_call_of_the_same_id_does_not_begin_with_it(app: App) -> None:
    seen = []

    @app.task(use_dead=True)
    def leaves() -> None:
        seen.append(current_task().resumed)
        current_task().checkpoint("mine")
        raise ValueError

    with working(app):
        for _ in range(2):
            with pytest.raises(TaskFailed):
                leaves.execute(taskid="same").get(SOON)
    assert seen == [None, None]


@pytest.mark.parametrize("note", ["progress", "checkpoint"])
def test_notes_are_signed_where_messages_are(app: App, redis_client: redis.Redis, note: str) -> None:
    app.settings.signing_keys = {"a": "a" * 32}
    forged, go = threading.Event(), threading.Event()

    @app.task(save_results=60)
    def signs() -> list[Any]:
        me = current_task()
        me.progress("p")
        me.checkpoint("c")
        before = me.resumed
        go.set()
        assert forged.wait(SOON)
        try:
            return [before, me.resumed]
        except BadSignature as error:
            return [before, type(error).__name__]

    with working(app):
        call = signs.execute()
        assert go.wait(SOON)
        assert call.progress == "p"
        key = getattr(app.task_keys("default"), note)(call.taskid)
        good = redis_client.get(key) or b""
        redis_client.set(key, good.replace(b'"p"', b'"q"').replace(b'"c"', b'"d"'), ex=60)
        forged.set()
        assert call.get(SOON) == ["c", "BadSignature" if note == "checkpoint" else "c"]
        if note == "progress":
            with pytest.raises(BadSignature):
                call.progress  # noqa: B018


# ---- executions


def test_a_run_sees_how_those_before_it_failed(app: App) -> None:
    app.settings.keep_executions = 2
    seen: list[Any] = []

    @app.task(retry_method=rpqueue.fixed(0, 9))
    def fails() -> None:
        me = current_task()
        seen.append((me.n_executions(), [(one["attempt"], one["message"]) for one in me.executions]))
        if me.attempt < 4:
            raise ValueError(f"run {me.attempt}")

    with working(app):
        fails.execute()
        wait_until(lambda: len(seen) == 4, SOON)
    first, second, third = ((number, f"run {number}") for number in (1, 2, 3))
    assert seen == [(0, []), (1, [first]), (2, [first, second]), (3, [second, third])]


def test_a_record_tells_who_ran_it_and_when(app: App) -> None:
    seen: list[Any] = []

    @app.task(retry_method=rpqueue.fixed(0, 1))
    def fails() -> None:
        seen.append(current_task().executions)
        raise KeyError("x")

    before = time.time()
    with working(app):
        fails.execute()
        wait_until(lambda: len(seen) == 2, SOON)
    [record] = seen[1]
    assert set(record) >= {"exception", "message", "traceback", "host", "pid", "attempt", "started_at", "failed_at"}
    assert before - 1 < record["started_at"] <= record["failed_at"] < time.time() + 1
    assert "raise KeyError" in record["traceback"]


def test_tracebacks_are_left_out_where_they_are_not_to_be_stored(app: App) -> None:
    app.settings.store_tracebacks = False
    with working(app), pytest.raises(TaskFailed) as caught:
        app.task(name="fails")(lambda: 1 / 0).execute().get(SOON)
    assert caught.value.error["exception"] == "ZeroDivisionError"
    assert caught.value.error["traceback"] == ""


# ---- Awaited.


def test_a_coroutine_awaits_the_same_verbs(app: App) -> None:
    seen = []

    @app.task(retry_method=rpqueue.fixed(0, 1), vis_timeout=60, save_results=60)
    async def awaits() -> list[Any]:
        me = aio.current_task()
        seen.append([await me.resumed(), [one["exception"] for one in await me.executions()]])
        before = me.deadline
        await me.progress(me.attempt)
        await me.checkpoint(me.attempt)
        assert await me.heartbeat() > before
        assert me.deadline > before
        assert (me.id, me.token) == (current_task().id, current_task().token)
        if me.attempt == 1:
            raise ValueError
        end_lease(app, me.id)
        for verb in (me.heartbeat(), me.progress(1), me.checkpoint(1)):
            with pytest.raises(StaleLease):
                await verb
        over.set()
        return []

    over = threading.Event()
    with working(app):
        call = awaits.execute()
        assert over.wait(SOON)
        assert call.progress == 2
    assert seen == [[None, []], [1, ["ValueError"]]]


def test_both_kinds_have_the_same_verbs_and_know_the_same() -> None:
    plain = {name: one for name, one in inspect.getmembers(current.RunningTask) if not name.startswith("_")}
    twin = {name: one for name, one in inspect.getmembers(awaited.RunningTask) if not name.startswith("_")}
    flows = {name for name, one in plain.items() if "Flow[" in str(getattr(one, "__annotations__", {}).get("return"))}
    assert set(plain) - flows == set(twin)
    known = {name for name in vars(current.Seen) if not name.startswith("_")}
    assert {name for name, one in twin.items() if not inspect.iscoroutinefunction(one)} == known
    assert len(flows) == len(twin) - len(known)
