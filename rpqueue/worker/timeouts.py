"""
Timeouts: SoftTimeout, raised inside of a run, and the limits of coroutines.

None of these may reach a later run. In a main thread SIGALRM raises, in a handler that looks whether the run still
goes on. In another thread a watchdog has Python raise at the next bytecode; for that exactly one of the two, watchdog
and end of the run, gets a token, and a run that does not waits until the exception was raised or can be taken back.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import heapq
import itertools
import os
import signal
import threading
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import FrameType
from typing import Any

from ..errors import SoftTimeout

#: Limits that were left in time and still lie in the watchdog's list, from which on it is looked through.
MANY_LEFT = 64


def soft_limit(seconds: float) -> contextlib.AbstractContextManager[Any]:
    """A block in which SoftTimeout is raised after some seconds; 0: never."""
    if not seconds:
        return contextlib.nullcontext()
    if threading.current_thread() is threading.main_thread():
        return _Alarm(seconds)
    return _Limit(seconds)


# In the main thread of a process.

#: What SIGALRM is to raise now.
_wanted: BaseException | None = None


def listen() -> Any:
    """Take SIGALRM. To be called in the main thread. Returns who had it."""
    return signal.signal(signal.SIGALRM, _ring)


def raise_in_main_thread(error: BaseException) -> None:
    """Raise an error in the main thread, which `listen` was called in, whatever it waits for."""
    global _wanted
    _wanted = error
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)


def _ring(number: int, frame: FrameType | None) -> None:
    global _wanted
    error, _wanted = _wanted, None
    if error is not None:
        raise error


class _Alarm:
    """A limit by SIGALRM. Whose handler and timer there were, gets them back."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        global _wanted
        self._handler = listen()
        self._since = time.monotonic()
        _wanted = _timeout(self._seconds)
        self._before = signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *raised: object) -> None:
        global _wanted
        try:
            _wanted = None  # from here on a ring raises nothing
        finally:  # it may ring just before that
            self._put_back()

    def _put_back(self) -> None:
        left, interval = self._before
        if left:
            left = max(left - (time.monotonic() - self._since), 0.000001)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler if self._handler is not None else signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, left, interval)


# In any other thread.


class _Limit:
    """A limit by the watchdog."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._token = [True]  # whoever pops it decides: the watchdog that it is raised, or the run that it is not
        self._is_thrown = False
        self.ends_at = 0.0

    def __enter__(self) -> None:
        self._thread = threading.get_ident()
        self.ends_at = time.monotonic() + self._seconds
        _WATCHDOG.watch(self)

    def __exit__(self, *raised: object) -> None:
        try:
            self._token.pop()
        except IndexError:
            while not self._is_thrown:
                time.sleep(0.0005)
            throw(self._thread, None)  # if it was not raised by now, it never is
        else:
            _WATCHDOG.left()

    @property
    def is_left(self) -> bool:
        """Whether its run has ended, or got the exception."""
        return not self._token

    def fire(self) -> None:
        """Have SoftTimeout be raised, unless the run has ended."""
        try:
            self._token.pop()
        except IndexError:
            return
        throw(self._thread, SoftTimeout)
        self._is_thrown = True


class _Watchdog:
    """One thread for the limits of all others."""

    def __init__(self) -> None:
        self._limits: list[tuple[float, int, _Limit]] = []  # a heap
        self._numbers = itertools.count()
        self._left = 0
        self._change = threading.Condition()
        self._pid = 0

    def watch(self, limit: _Limit) -> None:
        """Fire it when its time is over."""
        if self._pid != os.getpid():  # threads do not come along when a process is forked
            self.__init__()  # type: ignore[misc]
            self._pid = os.getpid()
            threading.Thread(target=self._run, name="rpqueue-watchdog", daemon=True).start()
        with self._change:
            heapq.heappush(self._limits, (limit.ends_at, next(self._numbers), limit))
            if self._limits[0][2] is limit:
                self._change.notify()

    def left(self) -> None:
        """A limit is not to be watched any more."""
        self._left += 1
        if self._left > MANY_LEFT and self._left * 2 > len(self._limits):
            with self._change:
                self._limits = [entry for entry in self._limits if not entry[2].is_left]
                heapq.heapify(self._limits)
                self._left = 0

    def _run(self) -> None:
        while True:
            with self._change:
                if not self._limits:
                    self._change.wait()
                    continue
                left = self._limits[0][0] - time.monotonic()
                if left > 0:
                    self._change.wait(left)
                    continue
                limit = heapq.heappop(self._limits)[2]
            limit.fire()


_WATCHDOG = _Watchdog()


def throw(thread: int, kind: type[BaseException] | None) -> None:
    """Have a class of exceptions be raised in a thread as soon as it runs Python; None: take back what was not yet."""
    what = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)


# In a coroutine.


class CoroutineLimits:
    """
    The limits of one coroutine: SoftTimeout is raised where it waits; at the hard one it is cancelled.

    Args:
        soft: seconds; 0: none.
        hard: the same.
    """

    def __init__(self, soft: float, hard: float) -> None:
        self._soft, self._hard = soft, hard
        self._is_soft_due = False
        self._task: asyncio.Task[Any] | None = None
        self.is_over = False  #: it was cancelled because the hard limit was reached

    def __bool__(self) -> bool:
        return bool(self._soft or self._hard)

    async def run(self, awaitable: Awaitable[Any]) -> Any:
        """Await it, for so long. Is part of an asyncio Task that ends with it."""
        if not self:
            return await awaitable
        loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        timers = [
            loop.call_later(seconds, reached)
            for seconds, reached in ((self._soft, self._reach_soft), (self._hard, self._reach_hard))
            if seconds
        ]
        try:
            return await _turning(_whole(awaitable), self._turn)
        finally:
            for timer in timers:
                timer.cancel()

    def _reach_soft(self) -> None:
        self._is_soft_due = True
        self._cancel()

    def _reach_hard(self) -> None:
        self.is_over = True
        self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _turn(self, error: BaseException) -> BaseException:
        """What is raised inside in place of *error*."""
        if not self._is_soft_due or not isinstance(error, asyncio.CancelledError):
            return error
        self._is_soft_due = False
        uncancel = getattr(self._task, "uncancel", None)  # not on Python 3.10
        if uncancel is not None:
            uncancel()
        return _timeout(self._soft)


async def _whole(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@types.coroutine
def _turning(
    coroutine: Coroutine[Any, Any, Any], turn: Callable[[BaseException], BaseException]
) -> Generator[Any, Any, Any]:
    """Await a coroutine, in which what is thrown into it is raised as what *turn* makes of that."""
    step: Callable[[Any], Any] = coroutine.send
    what: Any = None
    while True:
        try:
            awaited = step(what)
        except StopIteration as end:
            return end.value
        try:
            what, step = (yield awaited), coroutine.send
        except BaseException as error:
            what, step = turn(error), coroutine.throw


def _timeout(seconds: float) -> SoftTimeout:
    return SoftTimeout(f"the run took longer than its soft_timeout of {seconds:g} s")
