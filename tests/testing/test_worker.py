"""BurstWorker: it runs what is ready, in order, in the test's thread, and says what ran."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rpqueue import Middleware, current_task, fixed
from rpqueue.errors import RedisUnavailable, RefusedInput, TaskCancelled, TaskFailed, Undecodable, UnknownTask
from rpqueue.protocol.operation import as_is, command
from rpqueue.states import State
from rpqueue.testing import Sandbox


def words(ran: list[Any]) -> list[tuple[str, list[Any], str]]:
    return [(one.name, one.args, one.state) for one in ran]


def test_it_runs_everything_until_nothing_is_ready(box: Sandbox) -> None:
    @box.app.task(name="count", save_results=60)
    def count(number: int) -> int:
        if number:
            count.execute(number - 1)
        return number

    call = count.execute(2)
    assert call.status == "waiting"
    ran = box.worker.run()
    assert words(ran) == [("count", [2], "done"), ("count", [1], "done"), ("count", [0], "done")]
    assert [one.result for one in ran] == [2, 1, 0]
    assert ran[0].id == call.taskid
    assert call.get(timeout=0) == 2
    assert box.worker.run() == []
    assert box.all_enqueued() == []


def test_drain_is_another_name_for_it(box: Sandbox) -> None:
    box.app.task(lambda: None, name="job").execute()
    assert words(box.worker.drain()) == [("job", [], "done")]


def test_it_runs_in_the_thread_that_asks_with_a_current_task(box: Sandbox) -> None:
    seen: list[Any] = []

    @box.app.task(name="plain", pool="fork", hard_timeout=60, queue="mail")
    def plain(x: int, _attempts: int) -> None:
        run = current_task()
        run.progress(x)
        seen.append((threading.current_thread(), run.id, run.args, _attempts))

    call = plain.execute(7, _attempts=1)
    [ran] = box.worker.run()
    assert seen == [(threading.current_thread(), call.taskid, [7], 1)]
    assert (ran.queue, ran.args, ran.kwargs, ran.attempt, ran.error) == ("mail", [7], {}, 1, None)


@pytest.mark.parametrize("within_a_loop", [False, True])
def test_async_tasks_run_too(box: Sandbox, within_a_loop: bool) -> None:
    @box.app.task(name="awaited", save_results=60)
    async def awaited(x: int) -> int:
        await asyncio.sleep(0)
        if x < 0:
            raise ValueError(current_task().id)
        return x + 1

    awaited.execute(1)
    call = awaited.execute(-1)

    async def runs() -> list[Any]:
        return box.worker.run()

    good, bad = asyncio.run(runs()) if within_a_loop else box.worker.run()
    assert (good.result, bad.state, str(bad.error)) == (2, "failed", call.taskid)


def test_order_is_by_priority_then_by_name_then_first_in_first_out(box: Sandbox) -> None:
    job = box.app.task(lambda x: None, name="job")
    for queue in ("b", "c", "a", "urgent"):
        job.execute_many([(f"{queue}{number}",) for number in range(3)], _queue=queue)
    box.app.set_priority("urgent", 1)
    box.app.set_priority("c", 2)
    expected = [f"{queue}{number}" for queue in ("urgent", "c", "a", "b") for number in range(3)]
    assert [one.args[0] for one in box.worker.run()] == expected


def test_what_comes_up_for_a_more_urgent_queue_runs_next(box: Sandbox) -> None:
    @box.app.task(name="job")
    def job(label: str) -> None:
        if label == "first":
            job.execute("urgent", _queue="urgent")

    box.app.set_priority("urgent", 1)
    job.execute_many([("first",), ("second",)])
    assert [one.args[0] for one in box.worker.run()] == ["first", "urgent", "second"]


def test_queues_and_a_limit_may_be_said(box: Sandbox) -> None:
    job = box.app.task(lambda x: None, name="job")
    job.execute_many([(1,), (2,), (3,)])
    job.execute(4, _queue="other")
    assert words(box.worker.run(queues=["other", b"nobody's"])) == [("job", [4], "done")]
    assert words(box.worker.run(limit=2)) == [("job", [1], "done"), ("job", [2], "done")]
    assert box.worker.run(limit=0) == []
    assert [call.args for call in box.all_enqueued()] == [[3]]
    with pytest.raises(RefusedInput, match="expected a list of names"):
        box.worker.run(queues="other")
    with pytest.raises(RefusedInput, match="limit: expected"):
        box.worker.run(limit=-1)


def test_what_is_left_by_a_limit_is_held_by_nobody(box: Sandbox) -> None:
    box.app.task(lambda x: None, name="job").execute_many([(1,), (2,)])
    box.worker.run(limit=1)
    assert box.app.queue_sizes() == [("default", 1, 2)]
    assert box.app.broker.execute(command(as_is, "ZCARD", box.app.task_keys("default").leased)) == 0


def test_a_failure_is_told_and_nothing_is_raised(box: Sandbox) -> None:
    error = ValueError("no")

    def fails() -> None:
        raise error

    call = box.app.task(fails, name="job").execute()
    [ran] = box.worker.run()
    assert (ran.state, ran.error, ran.result) == ("failed", error, None)
    with pytest.raises(TaskFailed, match="ValueError: no"):
        call.get(timeout=0)


def test_raises_stops_at_the_first_failure_whose_outcome_is_kept(box: Sandbox) -> None:
    job = box.app.task(lambda x: 1 / x, name="job")
    calls = job.execute_many([(1,), (0,), (2,)])
    with pytest.raises(ZeroDivisionError):
        box.worker.run(raises=True)
    assert [call.status for call in calls] == ["done", "failed", "waiting"]
    assert words(box.worker.run(raises=True)) == [("job", [2], "done")]


def test_raises_also_where_the_call_will_be_retried(box: Sandbox) -> None:
    job = box.app.task(lambda: 1 / 0, name="job", retry_method=fixed(60, 3))
    call = job.execute()
    with pytest.raises(ZeroDivisionError):
        box.worker.run(raises=True)
    assert call.status == "early"


def test_retries_run_when_they_are_due(box: Sandbox) -> None:
    @box.app.task(name="now", retry_method=fixed(0, 2))
    def now() -> None:
        raise ValueError

    now.execute()
    assert [(one.attempt, one.state) for one in box.worker.run()] == [(1, "ready"), (2, "ready"), (3, "failed")]

    later = box.app.task(lambda: 1 / 0, name="later", retry_method=fixed(60, 1))
    call = later.execute()
    assert [(one.attempt, one.state) for one in box.worker.run()] == [(1, "scheduled")]
    assert box.worker.run() == []
    box.clock.advance(59)
    assert box.worker.run() == []
    box.clock.advance(1)
    assert [(one.attempt, one.state) for one in box.worker.run()] == [(2, "failed")]
    assert call.status == "failed"


def test_arguments_are_told_as_they_came(box: Sandbox) -> None:
    box.app.task(lambda x: x.append(1), name="job").execute([])
    assert box.worker.run()[0].args == [[]]


def test_what_nobody_knows_is_parked_and_comes_back_when_somebody_does(box: Sandbox) -> None:
    box.app.call_task("late", None, 1, _verify_call=False)
    [ran] = box.worker.run()
    assert ran.state == "parked"
    assert isinstance(ran.error, UnknownTask)
    box.app.task(lambda x: None, name="late")
    assert words(box.worker.run()) == [("late", [1], "done")]


def test_what_cannot_be_decoded_is_dead(box: Sandbox) -> None:
    call = box.app.task(lambda: None, name="job").execute()
    keys = box.app.task_keys("default")
    box.app.get_connection().hset(keys.messages, call.taskid, "1 1700000000000|nonsense")
    with pytest.raises(Undecodable):
        box.worker.run(raises=True)
    assert call.status == "dead"


def test_a_task_may_say_that_it_was_cancelled(box: Sandbox) -> None:
    def gives_up() -> None:
        raise TaskCancelled("enough")

    call = box.app.task(gives_up, name="job").execute()
    [ran] = box.worker.run(raises=True)
    assert ran.state == call.status == "cancelled"


def test_what_test_runners_raise_in_a_task_comes_out(box: Sandbox) -> None:
    box.app.task(lambda: pytest.fail("in the task"), name="job").execute()
    with pytest.raises(pytest.fail.Exception, match="in the task"):
        box.worker.run()

    def interrupted() -> None:
        raise KeyboardInterrupt

    box.app.task(interrupted, name="stop").execute()
    with pytest.raises(KeyboardInterrupt):
        box.worker.run()


def test_middleware_hears_of_it(box: Sandbox) -> None:
    heard: list[Any] = []

    class Noting(Middleware):
        @contextlib.contextmanager
        def around(self, run: Any) -> Iterator[None]:
            heard.append("around")
            yield

        def on_success(self, run: Any, seconds: float) -> None:
            heard.append("success")

        def on_dead(self, run: Any, failure: Any) -> None:
            heard.append(failure.state)

    box.app.settings.middleware = [Noting()]
    box.app.task(lambda x: 1 / x, name="job", use_dead=True).execute_many([(1,), (0,)])
    assert [one.state for one in box.worker.run()] == ["done", "dead"]
    assert heard == ["around", "success", "around", "dead"]


def test_signed_calls_run_and_their_results_are_read(box: Sandbox) -> None:
    box.app.settings.signing_keys = {"a": 32 * "s"}
    box.app.settings.signing_required = True
    box.app.task(lambda x: x, name="job", save_results=60).execute({"deep": [1]})
    assert box.worker.run()[0].result == {"deep": [1]}
    box.assert_enqueued(count=0)


def test_a_task_that_outlasts_its_lease_is_done_all_the_same(box: Sandbox) -> None:
    box.app.settings.worker_ttl = 0.3
    call = box.app.task(lambda: time.sleep(0.9), name="job", save_results=60).execute()
    assert [one.state for one in box.worker.run()] == ["done"]
    assert call.status == "done"
    assert box.app.broker.execute(command(as_is, "HGET", call.keys.stats, "stale")) is None


def test_execute_tasks_says_so_while_it_works(box: Sandbox) -> None:
    seen: list[bool] = []
    box.app.task(lambda: seen.append(box.app.settings.execute_tasks), name="job").execute()
    box.worker.run()
    assert seen == [True]
    assert box.app.settings.execute_tasks is False


def test_a_redis_that_is_away_fails_the_test(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any, **kwargs: Any) -> Any:
        raise RedisUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(box.app.broker, "execute", away)
        with pytest.raises(RedisUnavailable):
            box.worker.run()


def test_flush_tasks_finds_nothing_to_wait_for_after_it(box: Sandbox) -> None:
    job = box.app.task(lambda x: 1 / x, name="job", retry=True)
    job.execute_many([(1,), (0,)])
    box.worker.run()
    assert box.app.flush_tasks(complete=True, timeout=5) == ([], [], [])
    box.app.broker.run(box.app.purging(State.FAILED))
