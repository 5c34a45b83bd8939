"""Workers that end by themselves: after a time, or once there is nothing left to do."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from rpqueue import App
from rpqueue.errors import RefusedInput, WrongType
from rpqueue.protocol.operation import Stamp
from rpqueue.worker.endings import Burst, Deadline
from rpqueue.worker.ledger import Ledger, Stage
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench

BURST = {"burst": True}


# After a time.


def test_after_its_time_a_worker_lets_what_runs_end_and_exits_with_0(bench: Bench) -> None:
    hold = bench.task("hold", save_results=60)
    worker = bench.start(wait=60, also={"exit_after": 1.5})
    call = hold.execute("x")
    bench.until_noted("start")
    wait_until(lambda: "ends after its 1.5 seconds" in worker.log and "is quiet" in worker.log, SOON, "it stops")
    assert call.status == "started"
    bench.go("x")
    assert worker.code() == 0
    assert call.result == "x"


def test_what_does_not_end_goes_back_and_costs_no_attempt(bench: Bench) -> None:
    hold = bench.task("hold", vis_timeout=60, attempts=1)
    worker = bench.start(wait=0.1, also={"exit_after": 0.5}, ready=False)
    call = hold.execute("x")
    bench.until_noted("start")
    assert worker.code() == 0
    assert bench.ids("ready") == [call.taskid]
    bench.start(also={"exit_after": 86_400})
    bench.go("x")
    bench.until(call, "done")


def test_a_deadline_orders_from_its_instant_on() -> None:
    now = [100.0]
    deadline = Deadline(60, lambda: now[0])
    assert deadline.order() == 0
    now[0] = 159.9
    assert deadline.order() == 0
    now[0] = 160.0
    assert [deadline.order(), deadline.order()] == [1, 1]


# A burst.


@pytest.mark.parametrize("alone", [False, True])
def test_a_burst_runs_all_that_can_run_now_and_exits_with_0(bench: Bench, alone: bool) -> None:
    note, boom = bench.task("note"), bench.task("boom", vis_timeout=60, attempts=2, retry_delay=300)
    calls = [note.execute(number) for number in range(50)]
    later, failing = note.execute("later", delay=300), boom.execute("x")
    due = note.execute("due", delay=0.2)
    scheduled = bench.app.task_keys("default").scheduled
    wait_until(lambda: bench.client.zscore(scheduled, due.taskid) < now_ms(bench), SOON, "it is due")
    worker = bench.start(alone=alone, ready=False, also=BURST)
    assert worker.code() == 0
    assert sorted(map(str, bench.labels())) == sorted([*map(str, range(50)), "due"])
    assert [call.status for call in (*calls, due)] == ["done"] * 51
    assert [later.status, failing.status] == ["early"] * 2
    assert "nothing left to do" in worker.log


def test_a_burst_waits_for_what_it_runs_and_for_what_that_enqueues(bench: Bench) -> None:
    hold, note = bench.task("hold"), bench.task("note")
    hold.execute("x")
    worker = bench.start(processes=2, ready=False, also=BURST)
    bench.until_noted("start", "x")
    wait_until(lambda: bench.app.queue_sizes() == [("default", 0, 1)], SOON, "nothing waits")
    children = worker.children(2)
    note.execute("more")
    bench.until_noted("ran", "more")
    assert worker.children(2) == children, "nobody left while something ran"
    bench.go("x")
    assert worker.code() == 0
    assert bench.labels("end") == ["x"]


@pytest.mark.parametrize("pool", ["sync", "asyncio", "processes", "fork"])
def test_a_burst_ends_in_every_pool(bench: Bench, pool: str) -> None:
    note, hold_async = bench.task("note"), bench.task("hold_async")
    bench.go("coroutine")
    calls = [*(note.execute(number) for number in range(5)), hold_async.execute("coroutine")]
    assert bench.start(ready=False, also={**BURST, "pool": pool}).code() == 0
    assert [call.status for call in calls] == ["done"] * 6


def test_a_burst_is_about_the_queues_of_the_worker(bench: Bench) -> None:
    note = bench.task("note")
    mine, other = note.execute("mine", _queue="mine"), note.execute("other", _queue="other")
    assert bench.start(queues=["mine"], ready=False, also=BURST).code() == 0
    assert [mine.status, other.status] == ["done", "waiting"]


def test_a_burst_runs_what_was_parked_for_it(bench: Bench) -> None:
    note, echo = bench.task("note"), bench.task("echo")
    ignorant = bench.start(without=("note",))
    call = note.execute("x")
    wait_until(lambda: bench.client.hlen(bench.app.task_keys("default").parked) == 1, SOON, "parked")
    assert ignorant.stop() == 0
    echo.execute()
    assert bench.start(ready=False, also=BURST).code() == 0
    assert call.status == "done"


def test_a_burst_takes_over_from_a_process_that_dies(bench: Bench) -> None:
    hold = bench.task("hold", vis_timeout=60, attempts=3)
    call = hold.execute("x")
    worker = bench.start(ready=False, also=BURST)
    [started] = bench.until_noted("start")
    os.kill(started["pid"], signal.SIGKILL)
    bench.until_noted("start", number=2)
    bench.go("x")
    assert worker.code() == 0
    assert call.status == "done"


def test_a_burst_can_be_told_to_stop(bench: Bench) -> None:
    bench.task("hold").execute("x")
    worker = bench.start(wait=60, ready=False, also=BURST)
    bench.until_noted("start")
    worker.signal(signal.SIGTERM)
    bench.go("x")
    assert worker.code() == 0


def now_ms(bench: Bench) -> float:
    seconds, micros = bench.client.time()
    return seconds * 1000 + micros / 1000


class Watched(App):
    """An App whose burst a test steps through."""

    def burst(self, *ledgers: Ledger) -> Burst:
        return Burst(self, self.broker, ["default"], lambda: ledgers)


@pytest.fixture
def app(bench: Bench) -> Watched:
    app = Watched(bench.url, bench.prefix)
    app.task(name="note")(lambda label: None)
    return app


def over(burst: Burst) -> bool:
    burst.tick()
    return bool(burst.order())


def test_a_held_message_keeps_a_burst_going_to_its_ack(app: Watched) -> None:
    ledger = Ledger(4)
    record = ledger.add(b"default", b"id", 1, 0.0, 0.0)
    burst = app.burst(Ledger(4), ledger)
    assert not over(burst)
    for stage in (Stage.STARTED, Stage.FINISHED):
        ledger.move(record, stage)
        assert not over(burst)
    ledger.remove(record)
    assert over(burst)


def test_a_claim_under_way_keeps_a_burst_going(app: Watched) -> None:
    ledger = Ledger(4)
    burst = app.burst(ledger)
    ledger.sending(Stamp(b"session", 5))
    assert not over(burst)
    ledger.recorded()
    assert over(burst)


def test_a_claim_while_it_looks_keeps_a_burst_going(app: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(4)
    burst = app.burst(ledger)
    count = burst._due

    def claimed_meanwhile() -> int:
        ledger.sending(Stamp(b"session", ledger.rounds + 1))
        ledger.recorded(1)
        ledger.remove(ledger.add(b"default", b"id", 1, 0.0, 0.0))
        return count()

    monkeypatch.setattr(burst, "_due", claimed_meanwhile)
    assert not over(burst)
    monkeypatch.setattr(burst, "_due", count)
    assert over(burst)


def test_what_a_dead_process_held_keeps_a_burst_going(app: Watched) -> None:
    there: list[Any] = [None]
    burst = Burst(app, app.broker, None, lambda: there[0])
    assert not over(burst)
    there[0] = []
    assert over(burst)


# What is refused.


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"exit_after": 0}, RefusedInput, "exit_after: expected more than 0 seconds"),
        ({"exit_after": -1}, RefusedInput, "exit_after: expected seconds >= 0"),
        ({"exit_after": "2h"}, WrongType, "exit_after: expected seconds"),
        ({"burst": "yes"}, WrongType, "burst: expected True or False"),
        ({"module": 5}, WrongType, "module: expected"),
        ({"module": ["a", 5]}, WrongType, "module: expected dotted names"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], error: type[Exception], says: str) -> None:
    for run in (App().execute_tasks, App().execute_task_threads):
        with pytest.raises(error, match=says):
            run(**options)


def test_without_a_supervisor_nobody_replaces_processes() -> None:
    with pytest.raises(RefusedInput, match="expected with execute_tasks"):
        App().execute_task_threads(max_tasks=5)


def test_only_the_main_thread_can_start_anew() -> None:
    refused: list[Exception] = []

    def run() -> None:
        try:
            App().execute_tasks(reload=True)
        except RefusedInput as error:
            refused.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert "expected to run in the main thread" in str(refused[0])
