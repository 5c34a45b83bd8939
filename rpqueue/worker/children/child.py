"""What a child does, from its fork to its end."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

from ...running import enter, leave
from ...system import System
from ..ledger import Ledger
from ..memory import resident
from ..own_loop import OwnLoop
from ..performing import Ending, perform
from ..signals import STOP_SIGNALS, print_stacks
from ..telling import exits
from .call import Call, Reply
from .channel import Channel

log = logging.getLogger("rpqueue.worker")


class ChildProcess:
    """
    Runs the calls that come over a channel, one after the other.

    Args:
        system: registry and settings, as they were when the nursery was forked.
        ledger: shared with the worker and its supervisor.
        channel: to the worker.
        measures: whether to say how much memory it takes.
    """

    def __init__(self, system: System, ledger: Ledger, channel: Channel, *, measures: bool) -> None:
        self._system = system
        self._ledger = ledger
        self._channel = channel
        self._measures = measures
        self._baseline = 0  #: bytes that it took after its first run
        self._loop = OwnLoop(system.settings)

    def live(self) -> NoReturn:
        """Serve until the worker hangs up; then the process ends."""
        code = 1
        try:
            for number in STOP_SIGNALS:
                signal.signal(number, _ignore)  # the worker has its own, and says when it is enough
            signal.signal(signal.SIGUSR2, print_stacks)
            with contextlib.suppress(Exception):  # stderr may be closed, or no file
                faulthandler.enable(sys.__stderr__ or sys.stderr)
            if self._system.settings.after_fork is not None:
                self._system.settings.after_fork()
            self._channel.send(os.getpid())
            while True:
                self._serve(self._channel.receive())
        except (EOFError, BrokenPipeError):
            code = 0
            self._loop.close()
        except BaseException:  # the traceback must be seen before the process is gone
            log.exception("a child process failed outside of its task")
        finally:
            exits(self._system.settings)
            logging.shutdown()
            flush_output()
            # Not sys.exit: a thread that a task has left must not keep the process, nor is our parents' cleanup ours.
            os._exit(code)

    def _serve(self, call: Call) -> None:
        settings = self._system.settings
        task = settings.registry[call.task]
        claim = call.claim(task, self._system, self._ledger)
        current = enter(claim)
        try:
            ending: Ending = self._loop.perform(task, claim) if task.is_async else perform(task, claim, settings)
        finally:
            leave(current)
        self._channel.send(Reply.of(ending, claim, self._grown()))

    def _grown(self) -> int:
        if not self._measures:
            return 0
        now = resident(os.getpid()) or 0
        self._baseline = self._baseline or now
        return now - self._baseline


def flush_output() -> None:
    """Write out what lies in the buffers of stdout and stderr."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # there is none, or it is closed
            stream.flush()


def _ignore(number: int, frame: FrameType | None) -> Any:
    # A handler, and not SIG_IGN: programs that a task starts would inherit that.
    pass
