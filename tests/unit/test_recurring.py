"""Recurrences: slots that were missed, dates, phases, and functions that tell the next slot."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpqueue.errors import RefusedInput, RefusedSchedule, WrongType
from rpqueue.instants import datetime_of, instant
from rpqueue.periods import Between, Period, Told, cron_expr, periodic, schedule_of
from rpqueue.recurring import Recurrence, recurrence_of
from rpqueue.schedule import NEVER, Cron, Every, Schedule

UTC = datetime.timezone.utc


def recurrence(schedule: Schedule, **options: Any) -> Recurrence:
    given = {"misfire": None, "misfire_grace": 60, "misfire_cap": 100, "overlap": None, "jitter": 0, **options}
    return recurrence_of(schedule, what="x", **given)


def fired(one: Recurrence, slot: float, now: float) -> Iterator[float]:
    """The slots that are fired while it is *now*."""
    while slot <= now:
        fires, following = one.step(slot, now)
        if fires:
            yield slot
        assert following > slot
        slot = following


# ---- periodic


def test_a_period_counts_from_its_start_whenever_somebody_asks() -> None:
    every_five = periodic(minutes=5)
    noon = datetime.datetime(2026, 11, 30, 12, 0, 7, tzinfo=UTC).timestamp()
    assert datetime_of(every_five.first(noon)).isoformat() == "2026-11-30T12:05:00+00:00"
    assert every_five.after(noon - 7, noon) == every_five.first(noon)


def test_weeks_begin_on_saturday_unless_the_start_says_otherwise() -> None:
    now = instant(datetime.datetime(2026, 11, 30), "now")
    assert datetime_of(periodic(weeks=1).first(now)).strftime("%a %H:%M") == "Sat 00:00"
    sundays = periodic(weeks=1, start_date=datetime.datetime(2000, 1, 2, 4))
    assert datetime_of(sundays.first(now)).strftime("%a %H:%M") == "Sun 04:00"


@given(st.floats(0.001, 1e6), st.floats(0, 4e9), st.floats(0, 4e9))
def test_a_slot_of_a_period_is_always_later_and_at_most_one_interval(interval: float, start: float, now: float) -> None:
    period = Period(interval, start)
    slot = period.first(now)
    assert slot > now or slot == start
    assert period.after(slot, now) > slot
    assert slot == start or slot - now <= interval * 1.001 + 1e-6


def test_a_period_ends_with_its_end() -> None:
    one = periodic(seconds=10, start_date=1000, end_date=1025)
    assert [one.first(0), one.after(1000, 1000), one.after(1010, 1010)] == [1000, 1010, 1020]
    assert one.after(1020, 1020) == NEVER
    assert "until" in one.describe()


@pytest.mark.parametrize(
    "options", [{}, {"seconds": 0}, {"seconds": -1}, {"seconds": 10, "start_date": 9, "end_date": 8}]
)
def test_what_is_no_period_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RefusedSchedule, match="expected"):
        periodic(**options)


# ---- cron_expr, functions


def test_a_cron_expression_holds_between_its_dates() -> None:
    start = datetime.datetime(2026, 1, 1, tzinfo=UTC)
    daily = cron_expr("0 4 * * *", start, start + datetime.timedelta(days=2))
    first = daily.first(0)
    assert datetime_of(first).isoformat() == "2026-01-01T04:00:00+00:00"
    assert daily.after(first, first) - first == 86_400
    assert daily.after(first + 86_400, first + 86_400) == NEVER


def test_a_slot_at_the_very_start_is_one() -> None:
    at_four = datetime.datetime(2026, 1, 1, 4, tzinfo=UTC)
    assert cron_expr("0 4 * * *", at_four).first(0) == at_four.timestamp()


def test_a_function_tells_the_next_slot_until_it_says_none() -> None:
    def hourly(now: datetime.datetime, most: int) -> datetime.datetime | None:
        return None if now.hour >= most else now + datetime.timedelta(hours=1)

    told = schedule_of((hourly, (3,)), "x")
    assert isinstance(told, Told)
    assert [told.first(0), told.after(3600, 3600), told.after(7200, 7200)] == [3600, 7200, 10_800]
    assert told.after(10_800, 10_800) == NEVER
    assert schedule_of(lambda now: None, "x").first(0) == NEVER


def test_a_function_that_goes_back_in_time_is_refused() -> None:
    with pytest.raises(RefusedSchedule, match="expected a date later"):
        Told(lambda now: now).first(5)


def test_naive_dates_are_utc() -> None:
    naive = datetime.datetime(2026, 11, 30, 12)
    assert instant(naive, "x") == naive.replace(tzinfo=UTC).timestamp()
    elsewhere = datetime.timezone(datetime.timedelta(hours=2))
    assert instant(naive.replace(tzinfo=elsewhere), "x") == instant(naive, "x") - 7200


@pytest.mark.parametrize("value", ["tomorrow", None, True, datetime.timedelta(1)])
def test_what_is_no_instant_is_refused(value: Any) -> None:
    with pytest.raises(WrongType, match="expected a datetime"):
        instant(value, "when")


@pytest.mark.parametrize(
    ("value", "hint"), [("0 5 * * *", "cron_expr"), (60, "seconds=60"), (None, "periodic"), ((len,), "periodic")]
)
def test_what_is_no_schedule_is_refused_with_a_hint(value: Any, hint: str) -> None:
    with pytest.raises(WrongType, match=hint):
        schedule_of(value, "schedule of x")


# ---- slots that were missed


@pytest.mark.parametrize("schedule", [Every(10), Period(10, 0), Cron("0 * * * * * *")])
def test_of_slots_missed_in_a_row_one_is_fired_late(schedule: Schedule) -> None:
    assert list(fired(recurrence(schedule), 60, 1000)) == [60]


@pytest.mark.parametrize("schedule", [Every(10), Period(10, 0)])
def test_all_that_were_missed_are_fired_where_that_is_asked(schedule: Schedule) -> None:
    assert list(fired(recurrence(schedule, misfire="all"), 60, 100)) == [60, 70, 80, 90, 100]


def test_the_newest_are_made_up_for_when_there_is_a_cap() -> None:
    one = recurrence(Period(10, 0), misfire="all", misfire_cap=3)
    assert list(fired(one, 60, 1005)) == [980, 990, 1000]
    assert list(fired(one, 990, 1005)) == [990, 1000]


def test_a_slot_that_is_too_late_is_skipped() -> None:
    one = recurrence(Period(100, 0), misfire="skip", misfire_grace=5)
    assert one.step(100, 104) == (True, 200)
    assert one.step(100, 106) == (False, 200)
    assert list(fired(one, 100, 905)) == [900]


def test_what_never_skips_makes_up_for_all_and_may_pile_up() -> None:
    one = recurrence(Every(10, never_skip=True))
    assert (one.misfire, one.overlap) == ("all", "allow")
    assert (recurrence(Every(10)).misfire, recurrence(Every(10)).overlap) == ("once", "queue_one")


def test_a_schedule_that_ends_is_not_counted_for_ever() -> None:
    one = recurrence(Between(Period(10, 0), 0, 95), misfire="all")
    assert one.step(90, 1000) == (True, NEVER)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"misfire": "never"}, RefusedInput),
        ({"misfire": 1}, WrongType),
        ({"overlap": "queue-one"}, RefusedInput),
        ({"misfire_cap": 0}, RefusedInput),
        ({"misfire_cap": 1.5}, RefusedInput),
        ({"jitter": -1}, RefusedInput),
        ({"jitter": "5"}, WrongType),
        ({"misfire_grace": None}, WrongType),
    ],
)
def test_policies_that_cannot_be_used_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{next(iter(options))} of x: expected"):
        recurrence(Every(10), **options)
