"""
Supervisor: the parent of some worker processes.

It forks them, beats for them, extends their leases from their ledgers, replaces those that die and sees at once to what
they held. It runs no task itself and has one thread only, so that it can fork again at any time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from ..errors import RedisError
from ..system import System
from .child import Child
from .children import Children
from .deaths import death_record, how
from .endings import Endings
from .healthfile import HealthFile
from .heartbeat import Heartbeat, Presence
from .ledger import Ledger
from .lookout import Lookout
from .pools import Pooling
from .reloading import Watcher
from .service import Duties
from .signals import Orders, print_stacks
from .undertaker import Undertaker
from .unread import UnreadRounds
from .worker import LAST_WORDS, Worker

log = logging.getLogger("rpqueue.worker")

#: Seconds between two looks for orders; a child's death is seen at once.
LOOK = 0.2
#: Seconds after which a child that was told to stop, and had its time, is killed.
PATIENCE_WITH_CHILDREN = LAST_WORDS + 2.0


class Supervisor:
    """
    Runs worker processes until told to stop.

    Args:
        system: settings and keys.
        queues: only these; None: all.
        threads: slots of each process.
        processes: how many.
        wait: seconds that running tasks get to end when told to stop.
        pooling: where they run.
        endings: when to end without being told to.
        watcher: ends it when its code has changed; None: nothing does.
        health_file: where to say how it is; None: nowhere.
    """

    def __init__(
        self,
        system: System,
        queues: list[str] | None,
        threads: int,
        processes: int,
        wait: float,
        pooling: Pooling = Pooling(),  # noqa: B008, frozen
        endings: Endings = Endings(),  # noqa: B008, frozen
        watcher: Watcher | None = None,
        health_file: str | None = None,
    ) -> None:
        self.system = system
        self.queues = queues
        self.threads = threads
        self.wait = wait
        self.pooling = pooling
        self.watcher = watcher
        self.children = [Child(pooling) for _ in range(processes)]
        self.retiring: list[Child] = []  #: others have taken their places, and they end what they have
        self.broker = system.broker.prompt()
        self.undertaker = Undertaker(system, self.broker)
        self.presence = Presence(system, self.broker, queues, threads, self._alive, pooling.pool)
        reasons, services = endings.begin(system, self.broker, queues, self._ledgers)
        self.duties = Duties(
            self.undertaker,
            Heartbeat(system, self.broker, lambda: [child.ledger for child in self._living()]),
            UnreadRounds(system, self.broker, lambda: [child.ledger for child in self._living()]),
            self.presence,
            *services,
        )
        self.orders = Orders(*reasons, *([watcher.order] if watcher else []))
        self.state = "starting"
        self.lookout = Lookout(self._claiming, lambda: self.presence.reaches)
        self.health_file = None
        if health_file is not None:
            about = {"queues": queues, "pool": pooling.pool, "threads": threads}
            self.health_file = HealthFile(health_file, about, processes, self._family, lambda: self.state, self.lookout)
        # Apart from the duties, which all wait while Redis is away.
        self.looks = Duties(self.lookout, *([self.health_file] if self.health_file else []))

    def run(self) -> None:
        """Supervise until told to stop and all children have ended."""
        put_back = self.orders.listen(stacks=self._print_stacks)
        with self._deaths() as death:
            if self.watcher:
                self.watcher.start()
            try:
                while not self.orders.quit:
                    self._replace_the_dead()
                    self._retire_who_is_over()
                    self._start_who_is_due()
                    pause = min(self.duties.run_due(), self._look(), LOOK)
                    select.select([death], [], [], pause)
                    _drain(death)
                self._stop_children(death)
            finally:
                for child in self._living():
                    child.signal(signal.SIGKILL)
                if self.watcher:
                    self.watcher.close()
                if self.health_file:
                    self.health_file.remove()
                put_back()
        if not self.duties.is_away:
            with contextlib.suppress(RedisError):  # they are forgotten anyway once they are silent for long enough
                self.presence.leave()

    def _look(self) -> float:
        if self.state == "starting" and all(child.ledger.answered_at for child in self.children):
            self.state = "running"
        return self.looks.run_due()

    def _claiming(self) -> list[Child]:
        return self.children if self.state in ("starting", "running") else []

    def _family(self) -> list[tuple[Child, bool]]:
        """All processes, and whether each is about to leave."""
        is_over = self.state in ("quiet", "stopping")
        return [(child, is_over) for child in self.children] + [(child, True) for child in self.retiring]

    def _print_stacks(self, number: int, frame: FrameType | None) -> None:
        print_stacks()
        for child in self._living():
            child.signal(signal.SIGUSR2)

    def _living(self) -> list[Child]:
        return [child for child in (*self.children, *self.retiring) if child.is_alive]

    def _ledgers(self) -> list[Ledger] | None:
        return [child.ledger for child in (*self.children, *self.retiring)] if self.undertaker.is_done else None

    def _retire_who_is_over(self) -> None:
        """Put new processes in the places of those that have worked enough; these end what they have."""
        for place, child in enumerate(self.children):
            # No more of them than there are places, or tasks that take long would let there be ever more processes.
            if len(self.retiring) < len(self.children) and (why := child.is_over):
                log.info("worker process is replaced after %s", why, extra={"pid": child.pid})
                child.ledger.retire()
                self.retiring.append(child)
                self.children[place] = Child(self.pooling)

    def _start_who_is_due(self) -> None:
        for child in self.children:
            if not child.is_alive and time.monotonic() >= child.start_at:
                self._start(child)

    def _start(self, child: Child) -> None:
        parent = os.getpid()
        _flush_output()  # or the child would write out once more what lies in the buffers
        pid = os.fork()
        if pid == 0:
            self._be_a_worker(child.ledger, parent)
        child.pid, child.started_at = pid, time.monotonic()
        self.duties.hasten(self.presence)
        log.info("worker process started", extra={"pid": pid})

    def _be_a_worker(self, ledger: Ledger, parent: int) -> None:
        """What a child does from fork to exit. Never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            settings = self.system.settings
            orders = Orders(
                lambda: int(bool(settings.should_quit[0])),
                lambda: ledger.quit_order,
                lambda: int(os.getppid() != parent),  # an orphan finishes what it has and stops
            )
            children = Children(self.system, ledger, self.pooling)
            orders.listen(interrupt=False, stacks=children.print_stacks)
            children.start_if_needed()  # before AFTER_FORK, which may open what no child may share
            if settings.after_fork is not None:
                settings.after_fork()
            Worker(self.system, self.queues, self.threads, self.wait, ledger, orders, self.pooling, children).run()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:  # the traceback must be seen before the process is gone
            log.exception("worker process failed")
        finally:
            logging.shutdown()
            _flush_output()
            # Not sys.exit: a task that did not end must not keep the process, and the parent's cleanup is not ours.
            os._exit(code)

    def _replace_the_dead(self) -> None:
        for child in self._living():
            if (status := child.status()) is not None:
                self._see_to(child, status)

    def _see_to(self, child: Child, status: int) -> None:
        pid, is_expected = child.pid, self.orders.quit or child.ledger.is_retired
        self.undertaker.take(child.ended(), death_record(pid, status))
        if child in self.retiring:
            self.retiring.remove(child)
        self.duties.hasten(self.undertaker)
        self.duties.hasten(self.presence)
        level = logging.INFO if is_expected and status == 0 else logging.ERROR
        log.log(level, "worker process ended: %s", how(status), extra={"pid": pid})

    def _stop_children(self, death: int) -> None:
        self.state = "quiet"
        for child in (*self.children, *self.retiring):
            child.ledger.order_quit(1)
        stops_at = time.monotonic() + self.wait
        ends_at = time.monotonic() + self.wait + PATIENCE_WITH_CHILDREN
        hurry_at = ends_at
        while self._living():
            self._replace_the_dead()
            if self.orders.quit_now or time.monotonic() > stops_at:
                self.state = "stopping"
            if self.orders.quit_now:
                for child in self._living():
                    child.ledger.order_quit(2)
                hurry_at = min(hurry_at, time.monotonic() + PATIENCE_WITH_CHILDREN)
            if time.monotonic() > min(ends_at, hurry_at):
                for child in self._living():
                    log.error("worker process did not stop in time; killing it", extra={"pid": child.pid})
                    child.signal(signal.SIGKILL)
                    os.waitpid(child.pid, 0)
                    self._see_to(child, -signal.SIGKILL)
            self.duties.run_due()
            self._look()
            select.select([death], [], [], LOOK / 4)
            _drain(death)

    def _alive(self) -> dict[int, float]:
        return {child.pid: child.started_at for child in self._living()}

    @contextlib.contextmanager
    def _deaths(self) -> Iterator[int]:
        """
        A file descriptor that becomes readable when a child dies, or any signal comes.

        Not so in a thread that is not the main one, which hears of no signals and looks for the dead now and then.
        """
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        hears = threading.current_thread() is threading.main_thread()
        if hears:
            handler_before = signal.signal(signal.SIGCHLD, lambda number, frame: None)
            descriptor_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield reader
        finally:
            if hears:
                signal.set_wakeup_fd(descriptor_before)
                signal.signal(signal.SIGCHLD, handler_before or signal.SIG_DFL)
            os.close(reader)
            os.close(writer)


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # there is none, or it is closed
            stream.flush()


def _drain(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 4096):
            pass
