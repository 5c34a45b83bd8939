"""Slots of Every and Cron: what follows what, in every kind of hour."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from crontab import CronTab
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rpqueue.errors import RefusedInput, RefusedSchedule, WrongType
from rpqueue.schedule import NEVER, Cron, Every, Schedule

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
INSTANTS = st.floats(min_value=0, max_value=3_000_000_000)  # 1970 to 2065
INTERVALS = st.floats(min_value=0.001, max_value=1e9)


def instant(text: str) -> float:
    """Epoch seconds of "2024-03-31T02:00+01:00", and of a text without offset in UTC."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def shown(slot: float, zone: Any = timezone.utc) -> str:
    return datetime.fromtimestamp(slot, zone).isoformat(timespec="minutes")


def offset(moment: datetime) -> timedelta:
    found = moment.utcoffset()
    assert found is not None
    return found


def slots(schedule: Schedule, start: float) -> Iterator[float]:
    """What is due when every slot is fired at its time."""
    slot = schedule.first(start)
    while True:
        yield slot
        slot = schedule.after(slot, slot)


def days(schedule: Schedule, start: str, count: int, zone: Any) -> list[str]:
    found = slots(schedule, instant(start))
    return [shown(next(found), zone) for _ in range(count)]


# ---- Every


def test_a_late_slot_is_followed_by_one_an_interval_after_its_run() -> None:
    slot, now = instant("2024-05-01T16:15:05"), instant("2024-05-01T16:25:13")
    assert Every(60).after(slot, now) == instant("2024-05-01T16:26:13")


def test_with_never_skip_a_late_slot_is_followed_by_one_an_interval_after_itself() -> None:
    slot, now = instant("2024-05-01T16:15:05"), instant("2024-05-01T16:25:13")
    assert Every(60, never_skip=True).after(slot, now) == instant("2024-05-01T16:16:05")


def test_the_first_slot_is_an_interval_from_now() -> None:
    assert Every(25).first(1000.5) == 1025.5
    assert Every(25, never_skip=True).first(1000.5) == 1025.5


@pytest.mark.parametrize("never_skip", [False, True])
def test_an_interval_of_zero_is_due_all_the_time(never_skip: bool) -> None:
    schedule = Every(0, never_skip)
    assert schedule.first(7.0) == 7.0
    assert schedule.after(7.0, 9.0) == 9.0


def test_an_interval_may_be_a_timedelta() -> None:
    assert Every(timedelta(minutes=5)) == Every(300)  # type: ignore[arg-type]


@pytest.mark.parametrize("interval", [-1, -0.001, 0.0009, float("nan"), float("inf"), 1e11])
def test_intervals_out_of_range_are_refused(interval: float) -> None:
    with pytest.raises(RefusedInput, match=r"interval: expected .*, got"):
        Every(interval)


@pytest.mark.parametrize("interval", [True, "5", None])
def test_intervals_that_are_no_seconds_are_refused(interval: Any) -> None:
    with pytest.raises(WrongType, match="interval: expected seconds as int, float or timedelta, got"):
        Every(interval)


@given(INTERVALS, INSTANTS, INSTANTS)
def test_never_skip_goes_on_from_the_slot_whatever_the_time(interval: float, slot: float, now: float) -> None:
    following = Every(interval, never_skip=True).after(slot, now)
    assert slot < following == slot + interval


@given(INTERVALS, INSTANTS, INSTANTS)
def test_without_never_skip_the_next_slot_is_in_the_future(interval: float, slot: float, now: float) -> None:
    assert Every(interval).after(slot, now) == now + interval > now


# ---- Cron in UTC


def cron_field(low: int, high: int) -> st.SearchStrategy[tuple[str, set[int]]]:
    """A field's text, and the values that it means."""
    number = st.integers(low, high)
    everything = set(range(low, high + 1))
    return st.one_of(
        st.just(("*", everything)),
        st.lists(number, min_size=1, max_size=4).map(lambda some: (",".join(map(str, some)), set(some))),
        # Not from a number to itself: the crontab package takes sun-sun for the whole week.
        st.lists(number, min_size=2, max_size=2, unique=True)
        .map(sorted)
        .map(lambda ends: ("{}-{}".format(*ends), set(range(ends[0], ends[1] + 1)))),
        st.integers(2, (high - low) // 2).map(lambda step: (f"*/{step}", set(range(low, high + 1, step)))),
    )


def by_minutes(fields: list[set[int]], start: float, most: int) -> float | None:
    """The next match found by looking at every minute."""
    minutes, hours, days_, months, weekdays = fields
    moment = datetime.fromtimestamp(math.floor(start), timezone.utc).replace(second=0)  # it would round up
    for _ in range(most):
        moment += timedelta(minutes=1)
        if (
            moment.minute in minutes
            and moment.hour in hours
            and moment.day in days_
            and moment.month in months
            and moment.isoweekday() % 7 in weekdays
        ):
            return moment.timestamp()
    return None


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(
        cron_field(0, 59), cron_field(0, 23), cron_field(1, 31), st.just(("*", set(range(1, 13)))), cron_field(0, 6)
    ),
    INSTANTS,
)
def test_in_utc_a_cron_expression_means_what_stepping_through_the_minutes_finds(
    fields: tuple[tuple[str, set[int]], ...], now: float
) -> None:
    most = 2_000
    found = Cron(" ".join(text for text, _ in fields)).first(now)
    expected = by_minutes([values for _, values in fields], now, most)
    if expected is None:
        assert found > now + 60 * (most - 1)
    else:
        assert found == expected


EXPRESSIONS = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 0 l * *", "0 12 29 2 *", "59 23 31 12 *", "0 */3 * * mon-fri",
     "15 10 * * l5", "0 0 z2 * *", "*/20 30 1,2,3 * * * *", "@weekly", "0 0 13 * fri"]
)  # fmt: skip
EVERY_HOUR = ("* * * * *", "*/7 * * * *", "0 */3 * * mon-fri")  # those of them with * or */n for the hour
ZONES = st.sampled_from(
    [
        None,
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Africa/Casablanca",
    ]
)


@settings(max_examples=50, deadline=None)
@given(EXPRESSIONS, ZONES, INSTANTS)
def test_slots_increase_strictly_in_every_zone(text: str, zone: str | None, start: float) -> None:
    found = slots(Cron(text, never_skip=True, timezone=zone), start)
    some = [start, *(next(found) for _ in range(5))]
    assert all(one < other for one, other in pairwise(some))


@settings(deadline=None)
@given(EXPRESSIONS, ZONES, INSTANTS, st.floats(-1e6, 1e6))
def test_never_skip_gives_the_very_next_slot_whatever_the_time(
    text: str, zone: str | None, slot: float, late: float
) -> None:
    schedule = Cron(text, never_skip=True, timezone=zone)
    assert slot < schedule.after(slot, slot + late) == schedule.after(slot, slot)


@settings(deadline=None)
@given(EXPRESSIONS, ZONES, INSTANTS, st.floats(-1e6, 1e6))
def test_without_never_skip_missed_slots_are_left_out(text: str, zone: str | None, slot: float, late: float) -> None:
    schedule = Cron(text, timezone=zone)
    following = schedule.after(slot, slot + late)
    assert following == schedule.first(max(slot, slot + late))
    assert following > slot + late


@settings(deadline=None)
@given(EXPRESSIONS, ZONES, INSTANTS, st.sampled_from([0.9999999, 0.6, 0.5, 0.001, 0.0000003]))
def test_fractions_of_a_second_miss_no_slot(text: str, zone: str | None, start: float, left: float) -> None:
    schedule = Cron(text, timezone=zone)
    slot = schedule.first(start)
    assert schedule.first(slot - left) == slot
    assert schedule.first(slot + 1 - left) > slot


def test_a_slot_fired_before_its_time_is_not_followed_by_itself() -> None:
    schedule = Cron("0 5 * * *")
    slot = instant("2024-05-02T05:00")
    assert schedule.after(slot, slot - 3600) == instant("2024-05-03T05:00")


def test_seven_fields_begin_with_seconds_and_end_with_years() -> None:
    found = slots(Cron("*/30 59 23 31 12 * 2026"), 0)
    assert [next(found) for _ in range(3)] == [
        instant("2026-12-31T23:59:00"),
        instant("2026-12-31T23:59:30"),
        NEVER,
    ]


def test_when_the_years_are_over_no_slot_comes() -> None:
    schedule = Cron("0 0 1 1 * 2020")
    assert schedule.first(instant("2019-06-01")) == instant("2020-01-01")
    assert schedule.first(instant("2020-01-01")) == NEVER
    assert Cron("* * * * *").first(instant("2100-01-01")) == NEVER
    assert Cron("* * * * *").first(1e15) == NEVER
    assert round(NEVER * 1000) < 2**53  # so that it can be stored in milliseconds


# ---- Cron where clocks change


def test_the_zone_decides_which_instant_an_hour_is() -> None:
    start = instant("2024-07-01T00:00")
    assert shown(Cron("0 5 * * *").first(start)) == "2024-07-01T05:00+00:00"
    assert shown(Cron("0 5 * * *", timezone="Europe/Berlin").first(start)) == "2024-07-01T03:00+00:00"
    assert shown(Cron("0 5 * * *", timezone=NEW_YORK).first(start)) == "2024-07-01T09:00+00:00"
    assert shown(Cron("0 5 * * *", timezone=timezone(timedelta(hours=2))).first(start)) == "2024-07-01T03:00+00:00"


@pytest.mark.parametrize(
    ("zone", "start", "expected"),
    [
        (
            BERLIN,
            "2024-03-30T00:00",
            ["2024-03-30T02:30+01:00", "2024-03-31T03:00+02:00", "2024-04-01T02:30+02:00", "2024-04-02T02:30+02:00"],
        ),
        (
            NEW_YORK,
            "2024-03-09T05:00",
            ["2024-03-09T02:30-05:00", "2024-03-10T03:00-04:00", "2024-03-11T02:30-04:00", "2024-03-12T02:30-04:00"],
        ),
    ],
    ids=str,
)
def test_a_slot_in_the_skipped_hour_is_due_once_right_after_it(zone: ZoneInfo, start: str, expected: list[str]) -> None:
    assert days(Cron("30 2 * * *", timezone=zone), start, 4, zone) == expected


@pytest.mark.parametrize(
    ("zone", "text", "start", "expected"),
    [
        (
            BERLIN,
            "30 2 * * *",
            "2024-10-26T00:00",
            ["2024-10-26T02:30+02:00", "2024-10-27T02:30+02:00", "2024-10-28T02:30+01:00"],
        ),
        (
            NEW_YORK,
            "30 1 * * *",
            "2024-11-02T04:00",
            ["2024-11-02T01:30-04:00", "2024-11-03T01:30-04:00", "2024-11-04T01:30-05:00"],
        ),
    ],
    ids=str,
)
def test_a_slot_in_the_doubled_hour_is_due_once(zone: ZoneInfo, text: str, start: str, expected: list[str]) -> None:
    assert days(Cron(text, timezone=zone), start, 3, zone) == expected


def test_all_slots_of_the_skipped_hour_are_due_together() -> None:
    assert days(Cron("*/20 * * * *", timezone=BERLIN), "2024-03-31T00:30", 4, BERLIN) == [
        "2024-03-31T01:40+01:00",
        "2024-03-31T03:00+02:00",
        "2024-03-31T03:20+02:00",
        "2024-03-31T03:40+02:00",
    ]


@pytest.mark.parametrize("text", ["*/20 * * * *", "*/20 */1 * * *"])
def test_an_expression_of_every_hour_goes_on_through_the_doubled_hour(text: str) -> None:
    assert days(Cron(text, timezone=BERLIN), "2024-10-26T23:50", 8, BERLIN) == [
        "2024-10-27T02:00+02:00",
        "2024-10-27T02:20+02:00",
        "2024-10-27T02:40+02:00",
        "2024-10-27T02:00+01:00",
        "2024-10-27T02:20+01:00",
        "2024-10-27T02:40+01:00",
        "2024-10-27T03:00+01:00",
        "2024-10-27T03:20+01:00",
    ]


@pytest.mark.parametrize("text", ["*/30 * * * sat", "*/30 * 6 4 *", "*/30 * 6 4 * 2024"])
def test_a_doubled_hour_at_the_end_of_the_last_day_that_matches_is_gone_through(text: str) -> None:
    # In Chile clocks go back from midnight: the day that ends has its last hour twice.
    santiago = ZoneInfo("America/Santiago")
    assert days(Cron(text, timezone=santiago), "2024-04-07T02:15", 3, santiago) == [
        "2024-04-06T23:30-03:00",
        "2024-04-06T23:00-04:00",
        "2024-04-06T23:30-04:00",
    ]


@pytest.mark.parametrize("now", ["2024-11-02T23:45-04:00", "2024-11-03T00:45-04:00", "2024-11-03T00:45-05:00"])
def test_from_one_doubled_hour_to_the_next_is_to_its_first_time(now: str) -> None:
    havana = ZoneInfo("America/Havana")
    assert days(Cron("30 * 3 11 * 2030", timezone=havana), now, 3, havana) == [
        "2030-11-03T00:30-04:00",
        "2030-11-03T00:30-05:00",
        "2030-11-03T01:30-05:00",
    ]


@pytest.mark.parametrize("text", ["@hourly", "*/10 * * * *", "59 * * * *", "* * * * *"])
@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, ZoneInfo("Australia/Lord_Howe")], ids=str)
@pytest.mark.parametrize("around", ["2024-10-27T00:00", "2024-11-03T05:00", "2024-04-06T14:00"])
def test_an_expression_of_every_hour_has_the_minutes_that_clocks_show(text: str, zone: ZoneInfo, around: str) -> None:
    start = instant(f"{around}+00:00")
    cron, expected = Cron(text, timezone=zone), CronTab(text)
    slots, slot = [], start
    while slot < start + 4 * 3600:
        slot = cron.first(slot)
        slots.append(slot)

    minutes = [start + 60 * number for number in range(1, 5 * 60)]
    on_clocks = [at for at in minutes if expected.test(datetime.fromtimestamp(at, zone).replace(tzinfo=None))]
    assert slots == on_clocks[: len(slots)]


@pytest.mark.parametrize(
    ("now", "following"),
    [
        ("2024-10-27T02:00+01:00", "2024-10-27T02:20+01:00"),
        ("2024-10-27T02:10+01:00", "2024-10-27T02:20+01:00"),
        ("2024-10-27T02:59+01:00", "2024-10-27T03:00+01:00"),
    ],
)
def test_who_registers_in_the_second_of_two_hours_gets_its_next_slot(now: str, following: str) -> None:
    assert shown(Cron("*/20 * * * *", timezone=BERLIN).first(instant(now)), BERLIN) == following


def test_the_first_instant_after_the_second_of_two_hours_is_no_later_than_its_slot() -> None:
    # 02:59:59 in the second hour, and the very next second is a slot.
    now = instant("2024-10-27T03:00+01:00") - 1
    assert Cron("0 3 * * *", timezone=BERLIN).first(now) == now + 1


def test_a_day_that_a_zone_left_out_is_made_up_for_right_after() -> None:
    # Samoa crossed the date line: the 30th of December 2011 did not take place there.
    apia = ZoneInfo("Pacific/Apia")
    assert days(Cron("0 5 * * *", timezone=apia), "2011-12-29T12:00", 3, apia) == [
        "2011-12-29T05:00-10:00",
        "2011-12-31T00:00+14:00",
        "2011-12-31T05:00+14:00",
    ]


@settings(deadline=None)
@given(EXPRESSIONS, st.sampled_from([BERLIN, NEW_YORK]), INSTANTS)
# 01:59 for the first time, on the day when it comes twice.
@example("* * * * *", NEW_YORK, 2_709_179_940.0)
@example("*/20 30 1,2,3 * * * *", NEW_YORK, 2_709_179_940.0)
def test_a_slot_is_when_clocks_show_it_and_the_second_time_only_for_every_hour(
    text: str, zone: ZoneInfo, start: float
) -> None:
    slot = Cron(text, timezone=zone).first(start)
    moment, before = datetime.fromtimestamp(slot, zone), datetime.fromtimestamp(slot - 1, zone)
    after_a_gap = offset(moment) > offset(before)
    assert after_a_gap or CronTab(text).test(moment)
    assert moment.fold == 0 or text in EVERY_HOUR


# ---- what is taken, refused and shown


def test_a_crontab_object_counts_by_its_expression() -> None:
    table = CronTab("0 5 * * mon")
    assert Cron(table) == Cron("0 5 * * mon")
    assert Cron(CronTab("17 0 5 * * mon *")).text == "17 0 5 * * mon *"
    assert Cron(CronTab("0 5 * * mon 2030")).text == "0 5 * * mon 2030"
    looped = CronTab("50-10/5 * * * *", loop=True)  # what the text alone would refuse
    assert Cron(looped).first(600) == 600 + looped.next(now=datetime(1970, 1, 1, 0, 10), default_utc=True)


def test_a_cron_keeps_its_options_and_takes_more() -> None:
    given_one = Cron("0 5 * * *", timezone="Europe/Berlin")
    assert Cron(given_one) == given_one
    assert Cron(given_one, never_skip=True) == Cron("0 5 * * *", never_skip=True, timezone="Europe/Berlin")
    assert Cron(Cron("0 5 * * *", never_skip=True), timezone="UTC") == Cron("0 5 * * *", never_skip=True)


@pytest.mark.parametrize("zone", [None, "UTC", timezone.utc, ZoneInfo("UTC")])
def test_utc_is_utc_however_it_is_written(zone: Any) -> None:
    assert Cron("@daily", timezone=zone) == Cron("@daily")
    assert Cron("@daily", timezone=zone).describe() == "cron @daily (UTC)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected five fields"),
        ("1 2 3", "expected five fields"),
        ("a b c d e", "expected five fields"),
        ("60 * * * *", "out of range"),
        ("0 30 5 * * *", "a sixth for the year"),
        ("*/x * * * *", "expected five fields"),
        ("1/2/3 * * * *", "expected five fields"),
        ("5-3 * * * *", "start value 5 > end value 3"),
        ("@reboot", "call the task when your program starts"),
        ("@dayly", r"did you mean '@daily'\?"),
        ("0 0 30 2 *", "expected one that matches before 2100"),
        ("0 0 31 4,6 *", "expected one that matches before 2100"),
        (CronTab("* * * * *", random_seconds=True), "expected the same seconds on every worker"),
    ],
)
def test_expressions_that_cannot_be_used_are_refused(text: Any, says: str) -> None:
    with pytest.raises(RefusedSchedule, match=says) as refused:
        Cron(text)
    assert "got" in str(refused.value)


@settings(max_examples=50, deadline=None)
@given(st.text(st.sampled_from("0123456789*/-,lzLZ? @mondayjanx"), max_size=20) | st.text(max_size=20))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        schedule = Cron(text)
    except RefusedSchedule:
        return
    assert schedule.first(0.0) > 0


@pytest.mark.parametrize("text", [5, None, b"* * * * *", Every(5)])
def test_what_is_no_expression_at_all_is_refused(text: Any) -> None:
    with pytest.raises(WrongType, match="expected str, CronTab or Cron, got"):
        Cron(text)


@pytest.mark.parametrize("zone", ["Europe/Berlyn", "Europe", "", "../etc/passwd", "a\0b"])
def test_unknown_zones_are_refused(zone: str) -> None:
    with pytest.raises(RefusedSchedule, match="timezone: expected a name like 'Europe/Berlin', got"):
        Cron("@daily", timezone=zone)


def test_the_nearest_zone_is_named() -> None:
    with pytest.raises(RefusedSchedule, match="did you mean 'Europe/Berlin'"):
        Cron("@daily", timezone="Europe/Berlyn")


def test_a_zone_that_is_no_zone_is_refused() -> None:
    with pytest.raises(WrongType, match=r"timezone: expected .*, got 2"):
        Cron("@daily", timezone=2)  # type: ignore[arg-type]


def test_the_crontab_package_is_never_made_to_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Cron("* * * * *").first(0)
        Cron("* * * * *", timezone=BERLIN).first(0)


@pytest.mark.parametrize(
    ("schedule", "text", "described"),
    [
        (Every(25), "Every(25)", "every 25 s"),
        (Every(0.5, never_skip=True), "Every(0.5, never_skip=True)", "every 0.5 s, never skips"),
        (Every(1_000_001), "Every(1000001)", "every 1000001 s"),
        (Every(0), "Every(0)", "all the time"),
        (Cron("0 5 * * *"), "Cron('0 5 * * *')", "cron 0 5 * * * (UTC)"),
        (
            Cron("0 5 * * *", True, "Europe/Berlin"),
            "Cron('0 5 * * *', never_skip=True, timezone='Europe/Berlin')",
            "cron 0 5 * * * (Europe/Berlin), never skips",
        ),
    ],
    ids=str,
)
def test_schedules_say_what_they_are_and_can_be_made_again(schedule: Schedule, text: str, described: str) -> None:
    assert repr(schedule) == text
    assert schedule.describe() == described
    assert eval(text) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert isinstance(schedule, Schedule)
