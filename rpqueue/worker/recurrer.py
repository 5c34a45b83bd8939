"""Recurrer: fires recurring tasks when their slot comes."""

from __future__ import annotations

import logging
import random
from typing import Any, Protocol

from ..broker import Broker
from ..protocol.schedules import fire, next_slot
from ..recurring import Recurrence, is_endless
from ..schedule import Schedule
from ..system import System
from ..tasks import Task

log = logging.getLogger("rpqueue.worker")

#: Seconds after which the registry is looked through again for recurring tasks.
LOOK_AGAIN = 1.0
#: Seconds until the first look, when no round has told Redis's clock yet.
FIRST_LOOK = 0.05
#: Seconds between two firings of a task that is due all the time.
ENDLESS_PAUSE = 0.02
#: Seconds by which a stored slot may lie after the one that the schedule has next.
LEEWAY = 2.0
#: Slots of one schedule that one tick fires at most: a schedule that makes up for a day must not stop the others.
MOST_SLOTS = 20


class Time(Protocol):
    """What tells Redis's clock, as a Fetcher does."""

    @property
    def knows_time(self) -> bool:
        """Whether it was told."""

    def now(self) -> float:
        """Epoch seconds."""


class Recurrer:
    """
    Fires the recurring tasks that this process knows. Every worker has one; a compare-and-set on the slot lets one win.

    Args:
        system: registry and keys.
        broker: carries what is said to Redis.
        fetcher: tells Redis's clock.
        queues: of this worker; None: all.
        early: whether to fire slots that have not come by Redis's own clock.
    """

    def __init__(
        self, system: System, broker: Broker, fetcher: Time, queues: list[str] | None, early: bool = False
    ) -> None:
        self.system = system
        self.broker = broker
        self._fetcher = fetcher
        self._early = early
        self._queues = None if queues is None else set(queues)
        self._slots: dict[str, int] = {}  #: task name -> next slot, ms

    def tick(self) -> float:
        """Fire what is due; returns the seconds until the next slot."""
        if not self._fetcher.knows_time:
            return FIRST_LOOK
        wait = LOOK_AGAIN
        for task in dict.fromkeys(self.system.settings.registry.values()):  # one task may have two names
            if task.schedule is not None and (self._queues is None or task.queue in self._queues):
                wait = min(wait, self._tend(task))
        return max(wait, 0.0)

    def _tend(self, task: Task[..., Any]) -> float:
        for _ in range(MOST_SLOTS):
            slot = self._slots.get(task.name) or self._begin(task)
            left = slot / 1000 - self._fetcher.now()
            if left > 0:
                return left
            self._fire(task, slot)
            if is_endless(task.schedule):  # type: ignore[arg-type]
                return ENDLESS_PAUSE
        return 0.0

    def _begin(self, task: Task[..., Any]) -> int:
        """The schedule's next slot, set now if it never had one, or if the schedule was another one then."""
        keys, broker = self.system.task_keys(task.queue), self.broker
        schedule: Schedule = task.schedule  # type: ignore[assignment]
        slot = broker.execute(next_slot(keys, task.name))
        # Some seconds on, so that a slot which another worker fires this moment does not seem to be still to come.
        latest = _ms(schedule.first(self._fetcher.now() + LEEWAY))
        if slot is None or slot > latest:
            first = latest if slot else _ms(schedule.first(self._fetcher.now()))
            slot = broker.execute(fire(keys, self.system.index, task.name, slot, first, early=True)).slot or first
        self._slots[task.name] = slot
        return slot

    def _fire(self, task: Task[..., Any], slot: int) -> None:
        recurrence: Recurrence = task.recurrence  # type: ignore[assignment]
        keys = self.system.task_keys(task.queue)
        step = recurrence.step(slot / 1000, self._fetcher.now())
        delay = random.uniform(0, recurrence.jitter)
        fired = self.broker.execute(
            fire(
                keys,
                self.system.index,
                task.name,
                slot,
                max(_ms(step.following), slot + 1),
                body=task.slot_body(keys, slot) if step.fires else b"",
                tail=task.header_tail(delayed=delay > 0),
                early=self._early,
                overlap=recurrence.overlap,
                delay=delay,
            )
        )
        # Another worker may have won the slot, Redis's clock may be a little behind our idea of it, or the schedule may
        # have been deleted with its queue.
        self._slots[task.name] = fired.slot or 0
        if fired.won:
            what = "recurring task fired" if step.fires else "missed slots of a recurring task skipped"
            log.debug(what, extra={"task": task.name, "queue": task.queue, "slot": slot / 1000})


def _ms(instant: float) -> int:
    return round(instant * 1000)
