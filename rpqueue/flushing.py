"""
Flushing: wait until the tasks that are in the queues now have started, or are over.

A flush notes which messages wait and run at its beginning, asks what became of them whenever a worker has news, and
never calls a task done that may not have run. Redis alone cannot tell a running task from one that a worker claimed a
moment ahead of running it; but what is claimed and cannot start soon is given back. So a task counts as started once
it has been held under one lease for `SETTLED` seconds, or is over.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from .keys import QueueKeys, text_of
from .messages import seconds
from .protocol import schedules, views
from .protocol.operation import Flow, Watch, as_is, command
from .protocol.views import BATCH, OVER, WAITS
from .system import System

if TYPE_CHECKING:
    from collections.abc import Callable

    from .tasks import Task

log = logging.getLogger("rpqueue.flush")

#: Seconds under one lease after which a task has surely begun to run: many times what a worker claims ahead.
SETTLED = 0.25
#: Seconds after which all messages are looked at again, whatever news came or did not come.
LOOK_AGAIN = 1.0
#: Longest wait, in seconds: what a timeout of None means.
FOR_EVER = 2.0**32

#: Ids that a schedule gives its messages.
_FIRED = re.compile(r"(?s)(.+)@\d+")


class Flushed(NamedTuple):
    """What a flush saw of the tasks that it waited for: their ids, in the order of their queues."""

    done: list[str]
    started: list[str]
    waiting: list[str]


@dataclass
class Mark:
    """What a flush knows of one message."""

    was_running: bool = False  #: it was leased at the beginning, and is not to be waited for if it was running
    answer: int = WAITS  #: what `views.progress` said last
    since: float = 0.0  #: by the monotonic clock, when that was first said
    verdict: str = "waiting"  #: or "started", "done", "ignored"


@dataclass
class Ledger:
    """The messages that a flush waits for."""

    complete: bool
    marks: dict[QueueKeys, dict[str, Mark]] = field(default_factory=dict)
    pending: dict[QueueKeys, list[str]] = field(default_factory=dict)

    def note(self, keys: QueueKeys, message_id: str, answer: int, now: float) -> None:
        """Take in what Redis says of a message."""
        mark = self.marks[keys][message_id]
        if answer != mark.answer:
            mark.answer, mark.since = answer, now
        ended = "ignored" if mark.was_running else "done"
        if answer == OVER:
            mark.verdict = "done"
        elif answer == WAITS:
            # Also: it was claimed ahead and given back, so it was not running at the beginning either.
            mark.was_running, mark.verdict = False, "waiting"
        elif answer > 0 and now - mark.since < SETTLED:
            mark.verdict = "started" if self.complete and not mark.was_running else "waiting"
        elif mark.was_running or not self.complete:
            mark.verdict = ended
        else:
            mark.verdict = "started" if answer > 0 else "waiting"

    def settle(self, keys: QueueKeys) -> None:
        """Take what has its last verdict off the list of one queue."""
        marks = self.marks[keys]
        left = [message_id for message_id in self.pending[keys] if marks[message_id].verdict in ("waiting", "started")]
        if left:
            self.pending[keys] = left
        else:
            del self.pending[keys]

    def soonest(self, now: float) -> float:
        """Seconds until a message under a fresh lease may count as started."""
        waits = (
            mark.since + SETTLED - now
            for keys, ids in self.pending.items()
            for mark in (self.marks[keys][message_id] for message_id in ids)
            if mark.answer > 0 and (mark.was_running or not self.complete)
        )
        return min(waits, default=math.inf)

    def count(self) -> int:
        """How many messages have no last verdict."""
        return sum(map(len, self.pending.values()))

    def total(self) -> int:
        """How many messages there were."""
        return sum(map(len, self.marks.values()))

    def flushed(self) -> Flushed:
        """The lists to return."""
        lists: dict[str, list[str]] = {"done": [], "started": [], "waiting": [], "ignored": []}
        for marks in self.marks.values():
            for message_id, mark in marks.items():
                # At a timeout it is open whether this one had been running before; then it was never asked about.
                lists["ignored" if mark.was_running and mark.verdict == "waiting" else mark.verdict].append(message_id)
        return Flushed(lists["done"], lists["started"], lists["waiting"])


class Flushing(System):
    """An App's verb for waiting until queues have been worked off."""

    def flush_tasks(
        self,
        complete: bool = False,
        force_delayed: bool = False,
        wait_on_hidden: bool = False,
        timeout: float | None = None,
        log_every: float = 0,
    ) -> Flushed:
        """
        Wait for the tasks that are ready now, in all queues, to start; or to be over.

        A task is over when it has run, was given up (failed, dead or lost) or cancelled. One that fails and has further
        deliveries is over after the last of them. Tasks that are scheduled for later are not waited for, nor are those
        that recurring schedules enqueued.

        Args:
            complete: whether to wait until tasks are over; else it is enough that they have started.
            force_delayed: whether to make all scheduled tasks ready now and wait for them, too, and to fire recurring
                tasks, which are not waited for. Implies *wait_on_hidden*.
            wait_on_hidden: whether to wait for tasks, too, that are running now; only together with *complete*.
            timeout: seconds; None or less than 0: 2**32. Without any worker, it is waited to the end.
            log_every: seconds between log records about the progress, at level INFO; 0: none.

        Returns:
            ``(done, started, waiting)``, lists of ids. Done are tasks that are over; without *complete*, tasks that
            have started, too. Nothing waits unless the timeout is over, and only then is anything merely started.
        """
        return self.broker.run(self.flushing(complete, force_delayed, wait_on_hidden, timeout, log_every))

    def flushing(
        self,
        complete: bool = False,
        force_delayed: bool = False,
        wait_on_hidden: bool = False,
        timeout: float | None = None,
        log_every: float = 0,
    ) -> Flow[Flushed]:
        """What `flush_tasks` says to Redis."""
        span = -1.0 if timeout is None else seconds(timeout, "timeout", least=-1e10)
        pause = seconds(log_every, "log_every") or math.inf
        begun_at = time.monotonic()
        ends_at, logs_at = begun_at + (span if span >= 0 else FOR_EVER), begun_at + pause
        ledger = Ledger(bool(complete))
        waits_for_running = bool(complete and (wait_on_hidden or force_delayed))
        yield from self._listing(ledger, bool(force_delayed), waits_for_running)
        if force_delayed:
            yield from self._firing()
        yield from self._looking(ledger, everywhere=True)
        while ledger.pending and time.monotonic() < ends_at:
            keys, ids = next(iter(ledger.pending.items()))
            now = time.monotonic()
            wait = min(LOOK_AGAIN, ends_at - now, logs_at - now, ledger.soonest(now))
            # The last one of a queue: when it moves, much has happened. Workers publish whatever they finish.
            was = ledger.marks[keys][ids[-1]].answer
            yield from Watch([keys.events], views.progress(keys, ids[-1:]), _differs(was), max(wait, 0.0))
            yield from self._looking(ledger)
            if time.monotonic() >= logs_at:
                logs_at = time.monotonic() + pause
                _report(ledger, time.monotonic() - begun_at)
        if ledger.pending:
            yield from self._looking(ledger, everywhere=True)
        return ledger.flushed()

    def _listing(self, ledger: Ledger, force_delayed: bool, waits_for_running: bool) -> Flow[None]:
        """Put down which messages to wait for, and make scheduled ones ready if asked to."""
        names = yield from command(as_is, "ZRANGE", self.keys.app.queues, 0, -1)
        queues = [self.keys.tasks(text_of(name)) for name in names]
        sizes = yield from views.sizing(queues, 1 if self.broker.is_cluster else views.CHUNK)
        for keys, size in zip(queues, sizes, strict=True):
            if not (size.ready or size.leased or (force_delayed and size.scheduled)):
                continue
            found = yield from views.unfinished(keys)
            recurring = yield from self._recurring_in(keys)
            marks = {message_id: Mark(was_running=not waits_for_running) for message_id in found.leased}
            marks.update((message_id, Mark()) for message_id in found.ready)
            if force_delayed:
                marks.update((message_id, Mark()) for message_id in found.scheduled)
                forced, moved = 0, BATCH
                while moved == BATCH and forced < 2 * len(found.scheduled):
                    moved = yield from views.force(keys, self.index)
                    forced += moved
            for message_id in [one for one in marks if _schedule_of(one) in recurring]:
                del marks[message_id]
            if marks:
                ledger.marks[keys] = marks
                ledger.pending[keys] = list(marks)

    def _recurring_in(self, keys: QueueKeys) -> Flow[set[str]]:
        """The names of all schedules that fire into a queue."""
        names = yield from command(as_is, "HKEYS", keys.schedules)
        return {text_of(name) for name in names}

    def _firing(self) -> Flow[None]:
        """Fire every recurring task of this process whose schedule a worker has begun."""
        clock = yield from command(as_is, "TIME")
        now = int(clock[0]) + int(clock[1]) / 1_000_000
        # By name: the registry of a module that was run as a script has its tasks under two.
        tasks: dict[str, Task[..., object]] = {task.name: task for task in self.settings.registry.values()}
        for task in tasks.values():
            if task.schedule is None:
                continue
            keys = self.task_keys(task.queue)
            slot = yield from schedules.next_slot(keys, task.name)
            if slot is not None:
                following = max(round(task.schedule.after(slot / 1000, now) * 1000), slot + 1)
                body = task.slot_body(keys, slot)
                yield from schedules.fire(
                    keys, self.index, task.name, slot, following, body=body, tail=task.header_tail(), early=True
                )

    def _looking(self, ledger: Ledger, *, everywhere: bool = False) -> Flow[None]:
        """
        Ask what became of the messages.

        Queues are first in, first out: where a whole batch has not moved, those behind it are left for the next time,
        unless *everywhere*.
        """
        for keys in list(ledger.pending):
            for ids in _batches(ledger.pending[keys]):
                answers = yield from views.progress(keys, ids)
                now = time.monotonic()
                before = [ledger.marks[keys][message_id].verdict for message_id in ids]
                for message_id, answer in zip(ids, answers, strict=True):
                    ledger.note(keys, message_id, answer, now)
                if not everywhere and before == [ledger.marks[keys][message_id].verdict for message_id in ids]:
                    break
            ledger.settle(keys)


def _batches(ids: list[str]) -> Iterator[list[str]]:
    return (ids[at : at + BATCH] for at in range(0, len(ids), BATCH))


def _differs(was: int) -> Callable[[list[int]], bool]:
    return lambda answer: answer[0] != was


def _schedule_of(message_id: str) -> str | None:
    """The schedule that enqueued a message; None when none did."""
    found = _FIRED.fullmatch(message_id)
    return found[1] if found else None


def _report(ledger: Ledger, passed: float) -> None:
    left, total = ledger.count(), ledger.total()
    log.info("flush: %d of %d tasks are left after %.0f s, in %s", left, total, passed, _places(ledger))


def _places(ledger: Ledger) -> str:
    places = [f"{keys.name} ({len(ids)})" for keys, ids in ledger.pending.items()]
    return ", ".join(places[:10]) + (f" and {len(places) - 10} more queues" if len(places) > 10 else "") or "no queue"
