"""Instants as users write them."""

from __future__ import annotations

import datetime
from typing import Any

from .errors import RefusedInput, WrongType

#: The year 9999, after which nothing comes.
LATEST = 253_370_764_800.0


def instant(value: Any, what: str) -> float:
    """
    *value* as seconds since the epoch.

    Args:
        value: a datetime, which is taken as UTC when it has no time zone, as TaskTiger takes it; or seconds.
        what: how errors name it.
    """
    if isinstance(value, datetime.datetime):
        aware = value.replace(tzinfo=datetime.timezone.utc) if value.tzinfo is None else value
        return aware.timestamp()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongType(
            f"{what}: expected a datetime, which is UTC without a time zone, or epoch seconds, got {value!r}"
        )
    if not 0 <= value <= LATEST:
        raise RefusedInput(f"{what}: expected an instant between 1970 and 9999, got {value!r}")
    return float(value)


def datetime_of(seconds: float) -> datetime.datetime:
    """An instant as an aware datetime in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
