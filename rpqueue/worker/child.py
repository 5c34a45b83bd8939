"""Child: one worker process, as its supervisor sees it."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from .ledger import Ledger
from .pools import Pooling
from .recycling import Term

#: Pause before a child that died young is replaced: doubled each time, from and up to these seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
#: Seconds after which a child is not young any more.
GROWN_UP = 10.0


class Child:
    """
    One worker process: before it is started, while it lives, and until it is started again.

    Args:
        pooling: when another one takes its place.
    """

    def __init__(self, pooling: Pooling) -> None:
        self._pooling = pooling
        self.ledger = Ledger()
        self.term = Term(pooling)
        self.pid = 0
        self.started_at = 0.0  #: monotonic
        self.pause = 0.0  #: before it is started again
        self.start_at = 0.0  #: monotonic; when to start it

    @classmethod
    def here(cls, pooling: Pooling) -> Child:
        """This process, where a worker has no supervisor."""
        child = cls(pooling)
        child.pid, child.started_at = os.getpid(), time.monotonic()
        return child

    @property
    def is_alive(self) -> bool:
        """Whether it was started and has not been seen to end."""
        return self.pid != 0

    @property
    def is_over(self) -> str:
        """Why another one is to take its place now; empty: it is not."""
        return self.term.is_over(self.pid, self.ledger, self.started_at) if self.is_alive else ""

    def status(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives. Tells it once."""
        try:
            done, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # somebody else's waitpid() took it
            return 0
        return os.waitstatus_to_exitcode(status) if done else None

    def ended(self) -> Ledger:
        """It has ended, and is to be started again after a pause. Returns what it held."""
        held, self.ledger, self.term, self.pid = self.ledger, Ledger(), Term(self._pooling), 0
        lived = time.monotonic() - self.started_at
        self.pause = 0.0 if lived > GROWN_UP else min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        self.start_at = time.monotonic() + self.pause
        return held

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and somebody else's waitpid() took it
                os.kill(self.pid, number)
