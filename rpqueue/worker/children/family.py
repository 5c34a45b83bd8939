"""Children: the child processes of one worker, lent to its slots."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from types import FrameType
from typing import Any

from ...system import System
from ...tasks import Task
from ..claims import Claim
from ..deaths import death_record
from ..ledger import Ledger
from ..patience import Stopped
from ..performing import Abandoned, Crashed, Upshot, failed, timed_out, why_stopped
from ..pools import Pooling
from ..signals import print_stacks
from .call import Call, Reply
from .needs import need_children
from .nursery import Child, Nursery

log = logging.getLogger("rpqueue.worker")

#: Seconds of the first and the longest pause between two tries to fork.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
#: Seconds in which children that are killed are gone, and in which those without work end by themselves.
KILLED_WITHIN, ENDED_WITHIN = 5.0, 2.0


class Children:
    """
    The children of a worker process. Its slots share it; each run has a child to itself.

    Args:
        system: registry and settings.
        ledger: shared with the supervisor, and with children.
        pooling: when a child is replaced.
    """

    def __init__(self, system: System, ledger: Ledger, pooling: Pooling) -> None:
        self.system = system
        self.pooling = pooling
        self._ledger = ledger
        self._nursery: Nursery | None = None
        self._former: list[Nursery] = []
        self._idle: deque[Child] = deque()
        self._running: dict[Claim, Child | None] = {}  # None: it waits for one
        self._interrupted: list[Claim] = []
        self._is_closing = False
        self._change = threading.Condition()  # guards what stands above

    def start_if_needed(self) -> None:
        """
        Start the nursery, if any task that is registered needs children.

        To be called before the process has a second thread, a connection, or anything else that no child may share.
        """
        if need_children(self.system, self.pooling.pool):
            self._start()

    def _start(self) -> None:
        nursery = Nursery(self.system, self._ledger, measures=self.pooling.max_memory is not None)
        nursery.start()
        self._nursery = nursery

    def _start_another(self, why: str) -> None:
        log.warning(
            "%s; forking another process for that from one with threads, which may hang. Declare tasks that run in "
            "child processes before the worker starts, and start it by execute_tasks(), or before other threads",
            why,
        )
        former = self._nursery
        self._start()
        if former is not None:
            former.retire()
            self._former.append(former)

    def print_stacks(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: print the stacks of this process, and have the children print theirs."""
        print_stacks()
        for nursery in (self._nursery, *self._former):
            if nursery is not None:
                nursery.print_stacks()

    # What slots use.

    def perform(self, task: Task[..., Any], claim: Claim, *, fresh: bool) -> Upshot:
        """
        Run a call in a child, and wait.

        Args:
            task: that was declared by now.
            claim: of the call.
            fresh: whether it gets a child that nothing ran in, nor will.

        Raises:
            Stopped: the worker stops; the claim is among those that `interrupt` returns.
        """
        child, is_reusable = None, False
        try:
            while True:
                child = self._take(task, claim, fresh=fresh)
                started_at = time.time()
                ends_at = time.monotonic() + task.hard_timeout if task.hard_timeout else None
                try:
                    child.channel.send(Call.of(task, claim), ends_at)
                    break
                except BrokenPipeError:  # it had died without work, and was given none
                    child.channel.close()
            reply = self._reply_of(child, ends_at)
            if reply is None:
                return self._ended_by_death(task, claim, child, started_at)
            child.runs, child.grown, is_reusable = child.runs + 1, reply.grown, not fresh
            return reply.ending_of(claim)
        finally:
            self._give_back(child, claim, is_reusable=is_reusable)

    def _take(self, task: Task[..., Any], claim: Claim, *, fresh: bool) -> Child:
        """A child for a claim, which is its run from now on."""
        pause = FIRST_PAUSE
        with self._change:
            self._running[claim] = None
        while True:
            child = (None if fresh else self._idle_one(task)) or self._fork(task)
            if child is not None and (child.pid or child.wait_until_born()):
                with self._change:
                    if not self._is_closing:
                        self._running[claim] = child
                        return child
            if child is not None:
                child.channel.close()
            with self._change:
                if self._change.wait_for(lambda: self._is_closing, pause):
                    self._interrupted.append(claim)
                    raise Stopped
            log.error("a child process did not come to life; trying again")
            pause = min(pause * 2, LONGEST_PAUSE)

    def _idle_one(self, task: Task[..., Any]) -> Child | None:
        while True:
            try:
                child = self._idle.pop()
            except IndexError:
                return None
            if not child.ended.is_set() and not self._has_served(child) and child.nursery.knows(task):
                return child
            child.channel.close()

    def _fork(self, task: Task[..., Any]) -> Child | None:
        """A child that knows a task; None: that is not possible now."""
        with self._change:
            nursery = self._nursery
            try:
                if nursery is None or not nursery.knows(task):
                    self._start_another(
                        f"{task.name} runs in a child process, and was not there when the worker started"
                    )
                elif nursery.is_gone:
                    self._start_another("the process that forks child processes has died")
                return self._nursery.fork()  # type: ignore[union-attr]
            except OSError as error:
                log.error("no child process can be forked: %s", error)
                return None

    def _has_served(self, child: Child) -> bool:
        """Whether it is to be replaced."""
        most, pooling = self.pooling.max_tasks, self.pooling
        return (
            child.is_doomed
            or child.nursery is not self._nursery
            or (most is not None and child.runs >= most)
            or (pooling.max_age is not None and time.monotonic() - child.born_at >= pooling.max_age)
            or (pooling.max_memory is not None and child.grown > pooling.max_memory)
        )

    def _reply_of(self, child: Child, ends_at: float | None) -> Reply | None:
        """What it says of its run; None: it died. When its time is over, it is killed."""
        try:
            try:
                reply: Reply = child.channel.receive(ends_at)
            except TimeoutError:
                child.is_late = True
                child.kill()
                reply = child.channel.receive()  # it may have ended its run in the same moment
        except (EOFError, OSError):
            return None
        return reply

    def _ended_by_death(self, task: Task[..., Any], claim: Claim, child: Child, started_at: float) -> Upshot:
        """What a run has come to whose child died."""
        status = child.how_it_ended()  # nothing of the run goes on when its message is ready again
        why: BaseException | None = None
        if claim.stop_asked:
            why = why_stopped(claim)
            if why is None:
                return Abandoned()
        elif child.is_late:
            why = timed_out(task, claim)
        elif self._is_closing:
            self._interrupted.append(claim)
            raise Stopped
        if why is None:
            return Crashed(death_record(child.pid, status, attempt=claim.attempt))
        ending = failed(task, claim, self.system.settings, why, started_at)
        ending.record["pid"] = child.pid
        return ending

    def _give_back(self, child: Child | None, claim: Claim, *, is_reusable: bool) -> None:
        with self._change:
            self._running.pop(claim, None)
            if child is not None and is_reusable and not self._is_closing and not self._has_served(child):
                self._idle.append(child)
                child = None
            if self._is_closing:
                self._change.notify_all()
        if child is not None:
            child.channel.close()

    # What the worker uses.

    def stop(self, claim: Claim) -> None:
        """Kill the child that runs a claim, if one does."""
        with self._change:
            child = self._running.get(claim)
            if child is not None:
                child.kill()

    def interrupt(self) -> list[Claim]:
        """Kill what runs, and wait until it is dead. Returns the claims that had not ended by themselves by then."""
        with self._change:
            self._is_closing = True
            for child in self._running.values():
                if child is not None:
                    child.kill()
            self._change.notify_all()
            self._change.wait_for(lambda: not self._running, KILLED_WITHIN)
            return [*self._interrupted, *self._running]

    def close(self) -> None:
        """End all children, and the nursery."""
        self.interrupt()
        while self._idle:
            self._idle.pop().channel.close()
        for nursery in (self._nursery, *self._former):
            if nursery is not None:
                nursery.close(ENDED_WITHIN)
