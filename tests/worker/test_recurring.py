"""Recurring tasks: one firing per slot, however many workers there are and whatever becomes of them."""

from __future__ import annotations

import itertools
import os
import signal
from collections import Counter

import pytest

from tests.servers import wait_until
from tests.worker.harness import SOON, Bench


def slots(bench: Bench, name: str = "tick") -> list[int]:
    """The slots, in ms, of the firings that ran, in order."""
    return [int(entry["taskid"].rpartition("@")[2]) for entry in bench.notes("tick") if entry["label"] == name]


def until_slots(bench: Bench, number: int, name: str = "tick") -> list[int]:
    wait_until(lambda: len(slots(bench, name)) >= number, SOON, f"{number} firings")
    return slots(bench, name)


def now_ms(bench: Bench) -> int:
    seconds, micros = bench.client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def set_slot(bench: Bench, slot: int, name: str = "tick") -> None:
    bench.client.hset(bench.app.task_keys("default").schedules, name, slot)


def test_each_slot_fires_once_over_many_processes_of_which_some_are_killed(bench: Bench) -> None:
    bench.periodic("tick", 0.1, low_delay_okay=True)
    workers = [bench.start(processes=2), bench.start()]
    until_slots(bench, 5)
    os.kill(workers[0].children(2)[0], signal.SIGKILL)
    until_slots(bench, 10)
    workers[1].kill()
    fired = until_slots(bench, 20)
    assert [slot for slot, times in Counter(fired).items() if times > 1] == []
    assert min(later - earlier for earlier, later in itertools.pairwise(fired)) >= 100
    started = bench.notes("tick")
    assert all(entry["at"] * 1000 >= slot for entry, slot in zip(started, fired, strict=False))


def test_a_periodic_task_first_comes_one_interval_after_a_worker_first_saw_it(bench: Bench) -> None:
    bench.periodic("tick", 0.5, low_delay_okay=True)
    before = now_ms(bench)
    bench.start()
    [first, second, *_] = until_slots(bench, 2)
    assert first >= before + 500
    assert second >= first + 500


@pytest.mark.parametrize("never_skip", [False, True])
def test_missed_slots_are_made_up_for_only_if_they_may_not_be_skipped(bench: Bench, never_skip: bool) -> None:
    bench.periodic("tick", 60.0, never_skip=never_skip)
    missed = now_ms(bench) - 200_000
    set_slot(bench, missed)
    bench.start()
    if never_skip:
        assert until_slots(bench, 4) == [missed, missed + 60_000, missed + 120_000, missed + 180_000]
        following = missed + 240_000
    else:
        assert until_slots(bench, 1) == [missed]
        following = now_ms(bench) + 60_000
    bench.until_empty()
    keys = bench.app.task_keys("default")
    stored = int(bench.client.hget(keys.schedules, "tick"))
    assert following - SOON * 1000 < stored <= following


def test_a_cron_task_fires_at_the_instants_of_its_expression(bench: Bench) -> None:
    bench.cron("tick", "* * * * * * *")
    bench.start(processes=2)
    fired = until_slots(bench, 3)
    assert [slot % 1000 for slot in fired] == [0] * len(fired)
    assert fired == sorted(set(fired))


def test_a_cron_task_makes_up_for_missed_slots_if_it_may_not_skip_any(bench: Bench) -> None:
    bench.cron("tick", "*/10 * * * * * *", never_skip=True)
    missed = now_ms(bench) // 10_000 * 10_000 - 30_000
    set_slot(bench, missed)
    bench.start()
    assert until_slots(bench, 4)[:4] == [missed, missed + 10_000, missed + 20_000, missed + 30_000]


def test_a_firing_that_still_waits_is_not_joined_by_another(bench: Bench) -> None:
    bench.periodic("hold_current", 0.05, low_delay_okay=True)
    bench.start()
    bench.until_noted("start")
    keys = bench.app.task_keys("default")
    before = int(bench.client.hget(keys.schedules, "hold_current"))
    wait_until(lambda: int(bench.client.hget(keys.schedules, "hold_current")) > before + 500, SOON, "ten slots")
    assert bench.client.llen(keys.ready) == 1
    assert bench.client.hlen(keys.messages) == 2
    for _ in range(3):
        bench.go("")
    bench.until_noted("start", number=3)


def test_with_an_interval_of_zero_it_runs_again_and_again_beside_other_tasks(bench: Bench) -> None:
    bench.periodic("tick", 0, low_delay_okay=True, never_skip=True)
    echo = bench.task("echo", save_results=60)
    worker = bench.start()
    fired = until_slots(bench, 20)
    assert len(set(fired)) == len(fired)
    assert echo.execute(1).get(SOON) == 1
    assert bench.client.hlen(bench.app.task_keys("default").messages) <= 2
    assert worker.stop() == 0


def test_a_schedule_whose_task_no_worker_knows_fires_nothing_and_harms_nobody(bench: Bench) -> None:
    bench.periodic("tick", 1.0, never_skip=True)
    echo = bench.task("echo", save_results=60)
    set_slot(bench, now_ms(bench) - 60_000)
    set_slot(bench, now_ms(bench) - 60_000, "never.declared")
    worker = bench.start(without=("tick",))
    assert echo.execute(1).get(SOON) == 1
    assert worker.stop() == 0
    assert bench.stats() == {"seen": 1, "claimed": 1, "done": 1}
    assert "ERROR" not in worker.log


def test_only_workers_of_its_queue_fire_it(bench: Bench) -> None:
    bench.periodic("tick", 0.1, low_delay_okay=True, queue="clock")
    echo = bench.task("echo", save_results=60)
    others = bench.start(queues=["default"])
    assert echo.execute(1).get(SOON) == 1
    assert bench.client.exists(bench.app.task_keys("clock").schedules) == 0
    others.stop()
    bench.start(queues=["clock"])
    until_slots(bench, 2)


def test_when_redis_forgets_the_schedule_it_begins_anew(bench: Bench) -> None:
    bench.periodic("tick", 0.1, low_delay_okay=True)
    bench.start()
    until_slots(bench, 2)
    bench.client.flushall()
    until_slots(bench, 2)
    bench.app.clear_queue("default", delete=True)
    fired = len(slots(bench))
    until_slots(bench, fired + 2)


def test_a_shorter_interval_holds_as_soon_as_a_worker_has_it(bench: Bench) -> None:
    bench.periodic("tick", 0.2, low_delay_okay=True)
    set_slot(bench, now_ms(bench) + 86_400_000)
    bench.start()
    until_slots(bench, 2)


def test_slots_that_come_too_late_are_skipped_where_that_is_asked(bench: Bench) -> None:
    bench.periodic("tick", 60.0, misfire="skip", misfire_grace=5)
    set_slot(bench, now_ms(bench) - 200_000)
    echo = bench.task("echo", save_results=60)
    bench.start()
    assert echo.execute(1).get(SOON) == 1
    keys = bench.app.task_keys("default")
    wait_until(lambda: int(bench.client.hget(keys.schedules, "tick")) > now_ms(bench), SOON, "a slot to come")
    assert bench.client.hlen(keys.messages) == 0
    assert slots(bench) == []


def test_of_many_missed_slots_the_newest_are_made_up_for(bench: Bench) -> None:
    bench.periodic("tick", 60.0, misfire="all", misfire_cap=2)
    missed = now_ms(bench) - 290_000
    set_slot(bench, missed)
    bench.start()
    assert until_slots(bench, 2) == [missed + 180_000, missed + 240_000]


def test_a_slot_passes_while_the_last_call_runs_where_that_is_asked(bench: Bench) -> None:
    bench.periodic("hold_current", 0.05, low_delay_okay=True, overlap="skip")
    bench.start()
    bench.until_noted("start")
    keys = bench.app.task_keys("default")
    before = int(bench.client.hget(keys.schedules, "hold_current"))
    wait_until(lambda: int(bench.client.hget(keys.schedules, "hold_current")) > before + 500, SOON, "ten slots")
    assert bench.client.hlen(keys.messages) == 1
    for _ in range(3):
        bench.go("")
    bench.until_noted("start", number=3)
