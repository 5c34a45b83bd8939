"""Clock: what is due later is due now, once it is turned on."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from rpqueue import NoLock, cron_expr, fixed, periodic
from rpqueue.errors import RefusedInput, WrongType
from rpqueue.keys import LASTING_KINDS
from rpqueue.testing import Sandbox, turning


def test_every_lasting_kind_of_key_is_moved_or_known_to_stay() -> None:
    assert turning.MOVED | turning.STAYS == LASTING_KINDS
    assert not turning.MOVED & turning.STAYS


def test_calls_with_a_delay_are_due_that_much_sooner(box: Sandbox) -> None:
    job = box.app.task(lambda x: None, name="job")
    call = job.execute(1, delay=60)
    job.execute(2, delay=120)
    assert box.worker.run() == []
    box.clock.advance(59.5)
    assert (box.worker.run(), call.status) == ([], "early")
    box.clock.advance(timedelta(seconds=1))
    assert call.status == "late"
    assert [one.args for one in box.worker.run()] == [[1]]
    box.clock.advance(3600)
    assert [one.args for one in box.worker.run()] == [[2]]


def test_it_shows_redis_time_and_what_it_was_turned_by(box: Sandbox) -> None:
    before = box.clock.now()
    assert before.tzinfo is timezone.utc
    box.clock.advance(3600)
    box.clock.advance(0.5)
    assert timedelta(seconds=3600.5) <= box.clock.now() - before < timedelta(seconds=3700)
    assert box.clock.offset == 3600.5


def test_it_moves_to_a_datetime(box: Sandbox) -> None:
    moment = datetime.now(timezone.utc) + timedelta(days=400)
    call = box.app.task(lambda: None, name="job").execute(delay=timedelta(days=399))
    box.clock.move_to(moment)
    assert timedelta(0) <= box.clock.now() - moment < timedelta(seconds=60)
    assert [one.id for one in box.worker.run()] == [call.taskid]
    box.clock.move_to((moment + timedelta(days=1)).replace(tzinfo=None))
    assert timedelta(days=1) <= box.clock.now() - moment < timedelta(days=1, seconds=60)


def test_it_cannot_be_turned_back(box: Sandbox) -> None:
    with pytest.raises(RefusedInput, match="moment: expected one after"):
        box.clock.move_to(datetime(2001, 1, 1))
    with pytest.raises(RefusedInput, match="duration: expected"):
        box.clock.advance(-1)
    with pytest.raises(WrongType, match=r"advance\(\) takes seconds"):
        box.clock.move_to(60)  # type: ignore[arg-type]


def test_recurring_tasks_fire_by_it(box: Sandbox) -> None:
    box.app.periodic_task(60, name="often")(lambda: None)
    assert box.worker.run() == []
    box.clock.advance(60)
    assert [one.name for one in box.worker.run()] == ["often"]
    assert box.worker.run() == []
    box.clock.advance(59)
    assert box.worker.run() == []
    box.clock.advance(3600)  # what was missed is fired once
    assert [one.name for one in box.worker.run()] == ["often"]


def test_a_schedule_begins_before_the_clock_is_turned_first(box: Sandbox) -> None:
    box.app.periodic_task(60, name="often")(lambda: None)
    box.clock.advance(60)
    assert [one.name for one in box.worker.run()] == ["often"]


def test_cron_lines_are_looked_at_by_the_turned_clock(box: Sandbox) -> None:
    nightly = box.app.cron_task("30 4 * * *", name="nightly")(lambda: None)
    day = box.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    fired: list[str] = []
    for number in range(1, 4):
        moment = day + timedelta(days=number, hours=4, minutes=29)
        box.clock.move_to(moment)
        box.worker.run()  # makes up for an earlier slot, if there was one before
        assert box.worker.run() == []
        box.clock.advance(61)
        [ran] = box.worker.run()
        fired.append(ran.id)
    slots = [day + timedelta(days=number, hours=4, minutes=30) for number in range(1, 4)]
    assert fired == [f"nightly@{slot.timestamp() * 1000:.0f}" for slot in slots]
    assert nightly.name == "nightly"


def test_a_recurring_task_that_failed_fires_again_after_the_same_time(box: Sandbox) -> None:
    box.app.task(lambda: 1 / 0, name="hourly", schedule=periodic(hours=1))
    box.worker.run()
    for _ in range(3):
        box.clock.advance(3600)
        assert [one.state for one in box.worker.run()] == ["failed"]


def test_slots_that_are_made_up_for_all_fire(box: Sandbox) -> None:
    box.app.task(lambda: None, name="each", schedule=cron_expr("0 * * * *"), misfire="all")
    box.worker.run()
    box.clock.advance(3600 * 25)  # more than a tick of the recurrer fires
    assert len(box.worker.run()) == 25


def test_leases_end(box: Sandbox) -> None:
    items = box.app.Data("items", vis_timeout=60, attempts=3)
    items.put_data(["x"])
    assert list(items.get_data().values()) == ["x"]
    assert items.get_data() == {}
    box.clock.advance(61)
    assert list(items.get_data().values()) == ["x"]


def test_delayed_items_are_due(box: Sandbox) -> None:
    items = box.app.Data("items", vis_timeout=60)
    items.put_data(["x"], delay=60)
    assert items.get_data() == {}
    box.clock.advance(60)
    assert list(items.get_data().values()) == ["x"]


def test_results_and_locks_expire(box: Sandbox) -> None:
    call = box.app.task(lambda: 7, name="job", save_results=100).execute()
    box.worker.run()
    lock = box.app.SimpleLock(None, "reports", 100)
    lock.acquire()
    box.clock.advance(50)
    assert call.result == 7
    with pytest.raises(NoLock):
        box.app.SimpleLock(None, "reports", 100).acquire()
    box.clock.advance(51)
    assert call.result is None
    box.app.SimpleLock(None, "reports", 100).acquire()


def test_checkpoints_expire_with_it_and_not_before(box: Sandbox) -> None:
    seen: list[Any] = []

    @box.app.task(name="job", retry_method=fixed(60, 5))
    def job() -> None:
        from rpqueue import current_task

        run = current_task()
        seen.append(run.resumed)
        run.checkpoint(run.attempt)
        raise ValueError

    box.app.settings.keep_checkpoints = 100
    job.execute()
    box.worker.run()
    box.clock.advance(60)
    box.worker.run()
    box.clock.advance(101)
    box.worker.run()
    assert seen == [None, 1, None]


def test_many_scheduled_calls_keep_their_order(box: Sandbox) -> None:
    job = box.app.task(lambda x: None, name="job")
    job.execute_many([(number,) for number in range(1200)], delay=60)
    box.clock.advance(60)
    assert [one.args[0] for one in box.worker.run(limit=50)] == list(range(50))
    assert [call.args[0] for call in box.all_enqueued()] == list(range(50, 1200))
