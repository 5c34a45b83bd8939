"""Pipeline: a block of code whose calls and items go to Redis together, at its end."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .errors import DurabilityNotConfirmed, RefusedInput, RpqueueError
from .fates import Fate
from .protocol.operation import Flow
from .puts import Batches, Put
from .running import Run, current_run
from .together import Together, run_together

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from .system import System
    from .tasks import Task

#: The pipeline whose block was entered last, of any App. A coroutine has a context of its own, and tasks that it starts
#: begin with a copy.
_innermost: ContextVar[Pipeline | None] = ContextVar("rpqueue pipeline", default=None)


class Pipeline:
    """
    A block of code whose calls and items go to Redis together, at its end. See `App.pipeline`.

    It belongs to the thread, or the coroutine, that entered the block, and to coroutines that are started there. One
    that a task has opened and never ended takes nothing of the thread's next task.
    """

    def __init__(self, app: System) -> None:
        self._app = app
        self._held = Batches()
        self._owner: tuple[int, int, Run | None] | None = None  #: while its block lasts
        self._outer: Pipeline | None = None
        self._was_open = False
        #: Tasks that were looked up in Redis by name.
        self.known: dict[str, Task[..., Any]] = {}

    def __repr__(self) -> str:
        return f"<Pipeline of {self._app!r} holding {len(self)}>"

    def __len__(self) -> int:
        """Calls and items that it holds."""
        return len(self._held)

    def __bool__(self) -> bool:
        """True, also when it holds nothing."""
        return True

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run_together(self._app.broker, self.closing(kind is None))

    def open(self) -> None:
        """Take what is made from now on."""
        if self._was_open:
            raise RefusedInput("pipeline: it has had its block; every block needs a pipeline() of its own")
        self._owner, self._outer, self._was_open = _here(), _innermost.get(), True
        _innermost.set(self)

    def closing(self, went_well: bool) -> Flow[None]:
        """What the end of the block says to Redis: all that it holds if the block *went_well*, else nothing."""
        held, owner = self._held, self._owner
        self._held, self._owner, self.known = Batches(), None, {}
        if _innermost.get() is self:
            _innermost.set(self._outer)
        if owner is None or owner[0] != os.getpid():
            return  # a forked child leaves the block, too; what its parent holds is the parent's to send
        outer = current(self._app)
        if not went_well:
            held.leave("it was not sent, because the block of its pipeline raised")
        elif outer is not None:
            for put in held.puts():
                outer.add(put)
        else:
            yield from sending(held)

    def takes_from_here(self, app: System) -> bool:
        """Whether what is made of that App, here and now, belongs to it."""
        return self._app is app and self._owner == _here()

    def add(self, put: Put) -> Fate:
        """Hold a put until the block ends. Returns its fate, which its calls have to know."""
        if self._owner is None:
            raise RefusedInput("pipeline: its block has ended, so nothing can be added")
        return self._held.add(put)


def _here() -> tuple[int, int, Run | None]:
    return os.getpid(), threading.get_ident(), current_run()


def current(app: System) -> Pipeline | None:
    """The pipeline that takes what is made of this App, here and now; None: it is to be sent at once."""
    pipe = _innermost.get()
    while pipe is not None and not pipe.takes_from_here(app):
        pipe = pipe._outer
    return pipe


def alone(put: Put) -> Flow[None]:
    """What is said to Redis to send one put by itself, with what `sending` does for many."""
    own = Batches()
    own.add(put)
    yield from sending(own)


def sending(held: Batches) -> Flow[None]:
    """
    What is said to Redis to send batches, in order, until something goes wrong.

    Raises:
        RpqueueError: the first error of a batch, with the `Fates` of all. No batch after it was sent.
        DurabilityNotConfirmed: the same, of a batch that is in.
    """
    try:
        for batch in held:
            step = Together(batch.sets_out(), batch.proof)
            errors = batch.arrives((yield from step))
            if errors:
                raise errors[0]
            if step.unconfirmed:
                raise DurabilityNotConfirmed(f"enqueued all the same, but not confirmed: {step.unconfirmed}")
    except RpqueueError as error:
        held.leave(f"it was not sent, because what was sent before it failed: {error}")
        fates = held.fates()
        meant = type(error)(f"{error}; {fates.summary}")
        meant.fates = fates
        raise meant from error
    except BaseException:
        held.leave("it was not sent, because sending was interrupted")
        raise
