"""Monitors: check-ins of recurring tasks with Sentry's Crons."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import math
import re
import time
from collections.abc import Iterator
from typing import Any

from sentry_sdk.crons import capture_checkin

from ...current import RunningTask
from ...schedule import Cron, Every
from ...tasks import Task

#: The longest slug that Sentry takes.
LONGEST_SLUG = 50
_ONE = r"\d+|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat"
#: What both read in the same way: ``*``, ``*/n``, a number or a name, and a range of those.
_PART = re.compile(rf"\*(/\d+)?|({_ONE})(-({_ONE})(/\d+)?)?")
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))

Wanted = bool | dict[str, dict[str, Any]]


@contextlib.contextmanager
def checking_in(run: RunningTask, wanted: Wanted) -> Iterator[None]:
    """Check in before and after a run that a schedule has enqueued, if it is to."""
    config: Any = _config_of(run, wanted)
    if config is None:
        yield
        return
    began = time.monotonic()
    slug, its_id = slug_of(run.task.name), _id_of(run)
    capture_checkin(slug, its_id, "in_progress", monitor_config=config)
    status = "error"
    try:
        yield
        status = "ok"
    finally:
        capture_checkin(slug, its_id, status, time.monotonic() - began, config)


def failed(run: RunningTask, wanted: Wanted) -> None:
    """Say of a run that has checked in, and could not say so itself, that it failed."""
    config: Any = _config_of(run, wanted)
    if config is not None:
        capture_checkin(slug_of(run.task.name), _id_of(run), "error", monitor_config=config)


def slug_of(name: str) -> str:
    """The slug of a task's monitor: small letters, digits, - and _, at most 50 of them."""
    slug = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")
    if len(slug) > LONGEST_SLUG or not slug or slug.isdigit():
        mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        slug = f"{slug[: LONGEST_SLUG - 9]}-{mark}".lstrip("-")
    return slug


def config_of(task: Task[..., Any]) -> dict[str, Any] | None:
    """What Sentry is told of a task's schedule; None: it cannot express it, or there is none."""
    schedule = task.schedule
    if isinstance(schedule, Every):
        told = _every(schedule.interval)
    elif isinstance(schedule, Cron):
        told = _cron(schedule)
    else:
        return None
    if told is not None:
        most = task.hard_timeout or task.vis_timeout
        if most:
            told["max_runtime"] = max(math.ceil(most / 60), 1)
        if task.recurrence is not None and task.recurrence.jitter:
            told["checkin_margin"] = 1 + math.ceil(task.recurrence.jitter / 60)
    return told


def _config_of(run: RunningTask, wanted: Wanted) -> dict[str, Any] | None:
    """What Sentry is told of the monitor of a run; None: it has none."""
    task = run.task
    # What somebody has enqueued by hand says nothing about the schedule.
    if task.schedule is None or re.fullmatch(re.escape(task.name) + r"@\d+", run.id) is None:
        return None
    if wanted is True:
        return config_of(task)
    if not wanted or task.name not in wanted:
        return None
    return {**(config_of(task) or {}), **wanted[task.name]} or None


def _id_of(run: RunningTask) -> str:
    """The id of a run's check-in, which whoever hears of its end can tell, too."""
    return hashlib.sha256(f"{run.id} {run.attempt} {run.token}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _every(interval: float) -> dict[str, Any] | None:
    for unit, seconds in _UNITS:
        if interval >= seconds and interval % seconds == 0:
            return {"schedule": {"type": "interval", "value": int(interval // seconds), "unit": unit}}
    return None


def _cron(schedule: Cron) -> dict[str, Any] | None:
    text, zone = schedule.text.lower(), _zone_name(schedule.timezone)
    fields = text.split()
    if zone is None:
        return None
    if not text.startswith("@"):
        # With a day and a weekday, Sentry means either of them and this library both.
        if len(fields) != 5 or "*" not in (fields[2], fields[4]):
            return None
        if not all(_PART.fullmatch(part) for field in fields for part in field.split(",")):
            return None
    return {"schedule": {"type": "crontab", "value": " ".join(fields)}, "timezone": zone}


def _zone_name(zone: datetime.tzinfo | None) -> str | None:
    return "UTC" if zone is None else getattr(zone, "key", None)
