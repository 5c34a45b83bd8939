"""Worker processes on a cluster: they find work on every node, at once, and lose nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from rpqueue.errors import TaskLost
from rpqueue.inspection import Inspection
from rpqueue.states import State
from tests.cluster.hands import spread
from tests.cluster.nodes import Cluster
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench


@pytest.fixture
def bench(cluster: Cluster, make_bench: Callable[..., Bench]) -> Bench:
    return make_bench(cluster)


@pytest.fixture
def queues(bench: Bench, cluster: Cluster) -> list[str]:
    """Six task queues, two on each master."""
    return list(islice(spread(cluster, bench.app), 6))


def test_a_worker_of_all_queues_finds_those_on_every_node(bench: Bench, queues: list[str]) -> None:
    echo = bench.task("echo", save_results=60)
    before = [echo.execute(n, _queue=queue) for n, queue in enumerate(queues)]
    worker = bench.start(processes=2, threads=2)
    assert [call.get(SOON) for call in before] == list(range(6))
    after = [echo.execute(n, _queue=f"{queue} of later") for n, queue in enumerate(queues)]
    assert [call.get(SOON) for call in after] == list(range(6))
    assert worker.stop() == 0
    assert len(Inspection(bench.app).queues()) == 12


def test_an_idle_worker_goes_on_telling_its_supervisor_that_it_asks(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "health"
    bench.start(ready=False, also={"health_file": str(path)})  # it knows no queue, so it has no round to run

    def last_round_at() -> float:
        if not path.exists():
            return 0.0
        return max((one["last_round_at"] or 0.0 for one in json.loads(path.read_text())["processes"]), default=0.0)

    wait_until(last_round_at, SOON, "it has asked")
    first = last_round_at()
    wait_until(lambda: last_round_at() > first, SOON, "it has asked again")


def test_the_command_line_starts_a_worker(bench: Bench, cluster: Cluster, queues: list[str], tmp_path: Path) -> None:
    double = "import rpqueue\n@rpqueue.task(name='double', save_results=60)\ndef double(n):\n    return n * 2\n"
    (tmp_path / "tasks.py").write_text(double)
    command = [sys.executable, "-m", "rpqueue", "worker", "--module=tasks", "--url", cluster.url, "--prefix", "test"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([*command, *queues], cwd=tmp_path, env=environment) as worker:
        try:
            wait_until(lambda: "double" in bench.app.told_tasks(), SOON)
            calls = [bench.app.call_task("double", None, n, _queue=queue) for n, queue in enumerate(queues)]
            assert [call.get(SOON) for call in calls] == [0, 2, 4, 6, 8, 10]
        finally:
            worker.terminate()


def test_a_worker_of_named_queues_leaves_the_others_alone(bench: Bench, queues: list[str]) -> None:
    echo = bench.task("echo", save_results=60)
    calls = [echo.execute(n, _queue=queue) for n, queue in enumerate(queues)]
    bench.start(queues=queues[:4])
    assert [call.get(SOON) for call in calls[:4]] == list(range(4))
    assert [call.status for call in calls[4:]] == ["waiting"] * 2


@pytest.mark.parametrize("named", [False, True], ids=["all queues", "named queues"])
def test_an_idle_worker_wakes_at_once_whichever_node_a_call_goes_to(
    bench: Bench, queues: list[str], named: bool
) -> None:
    echo = bench.task("echo", save_results=60)
    bench.start(queues=queues if named else None)
    took = []
    for queue in (*queues, *queues):
        assert echo.execute(0, _queue=queue).get(SOON) == 0
        time.sleep(0.15)  # so that it is idle
        began_at = time.monotonic()
        assert echo.execute(1, _queue=queue).get(SOON) == 1
        took.append(time.monotonic() - began_at)
    # News that are lost cost six seconds; a busy machine costs one call or the other some time.
    assert sorted(took)[len(took) * 3 // 4] < 3, took


def test_an_idle_worker_costs_next_to_nothing(bench: Bench, cluster: Cluster, queues: list[str]) -> None:
    echo = bench.task("echo", save_results=60)
    bench.start()
    for queue in queues:
        echo.execute(0, _queue=queue).get(SOON)
    time.sleep(0.5)
    before = [commands(node) for node in cluster.masters]
    time.sleep(2)
    said = [after - was for after, was in zip(map(commands, cluster.masters), before, strict=True)]
    assert max(said) < 40, said


def commands(node: Any) -> int:
    """Commands that a node has carried out, but for those of other nodes."""
    return int(node.told("INFO", "stats")["total_commands_processed"])


def test_many_calls_in_many_queues_run_once_each(bench: Bench, queues: list[str]) -> None:
    count = bench.task("count")
    for n, queue in enumerate(queues):
        count.execute_many([(str(n),)] * 100, _queue=queue)
    bench.start(processes=2, threads=2)
    for queue in queues:
        bench.until_empty(queue)
    assert sorted(bench.client.hgetall("test-counts").items()) == [(b"%d" % n, b"100") for n in range(6)]
    assert [bench.stats(queue)["done"] for queue in queues] == [100] * 6


def test_queues_go_in_the_order_of_their_priorities(bench: Bench, queues: list[str]) -> None:
    nap = bench.task("nap")
    for n, queue in enumerate(queues):
        bench.app.set_priority(queue, -n)
        for turn in range(2):
            nap.execute(f"{n} {turn}", 0.01, _queue=queue)
    bench.start()
    bench.until_noted("end", number=12)
    assert bench.labels("end") == [f"{n} {turn}" for n in reversed(range(6)) for turn in range(2)]


def test_a_queue_that_somebody_gave_a_name_of_no_utf_8_costs_a_worker_nothing(bench: Bench, queues: list[str]) -> None:
    echo = bench.task("echo", save_results=60)
    bench.client.zadd(bench.app.keys.app.queues, {b"\xff\xfe": 1})
    worker = bench.start()
    bench.client.publish(bench.app.keys.app.news, b"%FF%FE")
    bench.client.publish(bench.app.keys.app.news, b"\xff")
    assert echo.execute(1, _queue=queues[0]).get(SOON) == 1
    assert "Traceback" not in worker.log


def test_calls_of_one_queue_run_in_order(bench: Bench, queues: list[str]) -> None:
    note = bench.task("note")
    for queue in queues[:3]:
        note.execute_many([(f"{queue} {n}",) for n in range(60)], _queue=queue)
    bench.start()
    bench.until_noted("ran", number=180)
    for queue in queues[:3]:
        mine = [label for label in bench.labels() if label.startswith(f"{queue} ")]
        assert mine == [f"{queue} {n}" for n in range(60)]


def test_delayed_calls_run_when_they_are_due(bench: Bench, queues: list[str]) -> None:
    note = bench.task("note")
    note.execute("now", _queue=queues[0])
    bench.start()
    bench.until_noted("ran")
    began_at = time.monotonic()
    for n, queue in enumerate(queues):
        note.execute(f"later {n}", delay=0.5 + n / 10, _queue=queue)
    bench.until_noted("ran", number=7)
    assert time.monotonic() - began_at > 1.0
    assert bench.labels()[1:] == [f"later {n}" for n in range(6)]


def test_a_worker_whose_slots_are_busy_promotes_what_is_delayed_meanwhile(bench: Bench, queues: list[str]) -> None:
    hold, note = bench.task("hold"), bench.task("note")
    hold.execute("held", _queue=queues[0])
    bench.start()
    bench.until_noted("start", "held")
    ready = [bench.app.task_keys(queue).ready for queue in queues]
    for queue in queues:
        note.execute(queue, delay=0.2, _queue=queue)
    wait_until(lambda: [bench.client.llen(key) for key in ready] == [1] * 6, SOON)
    note.execute("last", delay=0.2, _queue=queues[0])  # where something is ready, too
    wait_until(lambda: bench.client.llen(ready[0]) == 2, 4.0)
    bench.go("held")
    bench.until_noted("ran", number=7)


def test_failures_are_retried_and_then_dead_letters_that_can_be_redriven(bench: Bench, queues: list[str]) -> None:
    boom = bench.task("boom", vis_timeout=30, attempts=3, retry_delay=0.05, use_dead=True)
    bench.start()
    calls = [boom.execute(queue, _queue=queue) for queue in queues]
    for call in calls:
        bench.until(call, "dead")
    assert sorted(bench.labels("start")) == sorted(queues * 3)
    assert len(bench.app.read_deadletter()) == 6
    bench.redrive(State.DEAD, queues[4])
    bench.until_noted("start", queues[4], number=4)
    bench.until(calls[4], "dead")


def test_recurring_tasks_fire_once_for_each_slot(bench: Bench, queues: list[str]) -> None:
    for n, queue in enumerate(queues[:3]):
        bench.periodic("tick", 0.5, name=f"tick {n}", queue=queue, low_delay_okay=True, never_skip=True)
    for _ in range(2):
        bench.start(ready=False)
    bench.until_noted("tick", number=12)
    fired = [note["taskid"] for note in bench.notes("tick")]
    assert len(fired) == len(set(fired))
    assert {note["label"] for note in bench.notes("tick")} == {"tick 0", "tick 1", "tick 2"}


def test_a_killed_workers_calls_come_back_at_once_and_nothing_is_lost(bench: Bench, queues: list[str]) -> None:
    again, once = bench.task("hold", vis_timeout=60, attempts=5), bench.task("hold", name="once")
    quick = bench.task("note")
    first = [again.execute("again", _queue=queues[0]), once.execute("once", _queue=queues[1])]
    worker = bench.start(threads=2)
    bench.until_noted("start", "again")
    bench.until_noted("start", "once")
    pid = worker.child()
    for n, queue in enumerate(queues):
        quick.execute(n, _queue=queue)
    os.kill(pid, signal.SIGKILL)
    bench.until_noted("start", "again", number=2)
    bench.go("again")
    bench.until(first[0], "done")
    assert bench.until(first[1], "lost") == "lost"
    with pytest.raises(TaskLost):
        first[1].get(1)
    bench.until_noted("ran", number=6)
    bench.redrive(State.LOST, queues[1])
    bench.until_noted("start", "once", number=2)
    bench.go("once")
    bench.until(first[1], "done")
    assert worker.stop() == 0


def test_a_stopping_worker_gives_back_what_it_has_claimed(bench: Bench, queues: list[str]) -> None:
    hold, note = bench.task("hold", vis_timeout=60), bench.task("note")
    hold.execute("held", _queue=queues[0])
    worker = bench.start(wait=10)
    bench.until_noted("start", "held")
    for n, queue in enumerate(queues):
        note.execute_many([(f"{n}",)] * 5, _queue=queue)
    worker.signal(signal.SIGTERM)
    time.sleep(0.3)
    bench.go("held")
    assert worker.code() == 0
    assert bench.labels("end") == ["held"]
    assert sum(size for _, size, _ in bench.app.queue_sizes()) == 30
    bench.start(processes=2)
    bench.until_noted("ran", number=30)


def test_work_goes_on_while_slots_move_and_replicas_take_over(
    own_cluster: Cluster, make_bench: Callable[..., Bench]
) -> None:
    bench = make_bench(own_cluster)
    queues = list(islice(spread(own_cluster, bench.app), 3))
    echo = bench.task("echo", save_results=60)
    bench.start(processes=2)
    slot = own_cluster.slot_of(bench.app.task_keys(queues[0]).ready)
    source = own_cluster.master_of(slot)
    steps: list[Callable[[], Any]] = [
        lambda: own_cluster.move_slot(slot, next(node for node in own_cluster.masters if node is not source)),
        lambda: own_cluster.fail_over(own_cluster.master_of(slot)),
        lambda: own_cluster.kill(own_cluster.master_of(slot)),
    ]
    for n, step in enumerate((lambda: None, *steps)):
        step()
        for queue in queues:
            assert echo.execute(n, _queue=queue).get(SOON) == n
    wait_until(lambda: all(bench.app.broker.client.zcard(bench.app.task_keys(queue).leased) == 0 for queue in queues))
