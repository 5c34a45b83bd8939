"""`recover`: a task that runs again after its worker died, however long it runs, and is never taken for dead before."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import redis

from rpqueue import App, current_task, fixed
from rpqueue.errors import TaskFailed, TaskLost
from rpqueue.inspection import Inspection
from rpqueue.messages import FOREVER, Flags, parse_header
from rpqueue.protocol import moves
from rpqueue.worker.heartbeat import Heartbeat
from rpqueue.worker.ledger import Ledger, Stage
from tests.servers import Server, wait_until
from tests.worker.harness import SOON, Bench
from tests.worker.here import working

# ---- What its messages say.


@pytest.mark.parametrize(
    ("options", "lease", "attempts"),
    [
        ({}, FOREVER, 1),
        ({"vis_timeout": 60}, 60.0, 1),
        ({"attempts": 3}, FOREVER, 3),
        ({"retry_method": fixed(1, 4)}, FOREVER, 5),
    ],
)
def test_a_message_says_so(
    app: App, redis_client: redis.Redis, options: dict[str, Any], lease: float, attempts: int
) -> None:
    call = app.task(name="it", recover=True, **options)(lambda: None).execute()
    header = (redis_client.hget(call.keys.messages, call.taskid) or b"").partition(b"|")[0]
    assert parse_header(header)[1:] == (lease, attempts, Flags.RECOVER)


def test_a_process_that_never_imported_the_task_enqueues_it_so_too(app: App, redis_client: redis.Redis) -> None:
    app.task(name="it", recover=True)(lambda: None)
    stranger = App(prefix="test")
    stranger.set_redis_connection(redis_client)
    with working(app):
        wait_until(lambda: "it" in stranger.known_tasks, SOON)
    assert stranger.known_tasks["it"].recover
    call = stranger.call_task("it")
    header = (redis_client.hget(call.keys.messages, call.taskid) or b"").partition(b"|")[0]
    assert Flags.RECOVER in parse_header(header)[3]


def test_a_view_of_a_call_says_so(app: App) -> None:
    one, other = (app.task(name=f"t{n}", recover=n > 0)(lambda: None).execute() for n in range(2))
    views = [Inspection(app).message(call.taskid) for call in (one, other)]
    assert [(view.recover, view.vis_timeout) for view in views if view is not None] == [(False, 0.0), (True, 0.0)]


# ---- Its worker lives.


def test_it_keeps_its_lease_for_as_long_as_it_runs(quick: Bench) -> None:
    hold = quick.task("hold", recover=True, save_results=60)
    quick.start()
    call = hold.execute("x")
    quick.until_noted("start")
    key = quick.app.task_keys("default").leased
    first = quick.redis.zscore(key, call.taskid)
    wait_until(lambda: quick.redis.zscore(key, call.taskid) > first + 2000, SOON, "extended over and over")
    quick.go("x")
    assert call.get(SOON) == "x"
    assert (quick.labels("start"), "expired" in quick.stats()) == (["x"], False)


def test_an_idle_look_asks_redis_nothing_and_leases_are_extended_when_a_third_is_used_up(app: App) -> None:
    asked: list[Any] = []

    class Asked:
        def execute(self, operation: Any) -> list[str]:
            asked.append(operation.args)
            return ["new", "old"]

    ledger, now = Ledger(), time.monotonic()
    broker: Any = Asked()
    heartbeat = Heartbeat(app, broker, lambda: [ledger])
    assert heartbeat.tick() == app.settings.heartbeat == 1.0
    for name, ends_at in ((b"new", now + 14), (b"old", now + 9.9)):
        ledger.move(ledger.add(b"q", name, 1, 0.0, ends_at), Stage.STARTED)
    heartbeat.tick()
    assert asked == [["15000", "old", "1", "0"]]
    heartbeat.tick()
    assert len(asked) == 1
    app.settings.worker_ttl = 0.6
    assert heartbeat.tick() == pytest.approx(0.1)


# ---- Its worker dies.


def test_it_runs_again_at_once_when_its_process_is_killed_and_no_attempt_is_used_up(bench: Bench) -> None:
    hold = bench.task("hold", recover=True, attempts=1, save_results=60)
    worker = bench.start()
    call = hold.execute("x")
    for number in (1, 2):
        bench.until_noted("start", number=number)
        os.kill(bench.notes("start")[-1]["pid"], signal.SIGKILL)
    bench.until_noted("start", number=3)
    bench.go("x")
    assert call.get(SOON) == "x"
    assert bench.stats()["crashed"] == 2
    assert worker.child() == bench.notes("start")[-1]["pid"]


def test_it_runs_again_within_worker_ttl_when_its_machine_dies(quick: Bench) -> None:
    hold, once = quick.task("hold", recover=True, save_results=60), quick.task("hold", "once")
    machine = quick.start(threads=2)
    calls = [hold.execute("x"), once.execute("y")]
    quick.until_noted("start", number=2)
    machine.kill()
    quick.start(threads=2)
    quick.until_noted("start", "x", 2)
    quick.go("x")
    assert calls[0].get(SOON) == "x"
    with pytest.raises(TaskLost):  # which does not recover
        calls[1].get(SOON)
    assert quick.labels("start").count("y") == 1


def test_what_crashes_each_time_is_poison_in_the_end(bench: Bench) -> None:
    crash = bench.task("crash", recover=True)
    bench.start(poison_crashes=2)
    call = crash.execute("x")
    with pytest.raises(TaskFailed, match="poison"):
        call.get(SOON)
    assert call.status == "dead"
    assert bench.labels("start") == ["x"] * 2


def test_a_machine_that_stands_still_for_longer_than_the_lease_changes_nothing_when_it_goes_on(
    server: Server, redis_client: redis.Redis, make_bench: Callable[..., Bench]
) -> None:
    quick = make_bench(server, worker_ttl=3.0)  # with a shorter one the second worker, on a busy machine, might be next
    hold = quick.task("hold", recover=True, save_results=60)
    zombie = quick.start()
    pid = zombie.child()
    call = hold.execute("x")
    quick.until_noted("start")
    zombie.signal(signal.SIGSTOP)
    psutil.Process(pid).suspend()
    quick.start()
    quick.until_noted("start", number=2)
    counts = quick.redis.hget(call.keys.counts, call.taskid)
    assert counts.split() == [b"2", b"0", b"1", b"0"]  # a crash, and no failure
    psutil.Process(pid).resume()
    zombie.signal(signal.SIGCONT)
    quick.go("x")
    quick.go("x")
    quick.until_noted("end", number=2)
    assert call.get(SOON) == "x"
    wait_until(lambda: quick.stats().get("stale") == 1, SOON, "the zombie's ack came too late")
    assert quick.stats()["done"] == 1


def test_a_worker_that_is_told_to_stop_gives_it_back_and_that_counts_as_nothing(bench: Bench) -> None:
    hold = bench.task("hold", recover=True, save_results=60)
    first = bench.start(wait=0)
    call = hold.execute("x")
    bench.until_noted("start")
    first.stop()
    assert bench.redis.hget(call.keys.counts, call.taskid).split()[1:] == [b"0", b"0", b"1"]
    bench.start()
    bench.until_noted("start", number=2)
    bench.go("x")
    assert call.get(SOON) == "x"


# ---- With other options.


def test_vis_timeout_is_the_longest_time_and_too_long_a_run_counts_as_a_crash(app: App) -> None:
    app.settings.poison_crashes = 2
    runs, go = [], threading.Event()

    @app.task(recover=True, vis_timeout=0.3)
    def slow() -> None:
        runs.append((current_task().attempt, current_task().deadline > 0))
        go.wait(SOON)

    with working(app, threads=3):
        call = slow.execute()
        with pytest.raises(TaskFailed, match="poison"):
            call.get(SOON)
        go.set()
    assert runs == [(1, True), (2, True)]


def test_a_failure_ends_it_unless_attempts_or_retrying_say_otherwise(app: App) -> None:
    runs: list[Any] = []

    def fails(name: str) -> None:
        runs.append((name, current_task().attempt))
        raise ValueError

    tasks = {
        "once": app.task(name="once", recover=True)(fails),
        "attempts": app.task(name="attempts", recover=True, attempts=2, retry_delay=0)(fails),
        "retries": app.task(name="retries", recover=True, retry_method=fixed(0, 2), use_dead=True)(fails),
    }
    with working(app):
        calls = {name: task.execute(name) for name, task in tasks.items()}
        for call in calls.values():
            with pytest.raises(TaskFailed):
                call.get(SOON)
    assert [sum(name == one for one, _ in runs) for name in tasks] == [1, 2, 3]
    assert [call.status for call in calls.values()] == ["failed", "failed", "dead"]


def test_crashes_are_not_held_against_attempts_nor_retries(app: App) -> None:
    runs: list[Any] = []

    @app.task(recover=True, attempts=2, retry_method=fixed(0, 9))
    def job() -> None:
        me = current_task()
        runs.append((me.attempt, me.attempts_left))
        if me.attempt <= 2:
            lease: Any = [(me.id, "", "crashed")]
            app.broker.execute(moves.release(app.task_keys("default"), app.index, lease, app.task_rules))
        else:
            raise ValueError

    with working(app), pytest.raises(TaskFailed):
        job.execute().get(SOON)
    assert runs == [(1, 2), (2, 2), (3, 2), (4, 1)]
