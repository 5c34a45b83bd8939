"""Signals and other orders: what they set, never what they do."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

#: Any of these stops a worker; a second one stops it now.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def print_stacks(number: int = 0, frame: FrameType | None = None) -> None:
    """
    Print every thread's stack to stderr.

    Under the GIL, so that no thread goes on while its stack is read: ``faulthandler.register`` reads them as they run,
    and that has crashed a worker.
    """
    if sys.__stderr__ is not None:
        faulthandler.dump_traceback(sys.__stderr__, all_threads=True)


class Orders:
    """
    Whether to stop.

    Args:
        others: more places that may order it: each returns 0 (go on), 1 (stop) or 2 (stop now).
    """

    def __init__(self, *others: Callable[[], int]) -> None:
        self._others = others
        self._heard = 0
        self._pid = os.getpid()

    @property
    def heard(self) -> bool:
        """Whether a signal told to stop."""
        return self._heard > 0

    @property
    def quit(self) -> bool:
        """Finish what runs, and stop."""
        return self._level() > 0

    @property
    def quit_now(self) -> bool:
        """Stop without waiting for what runs."""
        return self._level() > 1

    def _level(self) -> int:
        return max(self._heard, *(other() for other in self._others))

    def listen(
        self, *, interrupt: bool = True, stacks: Callable[[int, FrameType | None], object] | None = None
    ) -> Callable[[], None]:
        """
        Take the stop signals, and SIGUSR2, which prints every thread's stack. Only the main thread can.

        Args:
            interrupt: whether SIGINT counts. A terminal sends it to the supervisor's children too, who ignore it.
            stacks: handles SIGUSR2 instead, for a process that has others print theirs too.

        Returns:
            What puts the former handlers back.
        """
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        stacks_before = signal.getsignal(signal.SIGUSR2)
        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        for number in STOP_SIGNALS:
            signal.signal(number, self._hear if interrupt or number != signal.SIGINT else signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, stacks or print_stacks)

        def put_back() -> None:
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
            signal.signal(signal.SIGUSR2, stacks_before if stacks_before is not None else signal.SIG_DFL)

        return put_back

    def _hear(self, number: int, frame: FrameType | None) -> None:
        # Nothing else is safe in a handler: the interrupted code may hold any lock.
        self._heard += 1
