"""A Redis of a few words: replies that are fed to flows by hand."""

from __future__ import annotations

import asyncio
from typing import Any

from rpqueue.protocol.operation import Flow, Operation, run


class Redis:
    """Answers the steps of a flow, in order, with the given replies; raises those that are errors."""

    def __init__(self, *replies: Any) -> None:
        self.steps: list[Any] = []
        self._replies = list(replies)

    def execute(self, step: Any) -> Any:
        self.steps.append(step)
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return step.read(reply) if isinstance(step, Operation) else reply

    async def execute_later(self, step: Any) -> Any:
        await asyncio.sleep(0)
        return self.execute(step)

    def carry(self, flow: Flow[Any]) -> Any:
        """The flow's result, after it has used up all replies."""
        result = run(flow, self.execute)
        assert self._replies == []
        return result

    @property
    def commands(self) -> list[list[Any]]:
        return [list(step.args) for step in self.steps]
