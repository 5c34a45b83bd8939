"""Inspection: views of one App."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.operation import Flow
from ..seen import MessageView
from ..selecting import Selection
from ..states import State
from . import messages, queues
from .messages import Page, TaskNames
from .queues import QueueView, WorkerView

if TYPE_CHECKING:
    from ..app import App


class Inspection:
    """
    Views of one App's queues, workers and messages. `AwaitedInspection` has the same ones, to be awaited.

    A *state* is ready, scheduled, leased, parked, dead, lost or failed; or error, which is dead, lost and failed one
    after the other. TaskTiger's words queued and active mean ready and leased.

    Args:
        app: whose.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    def queues(self) -> list[QueueView]:
        """All task queues, in the order in which workers turn to them, then all data queues by name."""
        return self.app.broker.run(self.viewing_queues())

    def viewing_queues(self) -> Flow[list[QueueView]]:
        """What `queues` says to Redis."""
        return queues.viewing_queues(self.app)

    def workers(self) -> list[WorkerView]:
        """The worker processes that were heard of lately, the living first."""
        return self.app.broker.run(self.viewing_workers())

    def viewing_workers(self) -> Flow[list[WorkerView]]:
        """What `workers` says to Redis."""
        return queues.viewing_workers(self.app)

    def message(self, message_id: str, queue: str | bytes | None = None) -> MessageView | None:
        """
        One message, wherever it is, with all that is remembered of its runs; None when no queue knows its id.

        Args:
            message_id: of a task or an item.
            queue: name of its queue; None looks into all of them.
        """
        return self.app.broker.run(self.viewing_message(message_id, queue))

    def viewing_message(self, message_id: str, queue: str | bytes | None = None) -> Flow[MessageView | None]:
        """What `message` says to Redis."""
        return messages.viewing_message(self.app, message_id, queue)

    def page(
        self,
        queue: str | bytes | None = None,
        state: State | str = State.READY,
        after: str | None = None,
        limit: int = 50,
        is_data: bool = False,
        *,
        newest: bool = False,
        name: str | None = None,
        error: str | None = None,
        executions: int = 1,
    ) -> Page:
        """
        The messages that are in one state, a page of them. However many there are, it takes a few milliseconds.

        Args:
            queue: its name; None: all of the kind, one after the other.
            state: of ready messages the next one comes first, of scheduled and leased ones the earliest, of dead, lost
                and failed ones the oldest. Parked ones come in no order, and a page of them may be a little longer.
            after: the `Page.after` of the page before; None begins. Messages that leave in between do not disturb it,
                but for ready ones, where those behind move up.
            limit: most messages of a page, 1 to 1,000.
            is_data: whether it is a data queue.
            newest: whether to show each queue the other way round, the last message first.
            name: only calls of the task with this name.
            error: only messages whose last failure was this: a text in its ``Exception: message``, or the whole reason
                for which they were given up, such as "poison". With *name* or *error*, a page looks at 10,000 messages
                at most: it may hold fewer than *limit*, or none, and say where to go on.
            executions: most records of failed runs to show of each message, the newest ones; 0 to 1,000. `error` of a
                message shows the last one in any case.
        """
        return self.app.broker.run(
            self.paging(
                queue, state, after, limit, is_data, newest=newest, name=name, error=error, executions=executions
            )
        )

    def paging(
        self,
        queue: str | bytes | None = None,
        state: State | str = State.READY,
        after: str | None = None,
        limit: int = 50,
        is_data: bool = False,
        *,
        newest: bool = False,
        name: str | None = None,
        error: str | None = None,
        executions: int = 1,
    ) -> Flow[Page]:
        """What `page` says to Redis."""
        selection = Selection(name, error)
        return messages.paging(
            self.app, queue, state, after, limit, is_data, newest=newest, selection=selection, executions=executions
        )

    def names(
        self,
        queue: str | bytes | None = None,
        state: State | str = State.READY,
        limit: int = 10_000,
        *,
        newest: bool = False,
    ) -> TaskNames:
        """
        How many messages there are of each task, in one state.

        It counts the first *limit* messages in order, not a sample of all, and says whether that was all.

        Args:
            queue: name of a task queue; None: all of them, one after the other.
            state: see `page`.
            limit: most messages to look at, 1 to 10,000,000. A thousand take some milliseconds.
            newest: whether to look at the last ones of each queue first.
        """
        return self.app.broker.run(self.naming(queue, state, limit, newest=newest))

    def naming(
        self,
        queue: str | bytes | None = None,
        state: State | str = State.READY,
        limit: int = 10_000,
        *,
        newest: bool = False,
    ) -> Flow[TaskNames]:
        """What `names` says to Redis."""
        return messages.naming(self.app, queue, state, limit, newest)

    def buried(
        self,
        grave: State | str = State.DEAD,
        queue: str | bytes | None = None,
        limit: int = 100,
        skip: int = 0,
        is_data: bool = False,
    ) -> list[MessageView]:
        """
        What was given up, oldest first, over all queues.

        Args:
            grave: dead, lost or failed.
            queue: of this one; None: of all queues of the kind.
            limit: most messages to return, 1 to 1,000.
            skip: how many to pass over. These are looked at, too: for many, use `page`.
            is_data: whether to look into data queues instead of task queues.
        """
        return self.app.broker.run(self.viewing_buried(grave, queue, limit, skip, is_data))

    def viewing_buried(
        self,
        grave: State | str = State.DEAD,
        queue: str | bytes | None = None,
        limit: int = 100,
        skip: int = 0,
        is_data: bool = False,
    ) -> Flow[list[MessageView]]:
        """What `buried` says to Redis."""
        return messages.viewing_buried(self.app, grave, queue, limit, skip, is_data)

    def parked_names(self) -> dict[str, int]:
        """The task names that no worker knew, and how many messages wait for one that does; most messages first."""
        return self.app.broker.run(self.viewing_parked())

    def viewing_parked(self) -> Flow[dict[str, int]]:
        """What `parked_names` says to Redis."""
        return queues.viewing_parked(self.app)
