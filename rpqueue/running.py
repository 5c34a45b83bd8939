"""What runs now: the message that the present thread or coroutine is working on."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .current import RunningTask
    from .keys import QueueKeys
    from .tasks import Task


class Run(Protocol):
    """One run of a task."""

    @property
    def taskid(self) -> str:
        """Id of the call."""

    @property
    def queue(self) -> str:
        """Name of the queue that it came from."""

    @property
    def attempts_left(self) -> int:
        """Runs that are left, this one included."""

    @property
    def keys(self) -> QueueKeys:
        """The keys of its queue."""

    @property
    def seen_as(self) -> type[RunningTask]:
        """What the task's own code sees of it."""

    def move_deadline(self, deadline: float) -> None:
        """Have the lease be kept up to another instant, epoch seconds."""

    task: Task[..., Any] | None  #: None until it runs
    name: str  #: of the task, as the call says it
    args: list[Any]
    kwargs: dict[str, Any]
    meta: dict[str, Any]  #: what middleware of the producer sent along
    token: int  #: of its lease; a later run of the same message has a greater one
    attempt: int  #: 1 on the first run
    deadline: float  #: epoch seconds, Redis's clock, at which its lease ends for good; 0: never, or it has none
    stop_asked: str  #: "cancelled" or "lost" once it is to stop; empty
    has_checkpoint: bool  #: whether it left a checkpoint, or found one


#: What CURRENT_TASK tells of a run.
ATTRIBUTES = ("taskid", "name", "queue", "token", "attempt", "attempts_left")

_RUN: ContextVar[Run | None] = ContextVar("rpqueue_run", default=None)


class CurrentTask:
    """The run that the asking code belongs to. Outside of one, every attribute is None."""

    def __getattr__(self, name: str) -> Any:
        if name not in ATTRIBUTES:
            raise AttributeError(f"CURRENT_TASK has {', '.join(ATTRIBUTES)}; got {name!r}")
        run = _RUN.get()
        return None if run is None else getattr(run, name)

    def __bool__(self) -> bool:
        return _RUN.get() is not None

    def __repr__(self) -> str:
        run = _RUN.get()
        told = None if run is None else ", ".join(f"{name}={getattr(run, name)!r}" for name in ATTRIBUTES)
        return f"<CURRENT_TASK {told}>"


CURRENT_TASK = CurrentTask()


def current_run() -> Run | None:
    """The run that the asking code belongs to; None outside of one."""
    return _RUN.get()


def enter(run: Run) -> Token[Run | None]:
    """Make *run* the current one of this thread or coroutine."""
    return _RUN.set(run)


def leave(token: Token[Run | None]) -> None:
    """Undo `enter`."""
    _RUN.reset(token)
