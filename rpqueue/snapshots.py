"""TaskSnapshot: a call as somebody found it in a queue, with the members that TaskTiger's Task has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from .enqueued import EnqueuedTask
from .errors import UnknownTask
from .keys import QueueKeys, name_text
from .protocol import moves, views
from .protocol.operation import Flow
from .queues import row_count
from .seen import MessageView, places_of, redacted_views, view_of
from .states import State

if TYPE_CHECKING:
    from .app import App

#: Most calls that `tasks_from_queue` passes over or returns.
_MANY = 1_000_000_000


class TaskSnapshot:
    """
    A call as somebody found it in a queue. `Task.tasks_from_queue` and `Task.from_id` make these.

    What it holds is from then. What it does is done to the call wherever it is now.

    Args:
        app: whose.
        view: what was seen of it.
        executions: records of failed runs to hold, the newest ones.
    """

    def __init__(self, app: App, view: MessageView, executions: int) -> None:
        self.view = view  #: all that was seen of it
        self.id, self.queue, self.state = view.id, view.queue, view.state
        self.serialized_func = view.name  #: name of the task
        self.args, self.kwargs = view.args, view.kwargs
        #: Records of its failed runs, oldest first, as many as were asked for: as a worker wrote them, and
        #: time_started, time_failed and exception_name beside.
        self.executions = [_as_tasktiger(one) for one in (view.executions[-executions:] if executions else [])]
        self.call: EnqueuedTask = app.EnqueuedTask(view.name, view.id, view.queue, app.settings.registry.get(view.name))

    def __repr__(self) -> str:
        return f"<TaskSnapshot taskid={self.id} queue={self.queue} function={self.serialized_func} state={self.state}>"

    @property
    def data(self) -> dict[str, Any]:
        """All that was seen of it, by name."""
        return dataclasses.asdict(self.view)

    @property
    def func(self) -> Callable[..., Any]:
        """Its function. UnknownTask when this process has not imported it."""
        task = self.call.task
        if task is None or task.function is None:
            raise UnknownTask(f"{self.serialized_func!r}: expected a task of this process; import what declares it")
        return task.function

    def execute(self) -> Any:
        """Run its function here and now with its arguments, and return what that does. The call stays where it is."""
        return self.func(*self.args, **self.kwargs)

    def n_executions(self) -> int:
        """How many of its runs failed or crashed by now."""
        return self.call.n_executions()

    def cancel(self, running: bool = False) -> bool | int:
        """See `EnqueuedTask.cancel`."""
        return self.call.cancel(running)

    def delete(self) -> bool:
        """See `EnqueuedTask.delete`."""
        return self.call.delete()

    def retry(self) -> bool:
        """See `EnqueuedTask.retry`."""
        return self.call.retry()

    def update_scheduled_time(self, when: datetime | timedelta | float) -> bool:
        """See `EnqueuedTask.update_scheduled_time`."""
        return self.call.update_scheduled_time(when)


class Snapshots:
    """The members of Task that find calls, as TaskTiger's Task has them. See `AwaitedInspection` for coroutines."""

    app: ClassVar[App]

    @classmethod
    def tasks_from_queue(
        cls,
        queue: str | bytes,
        state: State | str,
        skip: int = 0,
        limit: int = 1000,
        load_executions: int = 0,
    ) -> tuple[int, list[TaskSnapshot]]:
        """
        The calls that are in one state, latest first.

        Args:
            queue: its name.
            state: ready, scheduled, leased, parked, dead, lost or failed; or queued, active or error, as TaskTiger has
                it: error is dead, then lost, then failed.
            skip: how many to pass over.
            limit: most calls to return.
            load_executions: most records of failed runs of each, 0 to 1,000.

        Returns:
            How many calls are in that state, and the snapshots. Arguments that `task` was told to redact are hidden.
        """
        return cls.app.broker.run(_listing(cls.app, queue, state, skip, limit, load_executions))

    @classmethod
    def from_id(
        cls, queue: str | bytes, state: State | str, task_id: str, load_executions: int = 0
    ) -> TaskSnapshot | None:
        """
        One call; None when it is not in that state.

        Args:
            queue: its name.
            state: see `tasks_from_queue`.
            task_id: its id.
            load_executions: most records of failed runs, 0 to 1,000.
        """
        return cls.app.broker.run(_finding(cls.app, queue, state, task_id, load_executions))


def _listing(
    app: App, queue: str | bytes, state: State | str, skip: int, limit: int, load_executions: int
) -> Flow[tuple[int, list[TaskSnapshot]]]:
    keys, places = app.task_keys(queue), places_of(state)
    passed = row_count(skip, "skip", least=0, most=_MANY)
    most = row_count(limit, "limit", least=0, most=_MANY)
    records = row_count(load_executions, "load_executions", least=0)
    [size] = yield from views.sizing([keys], 1)
    total: int = sum(getattr(size, place.value) for place in places)
    # What is parked is in no order, and goes by cursor: what is passed over is read, too.
    is_parked = places == (State.PARKED,)
    found: list[moves.Whereabouts] = []
    wanted, after = most + passed * is_parked, ""
    while len(found) < wanted and after != "0":
        part = min(views.WHOLE_BATCH, wanted - len(found))
        skipped = 0 if is_parked else passed + len(found)
        got = yield from views.page(keys, places, part, skip=skipped, after=after, newest=True, records=records)
        found += got.rows
        if is_parked or not got.rows:
            after = got.cursor if is_parked else "0"
    seen = yield from _snapshots(app, keys, found[passed * is_parked :][:most], records)
    return total, seen


def _finding(
    app: App, queue: str | bytes, state: State | str, task_id: str, load_executions: int
) -> Flow[TaskSnapshot | None]:
    keys, places = app.task_keys(queue), places_of(state)
    records = row_count(load_executions, "load_executions", least=0)
    [where] = yield from moves.whereabouts(keys, [name_text(task_id, "task_id")])
    if where.state not in places:
        return None
    [snapshot] = yield from _snapshots(app, keys, [where], records)
    return snapshot


def _snapshots(app: App, keys: QueueKeys, found: list[moves.Whereabouts], records: int) -> Flow[list[TaskSnapshot]]:
    shown = yield from redacted_views(app, [view_of(app, keys, where) for where in found])
    return [TaskSnapshot(app, view, records) for view in shown]


def _as_tasktiger(record: dict[str, Any]) -> dict[str, Any]:
    names = {"time_started": "started_at", "time_failed": "failed_at", "exception_name": "exception"}
    return {**record, **{theirs: record.get(ours) for theirs, ours in names.items()}}
