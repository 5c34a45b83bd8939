"""AwaitedInspection: the views of `Inspection`, awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..broker_aio import awaited
from ..protocol.operation import Flow, R
from ..seen import MessageView
from ..states import State
from .looking import Inspection
from .messages import Page, TaskNames
from .queues import QueueView, WorkerView

if TYPE_CHECKING:
    from ..app import App


class AwaitedInspection:
    """
    Views of one App's queues, workers and messages, awaited. See `Inspection`.

    Args:
        app: whose.
    """

    def __init__(self, app: App) -> None:
        #: The same views, for code that does not await.
        self.sync = Inspection(app)

    async def _run(self, flow: Flow[R]) -> R:
        return await awaited(self.sync.app.broker).run(flow)

    async def queues(self) -> list[QueueView]:
        """All task queues, in the order in which workers turn to them, then all data queues by name."""
        return await self._run(self.sync.viewing_queues())

    async def workers(self) -> list[WorkerView]:
        """The worker processes that were heard of lately, the living first."""
        return await self._run(self.sync.viewing_workers())

    async def message(self, message_id: str, queue: str | bytes | None = None) -> MessageView | None:
        """One message, wherever it is; None when no queue knows its id. See `Inspection.message`."""
        return await self._run(self.sync.viewing_message(message_id, queue))

    async def page(
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
        """The messages that are in one state, a page of them. See `Inspection.page`."""
        return await self._run(
            self.sync.paging(
                *(queue, state, after, limit, is_data), newest=newest, name=name, error=error, executions=executions
            )
        )

    async def names(
        self,
        queue: str | bytes | None = None,
        state: State | str = State.READY,
        limit: int = 10_000,
        *,
        newest: bool = False,
    ) -> TaskNames:
        """How many messages there are of each task, in one state. See `Inspection.names`."""
        return await self._run(self.sync.naming(queue, state, limit, newest=newest))

    async def buried(
        self,
        grave: State | str = State.DEAD,
        queue: str | bytes | None = None,
        limit: int = 100,
        skip: int = 0,
        is_data: bool = False,
    ) -> list[MessageView]:
        """What was given up, oldest first, over all queues. See `Inspection.buried`."""
        return await self._run(self.sync.viewing_buried(grave, queue, limit, skip, is_data))

    async def parked_names(self) -> dict[str, int]:
        """The task names that no worker knew, and how many messages wait for one that does; most messages first."""
        return await self._run(self.sync.viewing_parked())
