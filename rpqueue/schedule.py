"""
When recurring tasks are due: `Every` so many seconds, or by a `Cron` expression.

Schedules are plain values that read no clock. Every instant is seconds since the epoch by Redis's clock, and comes as
an argument. `first` gives the first slot of a schedule that was registered *now*; `after` gives the slot that follows
one which is being fired *now*. With ``never_skip`` that is the very next one, even if it is past too; otherwise slots
that were missed are left out.

Daylight saving, for a `Cron` with a time zone: where clocks go forward, slots in the skipped hour are due once, all
together, at the first instant after the gap. Where clocks go back, a slot in the doubled hour is due once, the first
time that the clock shows it; but an expression of every hour (``*`` or ``*/n``) goes on through both, as cron(8) does.
"""

from __future__ import annotations

import datetime
import math
import re
import zoneinfo
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

from crontab import CronTab

from .errors import RefusedSchedule, WrongType, did_you_mean
from .messages import seconds

__all__ = ["NEVER", "Cron", "CronTab", "Every", "Schedule"]

#: The slot after the last one: the year 9999, which can be stored, compared and shown like any other instant.
NEVER = 253_370_764_800.0

ALIASES = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly")
FIELDS = (
    "five fields 'minute hour day month weekday' like '0 5 * * mon', a sixth for the year after them, "
    "a seventh for the second in front of all, or one of " + " ".join(ALIASES)
)

#: A time zone as users may give it.
Zone = str | zoneinfo.ZoneInfo | datetime.timezone | None

_DAY = 86_400
_UTC = datetime.timezone.utc
# One second before the first year that the crontab package knows.
_BEFORE_ALL = datetime.datetime(1969, 12, 31, 23, 59, 59)


@runtime_checkable
class Schedule(Protocol):
    """What tells the slots of a recurring task. Users may bring their own; it must keep no state and read no clock."""

    @property
    def never_skip(self) -> bool:
        """Whether slots that were missed are made up for, one after the other."""

    def first(self, now: float) -> float:
        """The first slot of a schedule that was registered *now*; `NEVER` when there is none."""

    def after(self, slot: float, now: float) -> float:
        """The slot that follows *slot*, which is being fired *now*; `NEVER` when there is none."""

    def describe(self) -> str:
        """A few words for tables."""


@dataclass(frozen=True, repr=False)
class Every:
    """
    A slot every *interval* seconds.

    Args:
        interval: int, float or timedelta; 0 is due all the time. Instants are stored in milliseconds, so there is
            nothing between 0 and 0.001.
        never_skip: where a run was late, count from the slot instead of from the run.
    """

    interval: float
    never_skip: bool = False

    def __post_init__(self) -> None:
        interval = seconds(self.interval, "interval")
        if 0 < interval < 0.001:
            raise RefusedSchedule(f"interval: expected 0 or at least 0.001 seconds, got {self.interval!r}")
        object.__setattr__(self, "interval", interval)

    def first(self, now: float) -> float:
        """One interval from *now*."""
        return now + self.interval

    def after(self, slot: float, now: float) -> float:
        """
        One interval from *now*, or with never_skip from *slot*. *now* if the interval is 0.

        Of ``Every(60)``, the slot 4:15:05 fired at 4:25:13 is followed by 4:26:13, and with never_skip by 4:16:05.
        """
        return slot + self.interval if self.never_skip and self.interval else now + self.interval

    def describe(self) -> str:
        """``every 25 s``."""
        text = f"every {_number(self.interval)} s" if self.interval else "all the time"
        return text + _skips(self.never_skip)

    def __repr__(self) -> str:
        return f"Every({_number(self.interval)}{', never_skip=True' if self.never_skip else ''})"


@dataclass(frozen=True, init=False, repr=False)
class Cron:
    """
    Slots by a cron expression, as the `crontab` package reads it.

    Unlike in cron(8), day and weekday must both match where both are given. ``L`` is the last day of a month, ``L5``
    (weekday) its last Friday, ``Z2`` the second day before its last. Years end with 2099.

    Args:
        text: the expression; or a CronTab or another Cron, whose expression it then is.
        never_skip: fire slots that were missed, one after the other.
        timezone: a name like "Europe/Berlin", a ZoneInfo or a datetime.timezone; None is UTC. (rpqueue 0.33 went by the
            local time of whichever machine the worker ran on, so two workers could disagree.)

    Raises:
        RefusedSchedule: the expression cannot be read or matches no instant ever, or the zone is unknown.
    """

    text: str
    never_skip: bool
    timezone: zoneinfo.ZoneInfo | datetime.timezone | None
    _table: Any = field(compare=False)

    def __init__(self, text: str | CronTab | Cron, never_skip: bool = False, timezone: Zone = None) -> None:
        if isinstance(text, Cron):
            # Its own options hold; those that are given beside it come on top.
            never_skip = never_skip or text.never_skip
            timezone = text.timezone if timezone is None else timezone
            expression, table = text.text, text._table
        elif isinstance(text, CronTab):
            expression, table = _text_of(text), text
        elif isinstance(text, str):
            expression, table = text.strip(), _parse(text)
        else:
            raise WrongType(f"cron expression: expected str, CronTab or Cron, got {text!r}")
        if _next_match(table, _BEFORE_ALL) is None:
            raise RefusedSchedule(f"cron expression: expected one that matches before 2100, got {expression!r}")
        values = {"text": expression, "never_skip": never_skip, "timezone": _zone_of(timezone), "_table": table}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def first(self, now: float) -> float:
        """The first slot later than *now*."""
        return self._next(now)

    def after(self, slot: float, now: float) -> float:
        """The first slot later than *slot* and *now*, or with never_skip later than *slot*."""
        # A slot that is fired before its time must not be followed by itself, or it would be fired again.
        return self._next(slot if self.never_skip else max(slot, now))

    def describe(self) -> str:
        """``cron 0 5 * * mon (Europe/Berlin)``."""
        return f"cron {self.text} ({self.timezone or 'UTC'})" + _skips(self.never_skip)

    def __repr__(self) -> str:
        zone = f", timezone={str(self.timezone)!r}" if self.timezone else ""
        return f"Cron({self.text!r}{', never_skip=True' if self.never_skip else ''}{zone})"

    def _next(self, instant: float) -> float:
        """The first slot later than *instant*."""
        zone = self.timezone or _UTC
        if instant >= NEVER:
            return NEVER
        # Slots are whole seconds: none lies between an instant and its whole second. Rounding it up would miss one.
        try:
            shown = datetime.datetime.fromtimestamp(math.floor(instant), zone)
        except (OverflowError, ValueError, OSError):  # outside of the years that datetime has
            return NEVER
        wall = shown.replace(tzinfo=None, fold=0)
        while True:
            match = _next_match(self._table, wall)
            slot = NEVER if match is None else _instant(match, zone)
            if again := self._in_doubled_hour(instant, max(slot, instant), zone):
                return again
            if match is None or slot > instant:  # else clocks show it for the second time, and it was due the first
                return slot
            wall = match

    def _in_doubled_hour(self, instant: float, slot: float, zone: datetime.tzinfo) -> float | None:
        """
        For an expression of every hour, its first slot within a time that clocks show again, if there is one.

        "At 2:30" is meant once a day, "every 10 minutes" also while clocks repeat an hour; so cron(8) takes it, too.
        """
        start = math.floor(instant)
        if not self._is_hourly:
            return None
        soon = instant + _DAY  # what clocks show again, they showed less than a day ago
        shown = datetime.datetime.fromtimestamp(start, zone)
        if not shown.fold:
            end = math.ceil(min(slot, soon))
            if _offset(zone, end) >= _offset(zone, start):
                return None
            start = _change(zone, start, end) - 1
            shown = datetime.datetime.fromtimestamp(start + 1, zone) - datetime.timedelta(seconds=1)
        match = _next_match(self._table, shown.replace(tzinfo=None, fold=0))
        if match is None:
            return None
        again = start + (match - shown.replace(tzinfo=None, fold=0)).total_seconds()
        return again if instant < again < soon and match.replace(tzinfo=zone, fold=1).timestamp() == again else None

    @property
    def _is_hourly(self) -> bool:
        """Whether the hour is ``*`` or ``*/n``."""
        return str(self._table.matchers.hour.input).startswith("*")


def _number(interval: float) -> str:
    return str(int(interval)) if interval.is_integer() else repr(interval)


def _skips(never_skip: bool) -> str:
    return ", never skips" if never_skip else ""


def _parse(text: str) -> Any:
    word = text.strip().lower()
    if word.startswith("@") and word not in ALIASES:
        hint = "call the task when your program starts" if word == "@reboot" else f"expected {FIELDS}"
        raise RefusedSchedule(f"cron expression: got {text!r}; {hint}{did_you_mean(word, ALIASES)}")
    try:
        return CronTab(word)
    except ValueError as error:
        # int() and tuple unpacking fail inside of the package, too; their texts would say nothing to a user.
        known = re.match(r"invalid literal|too many values|not enough values", str(error)) is None
        reason = f" ({error})" if known else ""
        raise RefusedSchedule(f"cron expression: expected {FIELDS}; got {text!r}{reason}") from error


def _text_of(table: Any) -> str:
    if table.rs:
        raise RefusedSchedule(
            "cron expression: expected the same seconds on every worker, got a CronTab with random_seconds=True; "
            "write the second in front of all: '17 0 5 * * * *'"
        )
    words = [matcher.input for matcher in table.matchers]
    if words[0] == "0":
        words = words[1:] if words[-1] != "*" else words[1:-1]
    return " ".join(words)


def _zone_of(timezone: object) -> zoneinfo.ZoneInfo | datetime.timezone | None:
    """The zone, None for UTC, so that schedules are equal however UTC was written."""
    zone = timezone
    if isinstance(timezone, str):
        try:
            zone = zoneinfo.ZoneInfo(timezone)
        except (KeyError, ValueError, OSError) as error:  # not found, no relative path, a folder of zones
            known = zoneinfo.available_timezones()
            hint = did_you_mean(timezone, known) if known else "; this machine has no time zones: pip install tzdata"
            raise RefusedSchedule(f"timezone: expected a name like 'Europe/Berlin', got {timezone!r}{hint}") from error
    if zone is None or zone == _UTC or str(zone) == "UTC":
        return None
    if isinstance(zone, (zoneinfo.ZoneInfo, datetime.timezone)):
        return zone
    raise WrongType(f"timezone: expected a name like 'Europe/Berlin', a ZoneInfo or None for UTC, got {timezone!r}")


def _next_match(table: Any, wall: datetime.datetime) -> datetime.datetime | None:
    """The first time later than *wall* that the expression matches on a clock that is never changed; None: no more."""
    delay = table.next(now=wall, default_utc=True)  # default_utc changes nothing for such times, and stops a warning
    return None if delay is None else wall + datetime.timedelta(seconds=delay)


def _offset(zone: datetime.tzinfo, instant: int) -> datetime.timedelta:
    return cast("datetime.timedelta", datetime.datetime.fromtimestamp(instant, zone).utcoffset())


def _change(zone: datetime.tzinfo, low: int, high: int) -> int:
    """The first second, later than *low* and up to *high*, at which the clocks of *zone* have been changed."""
    before = _offset(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high


def _instant(wall: datetime.datetime, zone: datetime.tzinfo) -> float:
    """When the clocks of *zone* first show *wall*; where they never do, when they first show more."""
    shown = wall.replace(tzinfo=zone)
    instant, other = shown.timestamp(), shown.replace(fold=1).timestamp()
    # Of a time that clocks skip, Python makes an instant after the change, and one before it with fold=1.
    return float(_change(zone, int(other), int(instant))) if other < instant else instant
