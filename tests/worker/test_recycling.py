"""Worker processes that have worked enough, and those that take their places."""

from __future__ import annotations

import pytest

from rpqueue.worker.ledger import Ledger
from rpqueue.worker.pools import Pooling
from rpqueue.worker.recycling import JITTER, NEW, Term
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench, is_gone
from tests.worker.load import buried, runs


class Turned:
    """A clock, and a memory, that a test turns."""

    now, memory = 100.0, 10_000

    def term(self, **limits: float) -> Term:
        return Term(Pooling(**limits), clock=lambda: self.now, memory=lambda pid: self.memory)  # type: ignore[arg-type]


def worked(tasks: int = 1) -> Ledger:
    ledger = Ledger(1)
    ledger.recorded(tasks)
    ledger.answered(1.0)
    return ledger


@pytest.mark.parametrize("pool", ["threads", "sync", "asyncio", "fork"])
def test_what_was_replaced_ends_in_its_own_time_and_the_next_one_works_meanwhile(bench: Bench, pool: str) -> None:
    hold, echo = bench.task("hold", save_results=60), bench.task("echo", save_results=60)
    worker = bench.start(wait=0.1, also={"max_tasks": 1, "pool": pool})
    first = worker.child()
    slow = hold.execute("x")
    bench.until_noted("start")
    wait_until(lambda: "is replaced after 1 tasks" in worker.log, SOON, "it is replaced")
    assert [echo.execute(number).get(SOON) for number in range(3)] == [0, 1, 2]
    assert slow.status == "started"
    assert first in worker.announced()
    bench.go("x")
    assert slow.get(SOON) == "x"
    wait_until(lambda: is_gone(first), SOON, "it ended")
    assert bench.labels("start") == ["x"]
    assert worker.stop() == 0
    assert "worker process ended: exit code 0" in worker.log
    assert "ERROR" not in worker.log


def test_a_replaced_process_gives_back_what_does_not_end_before_the_worker_does(bench: Bench) -> None:
    hold = bench.task("hold", vis_timeout=60, attempts=1)
    worker = bench.start(wait=0.1, also={"max_tasks": 1})
    call = hold.execute("x")
    bench.until_noted("start")
    wait_until(lambda: "is replaced after 1 tasks" in worker.log, SOON, "it is replaced")
    assert worker.stop() == 0
    assert call.status == "waiting"
    assert bench.ids("ready") == [call.taskid]
    bench.start()
    bench.go("x")
    bench.until(call, "done")


def test_there_are_never_more_replaced_processes_than_places(bench: Bench) -> None:
    hold = bench.task("hold")
    worker = bench.start(also={"max_tasks": 1})
    for label in "ab":
        hold.execute(label)
    bench.until_noted("start", number=2)
    hold.execute("c")  # nobody is left for it
    wait_until(lambda: len(worker.announced()) == 2, SOON, "two processes")
    bench.go("a")
    bench.until_noted("start", "c")
    assert len(worker.announced()) <= 2
    for label in "bc":
        bench.go(label)
    bench.until_noted("end", number=3)
    assert worker.stop() == 0


def test_replacing_under_load_loses_nothing_and_runs_nothing_twice(bench: Bench) -> None:
    count = bench.task("count")
    worker = bench.start(processes=2, threads=2, also={"max_tasks": 40})
    labels = [str(number) for number in range(400)]
    for at in range(0, len(labels), 100):  # some while others run
        count.execute_many([(label,) for label in labels[at : at + 100]])
    bench.until_empty(timeout=40)
    assert runs(bench) == dict.fromkeys(labels, 1)
    assert buried(bench) == set()
    wait_until(lambda: worker.log.count("is replaced after") >= 2, SOON, "processes are replaced")
    assert worker.stop() == 0


def test_a_term_is_over_after_as_many_tasks_or_a_few_less() -> None:
    terms = [Turned().term(max_tasks=1000) for _ in range(200)]
    assert not any(term.is_over(1, worked(899), 0.0) for term in terms)
    assert all(term.is_over(1, worked(1000), 0.0) == "1000 tasks" for term in terms)
    at_once = sum(bool(term.is_over(1, worked(950), 0.0)) for term in terms)
    assert 20 < at_once < 180, "they must not go together"


def test_what_was_given_back_before_it_started_does_not_count() -> None:
    term, ledger = Turned().term(max_tasks=100), worked(150)
    ledger.count(-100)
    assert not term.is_over(1, ledger, 0.0)


def test_a_term_is_over_with_its_age_once_it_has_reached_redis() -> None:
    turned = Turned()
    term = turned.term(max_age=60)
    assert not term.is_over(1, worked(), turned.now - 60 * (1 - JITTER) + 1)
    assert not term.is_over(1, Ledger(1), turned.now - 1000)
    assert term.is_over(1, worked(), turned.now - 60) == "60 seconds"


def test_memory_counts_above_the_most_of_the_first_seconds_of_work() -> None:
    turned = Turned()
    term = turned.term(max_memory=2**20)
    assert not term.is_over(1, Ledger(1), 0.0)
    for turned.now, turned.memory, is_over in (
        (200.0, 10 * 2**20, False),
        (200.0 + NEW - 2, 90 * 2**20, False),  # whatever it imports at first
        (200.0 + NEW + 1, 90 * 2**20, False),
        (200.0 + NEW + 3, 90 * 2**20 + 2**19, False),
        (200.0 + NEW + 5, 91 * 2**20, True),
    ):
        assert bool(term.is_over(1, worked(), 0.0)) is is_over, turned.now


def test_the_limits_of_children_of_a_process_are_not_its_own() -> None:
    turned = Turned()
    term = turned.term(pool="processes", max_tasks=1, max_age=1, max_memory=1)
    assert not term.is_over(1, worked(5), 0.0)
