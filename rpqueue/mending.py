"""Mending: an App's verbs about all that was given up: run it again, delete it. `EnqueuedTask` has them for one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from .errors import RefusedInput, WrongType
from .instants import instant
from .keys import QueueKeys, name_text
from .messages import seconds
from .protocol import moves, views
from .protocol.operation import Flow
from .protocol.workers import redis_time
from .queues import Queues, row_count
from .seen import graves_of
from .selecting import NAME_BYTES, Selection
from .states import GRAVES, State

#: Most messages that can be asked for at once, where there is a limit.
_MANY = 1_000_000_000


class Mending(Queues):
    """An App's verbs about all that was given up."""

    def redrive(
        self,
        queue: str | bytes | None = None,
        state: State | str = State.DEAD,
        *,
        name: str | None = None,
        error: str | None = None,
        rate: float | None = None,
        limit: int | None = None,
        is_data: bool = False,
    ) -> int:
        """
        Run again what was given up, oldest first: put it back into its queue as if it were new.

        Its counters begin again, and it has all its attempts; what its runs failed of stays known. What is given up
        after this began is left. It moves a thousand messages in one call, each of which happens once, even if its
        answer is lost. Where it raises, the batches before have moved, and may be asked for again.

        Args:
            queue: its name; None: all of the kind. DEADLETTER_QUEUE means all, too.
            state: dead, lost, failed, or error for all three.
            name: only calls of the task with this name.
            error: only messages whose last failure was this: a text in its ``Exception: message``, or the whole reason
                for which they were given up, such as "poison".
            rate: most messages a second that become ready. They are scheduled one after the other, so nobody has to
                stay: the call returns as soon as they are. None: all are ready at once.
            limit: most messages to move; None: all.
            is_data: whether to look into data queues instead of task queues.

        Returns:
            How many messages were moved.
        """
        return self.broker.run(
            self.redriving(queue, state, name=name, error=error, rate=rate, limit=limit, is_data=is_data)
        )

    def redriving(
        self,
        queue: str | bytes | None = None,
        state: State | str = State.DEAD,
        *,
        name: str | None = None,
        error: str | None = None,
        rate: float | None = None,
        limit: int | None = None,
        is_data: bool = False,
    ) -> Flow[int]:
        """What `redrive` says to Redis."""
        selection, graves, step = Selection(name, error), graves_of(state), _step(rate)
        most = _MANY if limit is None else row_count(limit, "limit", most=_MANY)
        queues = yield from self.queues_of(is_data)
        if queue is not None and name_text(queue, "queue") != self.settings.deadletter_queue:
            queues = [self.data_keys(queue) if is_data else self.task_keys(queue)]
        moved = 0
        for keys in queues:
            for grave in graves:
                if moved < most:
                    move = self._redrive_some if selection else self._redrive_all
                    moved += yield from move(keys, grave, most - moved, moved * step, step, selection)
        return moved

    def _redrive_all(
        self, keys: QueueKeys, grave: State, most: int, delay: float, step: float, selection: Selection
    ) -> Flow[int]:
        [size] = yield from views.sizing([keys], 1)
        left, moved = min(getattr(size, grave.value), most), 0
        while left > 0:
            ids = yield from self._redrive(keys, grave, (), min(left, views.BATCH), delay + moved * step, step)
            moved, left = moved + len(ids), left - len(ids) if ids else 0
        return moved

    def _redrive_some(
        self, keys: QueueKeys, grave: State, most: int, delay: float, step: float, selection: Selection
    ) -> Flow[int]:
        moved, cursor, begun_at = 0, "", 0.0
        while cursor != "0" and moved < most:
            found = yield from views.page(
                keys, (grave,), views.BATCH, after=cursor, most=NAME_BYTES, records=selection.records
            )
            begun_at = begun_at or (found.rows[0].now if found.rows else 0.0)
            taken = [where.id for where in found.rows if where.at <= begun_at and selection.takes(where)]
            if taken:
                ids = yield from self._redrive(keys, grave, taken[: most - moved], 1, delay + moved * step, step)
                moved += len(ids)
            if found.rows and found.rows[-1].at > begun_at:
                break
            cursor = found.cursor
        return moved

    def _redrive(
        self, keys: QueueKeys, grave: State, ids: Iterable[str], limit: int, delay: float, step: float
    ) -> Flow[list[str]]:
        index = () if keys.is_data else self.index
        return (yield from moves.redrive(keys, index, grave, tuple(ids), limit, delay=delay, step=step))

    def purge_errored_tasks(
        self,
        queues: Iterable[str | bytes] | None = None,
        exclude_queues: Iterable[str | bytes] | None = None,
        limit: int | None = None,
        last_execution_before: datetime | timedelta | float | None = None,
    ) -> int:
        """
        Delete failed, dead and lost tasks for good, queue by queue, in each the oldest first.

        The same is done by workers, as DEAD_TTL, KEEP_DEAD and the settings like them say. This is for what should go
        earlier, and can be called by a recurring task.

        Args:
            queues: only these; None: all.
            exclude_queues: not these.
            limit: most tasks to delete; None: all.
            last_execution_before: only those that were given up before this: a datetime, which is UTC when it has no
                time zone; epoch seconds; or a timedelta, so long ago. None: all that were given up before now.

        Returns:
            How many tasks were deleted.
        """
        return self.broker.run(self.purging_errored(queues, exclude_queues, limit, last_execution_before))

    def purging_errored(
        self,
        queues: Iterable[str | bytes] | None = None,
        exclude_queues: Iterable[str | bytes] | None = None,
        limit: int | None = None,
        last_execution_before: datetime | timedelta | float | None = None,
        *,
        graves: Iterable[State] = GRAVES,
        is_data: bool = False,
    ) -> Flow[int]:
        """What `purge_errored_tasks` says to Redis; also about items, and about some of the *graves* alone."""
        most = _MANY if limit is None else row_count(limit, "limit", most=_MANY)
        wanted = None if queues is None else _names(queues, "queues")
        unwanted = _names(exclude_queues or (), "exclude_queues")
        before = yield from redis_time()
        if isinstance(last_execution_before, timedelta):
            before -= seconds(last_execution_before, "last_execution_before")
        elif last_execution_before is not None:
            before = min(instant(last_execution_before, "last_execution_before"), before)
        known = yield from self.queues_of(is_data)
        deleted = 0
        for keys in known:
            if keys.name in unwanted or (wanted is not None and keys.name not in wanted):
                continue
            for grave in graves:
                deleted += yield from _purge(keys, grave, most - deleted, before)
        return deleted


def _purge(keys: QueueKeys, grave: State, most: int, before: float) -> Flow[int]:
    deleted, batch = 0, min(views.BATCH, most)
    while batch > 0:
        gone = yield from views.purge(keys, grave, limit=batch, before=before)
        deleted += len(gone)
        batch = min(views.BATCH, most - deleted) if len(gone) == batch else 0
    return deleted


def _step(rate: Any) -> float:
    """Seconds from one message to the next."""
    if rate is None:
        return 0.0
    if isinstance(rate, bool) or not isinstance(rate, (int, float)):
        raise WrongType(f"rate: expected messages a second, or None, got {rate!r}")
    if not 1e-6 <= rate <= 1e6:
        raise RefusedInput(f"rate: expected 0.000001 to 1000000 messages a second, got {rate!r}")
    return 1 / rate


def _names(queues: Iterable[str | bytes], what: str) -> set[str]:
    if isinstance(queues, (str, bytes)):
        raise RefusedInput(f"{what}: expected a list of names, got {queues!r}; write [{queues!r}]")
    return {name_text(queue, what) for queue in queues}
