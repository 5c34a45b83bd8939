"""Places: where each task of a worker runs."""

from __future__ import annotations

from typing import Any

from ...tasks import Task
from ..claims import Claim
from ..own_loop import OwnLoop
from ..performing import Upshot
from ..runner import Place
from .family import Children
from .needs import pool_of


class InChild:
    """
    Children as a place.

    Args:
        children: of the worker.
        fresh: whether each run gets one of its own.
    """

    def __init__(self, children: Children, *, fresh: bool) -> None:
        self._children = children
        self._fresh = fresh

    def perform(self, task: Task[..., Any], claim: Claim) -> Upshot:
        """Run it in a child."""
        return self._children.perform(task, claim, fresh=self._fresh)


class Places(dict[Task[..., Any], "Place | None"]):
    """
    Where each task runs; None: in the thread that claimed it. Worked out once for each.

    Args:
        children: of the worker.
        loop: for coroutines of a worker that runs one task at a time.
    """

    def __init__(self, children: Children, loop: OwnLoop) -> None:
        super().__init__()
        self._children = children
        self._loop = loop
        self._in_children = {"processes": InChild(children, fresh=False), "fork": InChild(children, fresh=True)}

    def __missing__(self, task: Task[..., Any]) -> Place | None:
        pool = pool_of(task, self._children.pooling.pool)
        place: Place | None = self._in_children.get(pool)
        if place is None and task.is_async:
            place = self._loop
        self[task] = place
        return place
