"""OwnLoop: runs coroutines in the thread that asks, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from ..settings import Settings
from ..tasks import Task
from .claims import Claim
from .performing import Ending, failed, perform_async


class OwnLoop:
    """
    An event loop for a thread that runs plain functions, too. One thread uses it.

    Args:
        settings: what is entered around runs.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None

    def perform(self, task: Task[..., Any], claim: Claim) -> Ending:
        """Run an ``async def`` task to its end."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        started_at = time.time()
        try:
            return self._loop.run_until_complete(perform_async(task, claim, self._settings))
        except BaseException as error:  # it cancelled itself; or whatever else ends an event loop
            return failed(task, claim, self._settings, error, started_at)

    def close(self) -> None:
        """Cancel what runs in the background, as `asyncio.run` does, and close the loop."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        with contextlib.suppress(Exception):
            loop.run_until_complete(_wind_up(loop))
        loop.close()


async def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=0.9)
    await asyncio.wait_for(loop.shutdown_asyncgens(), 0.9)
