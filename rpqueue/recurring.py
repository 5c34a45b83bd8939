"""Recurrence: a schedule, and what becomes of slots that were missed, or that come while the last run goes on."""

from __future__ import annotations

from collections import deque
from typing import Any, Literal, NamedTuple, get_args

from .errors import RefusedInput, WrongType, did_you_mean
from .messages import seconds
from .schedule import NEVER, Every, Schedule

Misfire = Literal["skip", "once", "all"]
Overlap = Literal["allow", "queue_one", "skip"]

#: Slots of one schedule that are made up for at most, unless it is said otherwise.
MOST_MISSED = 10_000
#: Slots that are counted to find the ones to make up for. A schedule that missed more is taken up from there.
MOST_COUNTED = 100_000


class Step(NamedTuple):
    """What becomes of a slot that is due."""

    fires: bool
    following: float  #: the slot after it, epoch seconds; NEVER: none


class Recurrence(NamedTuple):
    """When and how a task recurs. See `recurrence_of`."""

    schedule: Schedule
    misfire: Misfire
    misfire_grace: float
    misfire_cap: int
    overlap: Overlap
    jitter: float

    def step(self, slot: float, now: float) -> Step:
        """Whether *slot*, which is due *now*, is fired, and which one follows."""
        if self.misfire == "skip" and now - slot > self.misfire_grace:
            return Step(False, self.schedule.after(slot, now - self.misfire_grace - 0.001))
        if self.misfire != "all":
            return Step(True, self.schedule.after(slot, now))
        following = self._next(slot)
        missed: deque[float] = deque([slot], maxlen=self.misfire_cap)
        at, counted = following, 1
        while at <= now and counted < MOST_COUNTED:
            missed.append(at)
            at, counted = self._next(at), counted + 1
        # Of more than the cap allows, the newest ones are made up for.
        return Step(True, following) if missed[0] == slot else Step(False, missed[0])

    def _next(self, slot: float) -> float:
        """The very next slot, however late it is."""
        following = self.schedule.after(slot, slot)
        return following if following > slot else NEVER


def recurrence_of(
    schedule: Schedule, misfire: Any, misfire_grace: Any, misfire_cap: Any, overlap: Any, jitter: Any, what: str
) -> Recurrence:
    """
    A schedule with its policies.

    Args:
        misfire: what becomes of slots that no worker was there for. "skip": they are left out; "once": of those that
            were missed in a row, one is fired late; "all": each is fired, one after the other. None: "all" for a
            schedule that never skips, else "once".
        misfire_grace: with "skip", seconds by which a slot may be late and is still fired.
        misfire_cap: with "all", how many are fired at most, the newest ones.
        overlap: what becomes of a slot while the last call has not ended. "allow": it is enqueued; "queue_one": unless
            the last one still waits to be started; "skip": it is not. None: "allow" with "all", else "queue_one".
        jitter: seconds; each call waits for a random part of them.
        what: how errors name the task.
    """
    # What is due all the time misses nothing.
    usual = "all" if schedule.never_skip and not is_endless(schedule) else "once"
    chosen: Misfire = _one_of(misfire, usual, Misfire, f"misfire of {what}")
    if type(misfire_cap) is not int or not 1 <= misfire_cap <= MOST_MISSED:
        raise RefusedInput(f"misfire_cap of {what}: expected 1 to {MOST_MISSED}, got {misfire_cap!r}")
    return Recurrence(
        schedule,
        chosen,
        seconds(misfire_grace, f"misfire_grace of {what}"),
        misfire_cap,
        _one_of(overlap, "allow" if chosen == "all" else "queue_one", Overlap, f"overlap of {what}"),
        seconds(jitter, f"jitter of {what}"),
    )


def is_endless(schedule: Schedule) -> bool:
    """Whether it is due again as soon as it was."""
    return isinstance(schedule, Every) and schedule.interval == 0


def _one_of(value: Any, default: str, words: Any, what: str) -> Any:
    if value is None:
        return default
    known = get_args(words)
    if not isinstance(value, str):
        raise WrongType(f"{what}: expected one of {', '.join(known)}, got {value!r}")
    if value not in known:
        raise RefusedInput(f"{what}: expected one of {', '.join(known)}, got {value!r}{did_you_mean(value, known)}")
    return value
