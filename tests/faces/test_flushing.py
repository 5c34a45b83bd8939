"""flush_tasks: what it calls done has run, and what it waits for is what was there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rpqueue import App, current_task, fixed
from rpqueue.errors import RefusedInput, RetryException, StopRetry, TaskCancelled, WrongType
from rpqueue.flushing import SETTLED
from rpqueue.tasks import Task
from tests.servers import listeners, wait_until

StartWorker = Callable[..., None]


class Gate:
    """A task that waits in the middle, and a count of what began and what ended."""

    def __init__(self, app: App) -> None:
        self.begun: list[Any] = []
        self.ended: list[Any] = []
        self.open = threading.Event()

        @app.task(queue="gated", name="gate")
        def gate(number: Any) -> None:
            self.begun.append(number)
            self.open.wait(20)
            self.ended.append(number)

        self.task = gate


@pytest.fixture
def start_later(app: App, start_worker: StartWorker) -> Iterator[StartWorker]:
    """start_later(threads=1): start a worker once a flush has seen what is there, and waits."""
    starters: list[threading.Thread] = []

    def start(threads: int = 1) -> None:
        def when_somebody_waits() -> None:
            wait_until(lambda: listeners(app.broker.client))
            start_worker(threads)

        starters.append(threading.Thread(target=when_somebody_waits))
        starters[-1].start()

    yield start
    for starter in starters:
        starter.join(20)


@pytest.fixture
def gate(app: App) -> Iterator[Gate]:
    gate = Gate(app)
    yield gate
    gate.open.set()


@pytest.fixture
def ran() -> list[Any]:
    return []


@pytest.fixture
def quick(app: App, ran: list[Any]) -> Task[..., Any]:
    @app.task(queue="quick", name="quick")
    def quick(number: Any) -> None:
        ran.append(number)

    return quick


def ids(tasks: list[Any]) -> list[str]:
    return [task.taskid for task in tasks]


@pytest.mark.parametrize("complete", [False, True])
def test_what_is_done_has_run(
    app: App, start_later: StartWorker, quick: Task[..., Any], ran: list[Any], complete: bool
) -> None:
    tasks = [quick.execute(number) for number in range(300)]
    start_later()
    done, started, waiting = app.flush_tasks(complete=complete)
    assert ran == list(range(300))
    assert (done, started, waiting) == (ids(tasks), [], [])


def test_tasks_of_all_queues_are_waited_for(
    app: App, start_later: StartWorker, quick: Task[..., Any], ran: list[Any]
) -> None:
    tasks = [quick.execute(number, _queue=f"q{number}") for number in range(5)]
    start_later(threads=3)
    assert set(app.flush_tasks(complete=True).done) == set(ids(tasks))
    assert sorted(ran) == list(range(5))


def test_without_a_worker_everything_waits_until_the_timeout(app: App, quick: Task[..., Any]) -> None:
    tasks = [quick.execute(number) for number in range(3)]
    began = time.monotonic()
    assert app.flush_tasks(timeout=0.3) == ([], [], ids(tasks))
    assert time.monotonic() - began >= 0.3
    assert app.flush_tasks(complete=True, timeout=0) == ([], [], ids(tasks))


@pytest.mark.parametrize("timeout", [None, -1])
def test_nothing_to_flush_is_flushed_at_once(app: App, timeout: float | None) -> None:
    assert app.flush_tasks(complete=True, force_delayed=True, timeout=timeout) == ([], [], [])


def test_a_task_that_has_started_is_done_unless_its_end_was_asked_for(
    app: App, start_later: StartWorker, gate: Gate
) -> None:
    task = gate.task.execute(1)
    start_later()
    assert app.flush_tasks() == ([task.taskid], [], [])
    assert (gate.begun, gate.ended) == ([1], [])


def test_at_the_timeout_a_running_task_is_started_and_one_behind_it_waits(
    app: App, start_later: StartWorker, gate: Gate
) -> None:
    tasks = [gate.task.execute(number) for number in range(3)]
    start_later()
    assert app.flush_tasks(complete=True, timeout=1) == ([], ids(tasks[:1]), ids(tasks[1:]))
    assert gate.begun == [0]
    # Claimed ahead is not started: what was behind the running one is not called done either.
    assert app.flush_tasks(timeout=1) == ([], [], ids(tasks[1:]))


def test_the_end_of_a_task_ends_the_flush_at_once(
    rare_looks: float, app: App, start_later: StartWorker, gate: Gate
) -> None:
    gate.task.execute(1)
    start_later()
    opened_at: list[float] = []

    def open_gate() -> None:
        wait_until(lambda: gate.begun)
        time.sleep(0.2)  # so that the flush listens
        opened_at.append(time.monotonic())
        gate.open.set()

    opener = threading.Thread(target=open_gate)
    opener.start()
    app.flush_tasks(complete=True, timeout=30)
    assert time.monotonic() - opened_at[0] < rare_looks
    opener.join()


def test_tasks_that_were_running_are_waited_for_only_when_asked_for(
    app: App, start_worker: StartWorker, gate: Gate
) -> None:
    running = gate.task.execute(1)
    start_worker()
    wait_until(lambda: gate.begun)
    assert app.flush_tasks(complete=True) == ([], [], [])
    assert app.flush_tasks(complete=False, wait_on_hidden=True) == ([], [], [])
    assert app.flush_tasks(complete=True, wait_on_hidden=True, timeout=0.5) == ([], [running.taskid], [])
    assert app.flush_tasks(complete=True, force_delayed=True, timeout=0.5) == ([], [running.taskid], [])
    threading.Timer(0.2, gate.open.set).start()
    assert app.flush_tasks(complete=True, wait_on_hidden=True) == ([running.taskid], [], [])
    assert gate.ended == [1]


def test_what_a_worker_claimed_and_gives_back_unstarted_is_waited_for(app: App, quick: Task[..., Any]) -> None:
    from rpqueue.protocol import moves
    from rpqueue.protocol.cycle import cycle

    task = quick.execute(1)
    keys = app.task_keys("quick")
    turn = cycle(
        *(app.keys.app, [keys], {}),
        indexed=not app.broker.is_cluster,
        lease_for=60,
        wanted=1,
        starting=0,
        limit=100,
        rules=app.task_rules,
    )
    [some] = app.broker.execute(turn).claimed
    [(_, _, past)] = some.rows()
    back = moves.release(keys, app.index, [(task.taskid, past.token, "unstarted")], app.task_rules)
    timer = threading.Timer(0.1, lambda: app.broker.execute(back))
    timer.start()
    assert app.flush_tasks(timeout=2) == ([], [], [task.taskid])
    timer.join()


def test_scheduled_tasks_are_not_waited_for_unless_forced(
    app: App, start_later: StartWorker, quick: Task[..., Any], ran: list[Any]
) -> None:
    late, later = quick.execute("late", delay=600), quick.execute("later", delay=900)
    now = quick.execute("now")
    start_later()
    assert app.flush_tasks(complete=True) == ([now.taskid], [], [])
    assert late.status == "early"
    assert app.flush_tasks(complete=True, force_delayed=True) == (ids([late, later]), [], [])
    assert ran == ["now", "late", "later"]


def test_many_scheduled_tasks_are_forced(
    app: App, start_worker: StartWorker, quick: Task[..., Any], ran: list[Any]
) -> None:
    for number in range(2_300):
        quick.execute(number, delay=600)
    start_worker()
    assert len(app.flush_tasks(complete=True, force_delayed=True).done) == 2_300
    assert sorted(ran) == list(range(2_300))


def test_a_task_with_retries_is_over_after_its_last_delivery(app: App, start_later: StartWorker) -> None:
    runs: list[float] = []

    @app.task(queue="quick", attempts=3, vis_timeout=30, retry_delay=0.2, use_dead=True, name="fails")
    def fails() -> None:
        runs.append(time.monotonic())
        raise ValueError("no")

    task = fails.execute()
    start_later()
    assert app.flush_tasks(complete=True, timeout=20) == ([task.taskid], [], [])
    assert len(runs) == 3
    assert task.status == "dead"


def test_a_task_that_failed_once_has_started(app: App, start_later: StartWorker) -> None:
    runs: list[int] = []

    @app.task(queue="quick", attempts=2, vis_timeout=60, retry_delay=50, name="fails")
    def fails() -> None:
        runs.append(1)
        raise ValueError("no")

    task = fails.execute()
    start_later()
    assert app.flush_tasks() == ([task.taskid], [], [])
    assert runs == [1]
    assert app.flush_tasks(complete=True) == ([], [], [])  # scheduled for its second delivery


def test_a_task_with_a_retry_method_is_over_after_its_last_run(app: App, start_later: StartWorker) -> None:
    runs: list[int] = []

    @app.task(queue="quick", name="fails", retry_method=fixed(0.2, 2))
    def fails() -> None:
        runs.append(current_task().attempt)
        raise ValueError

    call = fails.execute()
    start_later()
    assert app.flush_tasks(complete=True, timeout=20) == ([call.taskid], [], [])
    assert runs == [1, 2, 3]


@pytest.mark.parametrize(
    "error", [RetryException(fixed(0, 0), log_error=False), TaskCancelled("enough"), StopRetry("no")]
)
def test_a_task_that_leaves_nothing_behind_is_over(app: App, start_later: StartWorker, error: Exception) -> None:
    def ends() -> None:
        raise error

    call = app.task(queue="quick", name="ends", retry=True)(ends).execute()
    start_later()
    assert app.flush_tasks(complete=True, timeout=20) == ([call.taskid], [], [])


def test_a_task_that_runs_until_it_is_over_is_waited_for_as_any_other(
    app: App, start_worker: StartWorker, quick: Task[..., Any]
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @app.task(name="recovered", recover=True)
    def recovered() -> None:
        begun.set()
        go_on.wait(20)

    call = recovered.execute()
    start_worker(threads=2)
    assert begun.wait(20)
    time.sleep(2 * SETTLED)  # a run that has gone on for that long has begun, and is not a claim ahead
    assert app.flush_tasks(complete=True, timeout=20) == ([], [], [])
    threading.Timer(0.3, go_on.set).start()
    assert app.flush_tasks(complete=True, wait_on_hidden=True, timeout=20) == ([call.taskid], [], [])


def test_a_task_that_is_parked_meanwhile_waits(app: App, start_later: StartWorker, quick: Task[..., Any]) -> None:
    unknown = app.call_task("nobody.knows", "quick", _verify_call=False)
    known = quick.execute(1)
    start_later()
    assert app.flush_tasks(complete=True, timeout=2) == ([known.taskid], [], [unknown.taskid])


@pytest.mark.parametrize("how", ["cancelled", "cleared"])
def test_tasks_that_are_taken_away_are_over(app: App, quick: Task[..., Any], how: str) -> None:
    task = quick.execute(1)
    take = task.cancel if how == "cancelled" else lambda: app.clear_queue("quick")
    timer = threading.Timer(0.3, take)
    timer.start()
    assert app.flush_tasks(complete=True, timeout=15) == ([task.taskid], [], [])
    timer.join()


def test_tasks_that_are_put_in_meanwhile_are_not_waited_for(app: App, start_later: StartWorker, gate: Gate) -> None:
    @app.task(queue="quick", name="spawns")
    def spawns() -> None:
        gate.task.execute(1)

    spawning = spawns.execute()
    start_later()
    assert app.flush_tasks(complete=True, timeout=15) == ([spawning.taskid], [], [])
    wait_until(lambda: gate.begun)
    assert gate.ended == []


def test_recurring_tasks_are_fired_and_neither_listed_nor_waited_for(app: App, start_worker: StartWorker) -> None:
    fired = threading.Event()
    hold = threading.Event()

    @app.periodic_task(600, queue="slow", name="recurring@1")
    def recurring() -> None:
        fired.set()
        hold.wait(20)

    @app.periodic_task(600, queue="slow", name="nobody's")
    def unregistered() -> None: ...

    del app.settings.registry["nobody's"]
    start_worker()
    wait_until(lambda: app.broker.client.hlen(app.task_keys("slow").schedules))
    before = int(app.broker.client.hget(app.task_keys("slow").schedules, "recurring@1"))
    assert app.flush_tasks(complete=True, force_delayed=True, timeout=15) == ([], [], [])
    assert fired.wait(10)
    assert app.flush_tasks(complete=True, wait_on_hidden=True, timeout=1) == ([], [], [])
    hold.set()
    after = int(app.broker.client.hget(app.task_keys("slow").schedules, "recurring@1"))
    assert after > before  # it goes on from now
    assert app.broker.client.hget(app.task_keys("slow").schedules, "nobody's") is None


def test_a_recurring_task_without_a_schedule_in_redis_is_not_fired(app: App) -> None:
    @app.periodic_task(600, queue="slow", name="recurring")
    def recurring() -> None: ...

    assert app.flush_tasks(force_delayed=True) == ([], [], [])
    assert app.known_queues() == []


def test_progress_is_logged_when_asked_for(app: App, quick: Task[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    quick.execute(1)
    quick.execute(2)
    with caplog.at_level(logging.INFO, logger="rpqueue"):
        app.flush_tasks(timeout=0.5, log_every=0.1)
        lines = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
        assert lines[0].startswith("flush: 2 of 2 tasks are left after 0 s, in quick (2)")
        assert 2 <= len(lines) <= 5
        caplog.clear()
        app.flush_tasks(timeout=0.3)
        assert not caplog.records


@pytest.mark.parametrize(
    ("options", "error"),
    [({"timeout": "1"}, WrongType), ({"timeout": float("nan")}, RefusedInput), ({"log_every": -1}, RefusedInput)],
)
def test_what_is_no_time_is_refused(app: App, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="expected seconds"):
        app.flush_tasks(**options)


def test_a_flush_that_waits_asks_redis_little(app: App, quick: Task[..., Any]) -> None:
    for number in range(50):
        quick.execute(number)
    before = app.broker.client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
    app.flush_tasks(timeout=3)
    calls = app.broker.client.info("commandstats")["cmdstat_evalsha"]["calls"] - before
    assert calls < 20
