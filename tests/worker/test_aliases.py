"""Tasks with former names: calls that were made under one of those, and schedules."""

from __future__ import annotations

from tests.servers import wait_until
from tests.worker.harness import SOON, Bench


def test_calls_under_a_former_name_run(bench: Bench) -> None:
    old = bench.task("note", name="old")
    calls = [old.execute(number) for number in range(3)]
    bench.task("note", name="new", aliases=["old", "older"])
    bench.start(without=("old",))
    bench.until_noted("ran", number=3)
    calls.append(old.execute(3))
    calls.append(bench.app.get_task("older").execute(4))
    bench.until_noted("ran", number=5)
    for call in calls:
        bench.until(call, "done")
    assert bench.labels() == list(range(5))


def test_what_was_parked_under_a_former_name_comes_back_and_costs_no_attempt(bench: Bench) -> None:
    old = bench.task("current", name="old", vis_timeout=60, attempts=2, save_results=60)
    ignorant = bench.start(without=("old",))
    call = old.execute()
    wait_until(lambda: bench.client.hlen(bench.app.task_keys("default").parked) == 1, SOON, "parked")
    assert ignorant.stop() == 0
    bench.task("current", name="new", aliases=["old"], vis_timeout=60, attempts=2, save_results=60)
    bench.start(without=("old",))
    found = call.get(SOON)
    assert (found["name"], found["attempt"]) == ("old", 1)
    assert bench.client.hlen(bench.app.task_keys("default").parked) == 0


def test_a_recurring_task_with_former_names_fires_once_a_slot(bench: Bench) -> None:
    bench.periodic("tick", 1, name="new", aliases=["old", "older"], never_skip=True)
    bench.start()
    bench.start()
    notes = bench.until_noted("tick", number=4)
    assert {entry["label"] for entry in notes} == {"new"}
    slots = [entry["taskid"] for entry in notes]
    assert len(set(slots)) == len(slots)
    schedules = bench.app.task_keys("default").schedules
    assert [name for name in bench.redis.hkeys(schedules) if not name.startswith(b"\1")] == [b"new"]
