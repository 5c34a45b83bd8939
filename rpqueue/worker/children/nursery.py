"""Nursery: a process with one thread that forks children for a worker, kills them, and says how they ended."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import struct
import threading
import time
import warnings
from types import FrameType
from typing import Any, NoReturn

from ...errors import RefusedInput
from ...system import System
from ...tasks import Task
from ..ledger import Ledger
from ..signals import STOP_SIGNALS
from . import bonds
from .channel import Channel
from .child import ChildProcess, flush_output

log = logging.getLogger("rpqueue.worker")

#: What a worker says, with the number of a child: fork it (its socket comes along); kill it; fork no more, and end when
#: the last one has ended.
_ORDER, _FORK, _KILL, _RETIRE = struct.Struct("<cI"), b"f", b"k", b"r"
#: What a nursery says: number and process id of a child that ended, and its status; a pid of 0: it could not be forked,
#: and the status is the errno.
_REPORT = struct.Struct("<Iii")
#: Seconds in which a child that hung up has ended, or is killed; and in which that is reported, on a busy machine too.
ENDED_WITHIN, REPORTED_WITHIN = 0.5, 10.0


class Child:
    """
    A child, as its worker sees it.

    Args:
        nursery: that forks it.
        number: by which the nursery knows it.
        channel: to it.
    """

    def __init__(self, nursery: Nursery, number: int, channel: Channel) -> None:
        self.nursery = nursery
        self.number = number
        self.channel = channel
        self.pid = 0  #: once it said it
        self.born_at = time.monotonic()
        self.runs = 0
        self.grown = 0  #: bytes since its first run
        self.is_doomed = False  #: it was told to die
        self.is_late = False  #: because its run took too long
        self.ended = threading.Event()
        self.status: int | None = None  #: exit code, negative for a signal; None: it lives, or nobody knows

    def wait_until_born(self) -> bool:
        """Wait until it can take calls. False: it never will."""
        try:
            self.pid = self.channel.receive()
        except EOFError:
            return False
        return True

    def kill(self) -> None:
        """Have it killed. It is not given any more calls."""
        self.is_doomed = True
        self.nursery.kill(self.number)

    def how_it_ended(self) -> int | None:
        """Its status, once its channel was found closed; waits until that is known. None: nobody knows."""
        if not self.ended.wait(ENDED_WITHIN):
            self.kill()  # a task has closed files that were not its own
            self.ended.wait(REPORTED_WITHIN)
        return self.status


class Nursery:
    """
    The process, as its worker sees it.

    Args:
        system: registry and settings. Children know those of the instant at which the nursery is started.
        ledger: shared by worker, supervisor and children.
        measures: whether children say how much memory they take.
    """

    def __init__(self, system: System, ledger: Ledger, *, measures: bool = False) -> None:
        self._system = system
        self._ledger = ledger
        self._measures = measures
        self._saying = threading.Lock()
        self._children: dict[int, Child] = {}
        self._last = 0  #: number of the youngest child
        self._known: frozenset[Task[..., Any]] = frozenset()
        self._control: socket.socket
        self.pid = 0
        self.is_gone = False

    def start(self) -> None:
        """
        Fork the process. Safe as long as this one has a single thread; from a process with more it is a risk, since a
        lock that another thread holds this instant stays locked in the child.
        """
        if not hasattr(os, "fork"):
            raise RefusedInput("children: expected a system with fork(), as Linux and macOS are; use threads")
        self._known = frozenset(self._system.settings.registry.values())
        ours, theirs = socket.socketpair()
        bonds.prepare()
        flush_output()  # or each child would write out once more what lies in the buffers
        parent, is_alone = os.getpid(), threading.active_count() == 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Python's about threads; the caller has said it
                self.pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if self.pid == 0:
            _Inside(self._system, self._ledger, theirs, self._measures).tend(ours, parent, bound=is_alone)
        theirs.close()
        self._control = ours
        threading.Thread(target=self._listen, name="rpqueue-nursery", daemon=True).start()
        log.debug("nursery started", extra={"pid": self.pid})

    def knows(self, task: Task[..., Any]) -> bool:
        """Whether its children can run a task."""
        return task in self._known

    def fork(self) -> Child:
        """A new child; see `Child.wait_until_born`."""
        ours, theirs = socket.socketpair()
        with self._saying, theirs:
            self._last += 1
            child = self._children[self._last] = Child(self, self._last, Channel(ours))
            try:
                socket.send_fds(self._control, [_ORDER.pack(_FORK, child.number)], [theirs.fileno()])
            except OSError:
                self._is_over(child, None)
        return child

    def kill(self, number: int) -> None:
        """Kill a child, if it has not ended."""
        self._say(_KILL, number)

    def print_stacks(self) -> None:
        """Have all children print their stacks. May be called in a handler of signals."""
        if self.pid and not self.is_gone:
            os.kill(self.pid, signal.SIGUSR2)

    def retire(self) -> None:
        """Fork no more children, and end when the last one has."""
        self._say(_RETIRE)

    def close(self, timeout: float) -> None:
        """End it: orderly, if its children end within *timeout* seconds, else with them."""
        self.retire()
        ends_at = time.monotonic() + timeout
        while not self.is_gone and time.monotonic() < ends_at:
            time.sleep(0.005)
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # wakes who listens, too

    def _say(self, order: bytes, number: int = 0) -> None:
        with self._saying, contextlib.suppress(OSError):  # it is gone, and its children with it
            self._control.sendall(_ORDER.pack(order, number))

    def _listen(self) -> None:
        """Hear what becomes of children, in a thread, until the nursery is gone."""
        with contextlib.suppress(OSError):
            while len(report := self._control.recv(_REPORT.size, socket.MSG_WAITALL)) == _REPORT.size:
                number, pid, status = _REPORT.unpack(report)
                if not pid:
                    log.error("a child process could not be forked: %s", os.strerror(status))
                self._is_over(self._children.get(number), status if pid else None)
        self.is_gone = True  # first: once it is waited for, its process id may be another's
        with contextlib.suppress(ChildProcessError):  # somebody else's waitpid() took it
            os.waitpid(self.pid, 0)
        for child in list(self._children.values()):
            self._is_over(child, None)
        self._control.close()

    def _is_over(self, child: Child | None, status: int | None) -> None:
        if child is not None and self._children.pop(child.number, None) is not None:
            child.status = status
            child.ended.set()


class _Inside:
    """
    The process, from inside.

    Args:
        system: handed on to children.
        ledger: the same.
        control: its end of the worker's socket.
        measures: handed on to children.
    """

    def __init__(self, system: System, ledger: Ledger, control: socket.socket, measures: bool) -> None:
        self._system = system
        self._ledger = ledger
        self._control = control
        self._measures = measures
        self._alive: dict[int, int] = {}  #: process ids by number
        self._is_retiring = False
        self._stacks_wanted = False

    def tend(self, theirs: socket.socket, parent: int, *, bound: bool) -> NoReturn:
        """Do as told until the worker is gone or all is done; then the process ends."""
        code = 1
        try:
            theirs.close()
            for number in STOP_SIGNALS:
                signal.signal(number, _ignore)
            signal.signal(signal.SIGUSR2, self._want_stacks)
            signal.set_wakeup_fd(-1)
            if bound:  # by the thread that forked it: another one than the main one may end before the worker does
                bonds.die_with(parent)
            self._system.broker.close()  # not ours to speak on
            self._obey()
            code = 0
        except BaseException:
            log.exception("the nursery failed")
        finally:
            for pid in self._alive.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            logging.shutdown()
            os._exit(code)

    def _obey(self) -> None:
        reader, writer = os.pipe()
        for end in (reader, writer):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._pipe = reader, writer
        while self._alive or not self._is_retiring:
            ready, _, _ = select.select([self._control.fileno(), reader], [], [])
            if reader in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(reader, 4096)
                self._reap()
                self._pass_on_stacks()
            if self._control.fileno() in ready and not self._take_order():
                return

    def _take_order(self) -> bool:
        """Do what the worker says next. False: it is gone."""
        said, sockets, _, _ = socket.recv_fds(self._control, _ORDER.size, 1)
        if not said:
            return False
        order, number = _ORDER.unpack(said)
        if order == _FORK:
            self._fork(number, socket.socket(fileno=sockets[0]))
        elif order == _KILL and number in self._alive:
            os.kill(self._alive[number], signal.SIGKILL)  # it is not reaped yet, so the id is still its own
        elif order == _RETIRE:
            self._is_retiring = True
        return True

    def _fork(self, number: int, own: socket.socket) -> None:
        with own:
            parent = os.getpid()
            try:
                pid = os.fork()
            except OSError as error:
                self._report(number, 0, error.errno or 0)
                return
            if pid == 0:
                self._be_a_child(own, parent)
            self._alive[number] = pid

    def _be_a_child(self, own: socket.socket, parent: int) -> NoReturn:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._control.close()
        for end in self._pipe:
            os.close(end)
        if not bonds.die_with(parent):
            bonds.watch(parent)
        ChildProcess(self._system, self._ledger, Channel(own), measures=self._measures).live()

    def _reap(self) -> None:
        for number, pid in list(self._alive.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._alive[number]
                self._report(number, pid, os.waitstatus_to_exitcode(status))

    def _want_stacks(self, number: int, frame: FrameType | None) -> None:
        self._stacks_wanted = True

    def _pass_on_stacks(self) -> None:
        if self._stacks_wanted:
            self._stacks_wanted = False
            for pid in self._alive.values():
                os.kill(pid, signal.SIGUSR2)

    def _report(self, number: int, pid: int, status: int) -> None:
        with contextlib.suppress(OSError):  # the worker is gone, and the next order says so
            self._control.sendall(_REPORT.pack(number, pid, status))


def _ignore(number: int, frame: FrameType | None) -> None:
    pass
