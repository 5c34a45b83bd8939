"""What runs now: the message that the present thread or coroutine is working on."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any, NamedTuple


class Run(NamedTuple):
    """One run of a task."""

    taskid: str
    name: str
    queue: str
    token: int  #: of its lease; a later run of the same message has a greater one
    attempt: int  #: 1 on the first run
    attempts_left: int  #: runs that are left, this one included


_RUN: ContextVar[Run | None] = ContextVar("rpqueue_run", default=None)


class CurrentTask:
    """The run that the asking code belongs to. Outside of one, every attribute is None."""

    def __getattr__(self, name: str) -> Any:
        if name not in Run._fields:
            raise AttributeError(f"CURRENT_TASK has {', '.join(Run._fields)}; got {name!r}")
        run = _RUN.get()
        return None if run is None else getattr(run, name)

    def __bool__(self) -> bool:
        return _RUN.get() is not None

    def __repr__(self) -> str:
        return f"<CURRENT_TASK {_RUN.get()}>"


CURRENT_TASK = CurrentTask()


def enter(run: Run) -> Token[Run | None]:
    """Make *run* the current one of this thread or coroutine."""
    return _RUN.set(run)


def leave(token: Token[Run | None]) -> None:
    """Undo `enter`."""
    _RUN.reset(token)
