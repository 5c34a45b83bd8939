"""
More schedules: `periodic` intervals that keep their phase, dates between which one holds, functions that tell the next.

The names and what they mean are TaskTiger's, whose tasks take them as ``schedule=``.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import RefusedSchedule, WrongType
from .instants import datetime_of, instant
from .messages import seconds
from .schedule import NEVER, Cron, Schedule, Zone

#: A date as users give it: a datetime, UTC without a time zone; or epoch seconds.
Date = datetime.datetime | float
#: Where periods are counted from when nothing else is said: 2000-01-01T00:00Z, a Saturday.
START = 946_684_800.0


@dataclass(frozen=True, repr=False)
class Period:
    """
    A slot every *interval* seconds, counted from *start*, whenever workers start.

    Args:
        interval: seconds, 0.001 at least.
        start: epoch seconds; of one of the slots, the first one unless it lies far back.
    """

    interval: float
    start: float = START
    never_skip: bool = False

    def __post_init__(self) -> None:
        if not 0.001 <= self.interval <= 1e10:
            raise RefusedSchedule(f"interval: expected 0.001 seconds at least, got {self.interval!r}")

    def first(self, now: float) -> float:
        """The first slot later than *now*."""
        if now < self.start:
            return self.start
        return self.start + self.interval * (math.floor((now - self.start) / self.interval) + 1)

    def after(self, slot: float, now: float) -> float:
        """The first slot later than *slot* and *now*."""
        following = self.first(max(slot, now))
        # Of fractions that no float holds, the next one may be this one once more.
        return following if following > slot else slot + self.interval

    def describe(self) -> str:
        """``every 25 s from 2000-01-01T00:00:00+00:00``."""
        return f"every {self.interval:g} s from {datetime_of(self.start).isoformat()}"

    def __repr__(self) -> str:
        return f"Period({self.interval:g}, start={self.start:g})"


@dataclass(frozen=True)
class Between:
    """
    Another schedule, as long as it holds.

    Args:
        schedule: which.
        start: epoch seconds; no slot is earlier.
        end: epoch seconds; no slot is later.
    """

    schedule: Schedule
    start: float = 0.0
    end: float = NEVER

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise RefusedSchedule(
                f"end_date: expected it to be after start_date, {datetime_of(self.start)}, got {datetime_of(self.end)}"
            )

    @property
    def never_skip(self) -> bool:
        """As the other one."""
        return self.schedule.never_skip

    def first(self, now: float) -> float:
        """The first slot later than *now* that it holds for."""
        return self._held(self.schedule.first(max(now, self.start - 0.001)))

    def after(self, slot: float, now: float) -> float:
        """The slot that follows, if it holds for that."""
        return self._held(self.schedule.after(slot, now))

    def describe(self) -> str:
        """The other one's words, and the dates."""
        since = f", from {datetime_of(self.start).isoformat()}" if self.start else ""
        until = f", until {datetime_of(self.end).isoformat()}" if self.end < NEVER else ""
        return self.schedule.describe() + since + until

    def _held(self, slot: float) -> float:
        return slot if slot <= self.end else NEVER


@dataclass(frozen=True)
class Told:
    """
    Slots that a function tells.

    Args:
        function: takes a datetime, aware, in UTC, and the arguments; returns the next slot as a datetime, or None when
            there is none. It is called on every worker, and has to give the same answer for the same datetime.
        args: more arguments.
    """

    function: Callable[..., datetime.datetime | None]
    args: tuple[Any, ...] = ()
    never_skip: bool = False

    def first(self, now: float) -> float:
        """What the function tells of *now*."""
        return self._ask(now)

    def after(self, slot: float, now: float) -> float:
        """What the function tells of *slot* or *now*, whichever is later."""
        return self._ask(max(slot, now))

    def describe(self) -> str:
        """The function's name."""
        return f"as {getattr(self.function, '__qualname__', repr(self.function))} tells"

    def _ask(self, moment: float) -> float:
        told = self.function(datetime_of(moment), *self.args)
        if told is None:
            return NEVER
        following = instant(told, f"what the schedule {self.describe()[3:-6]} returned")
        if following <= moment:
            raise RefusedSchedule(
                f"schedule {self.describe()}: expected a date later than {datetime_of(moment)}, got {told!r}"
            )
        return following


def periodic(
    seconds: float = 0,
    minutes: float = 0,
    hours: float = 0,
    days: float = 0,
    weeks: float = 0,
    start_date: Date | None = None,
    end_date: Date | None = None,
) -> Schedule:
    """
    Equal intervals that keep their phase, whenever workers start.

    Args:
        seconds: of the interval, which is the sum of these five.
        minutes: see seconds; so are hours, days and weeks.
        hours: see seconds.
        days: see seconds.
        weeks: see seconds.
        start_date: the first slot, and what all others are counted from; None: 2000-01-01T00:00Z, a Saturday. So weeks
            begin on Saturdays unless it says otherwise.
        end_date: no slot is later; None: there is no end.
    """
    interval = datetime.timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days, weeks=weeks)
    if interval.total_seconds() <= 0:
        raise RefusedSchedule(f"periodic(): expected an interval, as in periodic(minutes=5), got {interval}")
    start = START if start_date is None else instant(start_date, "start_date")
    return _bounded(Period(interval.total_seconds(), start), start_date, end_date)


def cron_expr(
    expr: str, start_date: Date | None = None, end_date: Date | None = None, *, timezone: Zone = None
) -> Schedule:
    """
    Slots by a cron expression, see `Cron`.

    Args:
        expr: such as "0 4 * * 0".
        start_date: no slot is earlier; None: any may come.
        end_date: no slot is later; None: there is no end.
        timezone: of the expression, a name or ZoneInfo; None: UTC.
    """
    return _bounded(Cron(expr, timezone=timezone), start_date, end_date)


def _bounded(schedule: Schedule, start_date: Date | None, end_date: Date | None) -> Schedule:
    start = 0.0 if start_date is None else instant(start_date, "start_date")
    end = NEVER if end_date is None else instant(end_date, "end_date")
    return Between(schedule, start, end) if start or end < NEVER else schedule


def schedule_of(value: Any, what: str) -> Schedule:
    """*value* as a schedule: one of ours or a user's own, a function of the present, or a tuple of it and arguments."""
    if isinstance(value, Schedule):
        return value
    if callable(value):
        return Told(value)
    if (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and callable(value[0])
        and isinstance(value[1], (tuple, list))
    ):
        return Told(value[0], tuple(value[1]))
    if isinstance(value, str):
        raise WrongType(f"{what}: expected a schedule, got {value!r}; write cron_expr({value!r})")
    if isinstance(value, (int, float, datetime.timedelta)) and not isinstance(value, bool):
        raise WrongType(f"{what}: expected a schedule, got {value!r}; write periodic(seconds={seconds(value, what):g})")
    raise WrongType(f"{what}: expected periodic(...), cron_expr(...), a function or a Schedule, got {value!r}")
