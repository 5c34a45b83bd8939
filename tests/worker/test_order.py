"""In which order messages start, and that nothing waits behind a slow one."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from rpqueue.protocol import views
from rpqueue.worker.patience import Patience
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench
from tests.worker.here import working


def set_priority(bench: Bench, queue: str, priority: float) -> None:
    bench.app.broker.execute(views.set_priority(bench.app.keys.app, queue, priority))


def test_a_queue_is_worked_off_first_in_first_out(bench: Bench) -> None:
    note = bench.task("note")
    for number in range(300):
        note.execute(number)
    bench.start()
    bench.until_noted("ran", number=300)
    assert bench.labels() == list(range(300))


def test_one_thread_keeps_the_order_while_it_gives_back_what_waits_behind_a_slow_task(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    giving_back, ran = threading.Event(), []
    execute = Patience.execute

    def slow_to_give_back(patience: Patience, operation: Any, *rest: Any) -> Any:
        if operation.script is not None and operation.script.name == "release":
            giving_back.set()
            time.sleep(0.2)
        return execute(patience, operation, *rest)

    monkeypatch.setattr(Patience, "execute", slow_to_give_back)

    @bench.app.task(name="step")
    def step(number: int) -> None:
        ran.append(number)
        if number == 500:
            giving_back.wait(SOON)

    with working(bench.app):
        bench.together(*((step, number) for number in range(1000)))
        wait_until(lambda: len(ran) == 1000, SOON, "all ran")
    assert giving_back.is_set(), "nothing was claimed ahead"
    assert ran == list(range(1000))


def test_queues_are_worked_off_in_strict_order_of_priority(bench: Bench) -> None:
    note = bench.task("note")
    names = ["none", "third", "first", "second"]
    for queue, priority in {"third": 3, "first": -1, "second": 2.5}.items():
        set_priority(bench, queue, priority)
    for queue in names:
        for _ in range(40):
            note.execute(queue, _queue=queue)
    bench.start()
    bench.until_noted("ran", number=160)
    assert bench.labels() == ["first"] * 40 + ["second"] * 40 + ["third"] * 40 + ["none"] * 40


@pytest.mark.parametrize("delay", [0, 0.1])
@pytest.mark.parametrize("queues", [None, ["low", "high"]])
def test_what_comes_while_a_task_of_lower_priority_runs_is_next(
    bench: Bench, delay: float, queues: list[str] | None
) -> None:
    hold = bench.task("hold")
    set_priority(bench, "high", 1)
    set_priority(bench, "low", 2)
    bench.start(queues=queues)
    bench.together(*((hold, f"low {number}") for number in range(3)), queue="low")
    bench.until_noted("start", "low 0")
    # By now it has said what it does not start.
    wait_until(lambda: len(bench.ids("ready", "low")) == 2, SOON, "one low one is held")
    call = hold.execute("high", _queue="high", delay=delay)
    bench.until(call, "waiting", "late")
    for label in ("low 0", "high", "low 1", "low 2"):
        bench.go(label)
    bench.until_noted("end", number=4)
    assert bench.labels("start") == ["low 0", "high", "low 1", "low 2"]


def test_among_short_tasks_what_comes_with_a_higher_priority_waits_a_moment_at_most(bench: Bench) -> None:
    nap, note = bench.task("nap"), bench.task("note")
    set_priority(bench, "high", 1)
    bench.together(*((nap, ["low", 0.0005]) for _ in range(2000)), queue="low")
    bench.start()
    bench.until_noted("start", number=200)
    operation, _ = note.call(("high",), {"_queue": "high"})
    arrived_at = bench.app.broker.execute(operation)
    [high] = bench.until_noted("ran")
    lower = [entry for entry in bench.notes("start") if arrived_at + 0.001 < entry["at"] < high["at"]]
    assert len(lower) <= 60
    assert bench.ids("ready", "low"), "it had to wait for all of them"
    bench.client.delete(bench.app.task_keys("low").ready)


def test_nothing_waits_behind_a_slow_task_when_another_worker_is_free(bench: Bench) -> None:
    hold, note = bench.task("hold"), bench.task("note")
    bench.start(processes=2)
    # Both are used to tasks that take no time, and claim many at a time.
    for number in range(500):
        note.execute(number)
    bench.until_noted("ran", number=500)
    calls = [(note, f"{number}") for number in range(100)]
    calls.insert(10, (hold, "slow"))
    bench.together(*calls)
    bench.until_noted("start", "slow")
    bench.until_noted("ran", number=600)
    assert not bench.notes("end")
    bench.go("slow")
    bench.until_noted("end", "slow")


def test_what_a_single_busy_worker_cannot_start_is_given_back_and_seen_as_ready(bench: Bench) -> None:
    hold, note = bench.task("hold"), bench.task("note")
    bench.start()
    for number in range(500):
        note.execute(number)
    bench.until_noted("ran", number=500)
    calls = bench.together((hold, "slow"), *((note, f"after {number}") for number in range(100)))
    bench.until_noted("start", "slow")
    wait_until(lambda: len(bench.ids("ready")) == 100, SOON, "the others are given back")
    assert bench.ids("leased") == [calls[0].taskid]
    assert [call.status for call in calls] == ["started"] + ["waiting"] * 100
    bench.go("slow")
    bench.until_noted("ran", number=600)
    assert bench.labels()[500:] == [f"after {number}" for number in range(100)]
    assert bench.stats()["done"] == 601


def test_queues_without_priority_are_served_alike(bench: Bench) -> None:
    note = bench.task("note")
    queues = [f"queue {number:02}" for number in range(30)]
    for queue in queues:
        bench.together(*((note, queue) for _ in range(20)), queue=queue)
    bench.start(claim_ahead=0.0)
    bench.until_noted("ran", number=600)
    labels = bench.labels()
    assert max(labels.index(queue) for queue in queues) < 300, "one had to wait until half the work was done"
