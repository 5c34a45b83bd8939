"""Instants as people say them."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from .errors import RefusedInput, WrongType

#: An instant: a datetime, which is in UTC when it has no time zone; epoch seconds; or a timedelta from now.
When = datetime | timedelta | float

#: Numbers that are taken for epoch seconds: from 1973 on, so that a number of seconds from now is told apart from them.
FIRST_EPOCH = 1e8
#: Instants have 13 digits of milliseconds: up to the year 2286.
LAST_EPOCH = 9_999_999_999.0


class Moment(NamedTuple):
    """An instant."""

    seconds: float  #: since the epoch; or from now on, by whichever clock is asked
    from_now: bool

    def epoch(self) -> float:
        """Epoch seconds, by this machine's clock where it is from now on."""
        return self.seconds + time.time() if self.from_now else self.seconds


def moment(when: When, what: str) -> Moment:
    """*when* as a Moment. What has gone by is as good as what comes."""
    if isinstance(when, timedelta):
        return Moment(_within(when.total_seconds(), -LAST_EPOCH, when, what), True)
    if isinstance(when, datetime):
        aware = when if when.tzinfo is not None else when.replace(tzinfo=timezone.utc)
        # timestamp() of the first and last years would overflow in some time zones.
        seconds = (aware - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()
        return Moment(_within(seconds, 0, when, what), False)
    if isinstance(when, bool) or not isinstance(when, (int, float)):
        raise WrongType(f"{what}: expected a datetime, epoch seconds or a timedelta from now, got {when!r}")
    if when < FIRST_EPOCH:
        raise RefusedInput(
            f"{what}: expected epoch seconds, got {when!r}; for seconds from now say timedelta(seconds={when!r})"
        )
    return Moment(_within(float(when), 0, when, what), False)


def _within(seconds: float, least: float, when: object, what: str) -> float:
    if not least <= seconds <= LAST_EPOCH:
        raise RefusedInput(f"{what}: expected an instant from 1970 to 2286, got {when!r}")
    return seconds
