"""Children: the child processes of one worker, lent to its slots."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any

from ...system import System
from ...tasks import Task
from ..claims import Claim
from ..deaths import death_record
from ..ledger import Ledger
from ..patience import Stopped
from ..performing import Abandoned, Crashed, Upshot, failed, timed_out, why_stopped
from ..pools import Pooling
from .call import Call, Reply
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

    def start(self) -> None:
        """Start the nursery. To be called while this process has one thread."""
        nursery = Nursery(self.system, self._ledger, measures=self.pooling.max_memory is not None)
        nursery.start()
        self._nursery = nursery

    def make_ready(self, task: Task[..., Any]) -> None:
        """See to it that children know a task. Says so when that takes a fork which is not safe."""
        with self._change:
            if self._nursery is None or not self._nursery.knows(task):
                log.warning(
                    "%s runs in a child process, and no process is there that may fork one; forking it from a process "
                    "with threads, which may hang. Declare such tasks before the worker starts, and start it by "
                    "execute_tasks(), or before other threads",
                    task.name,
                )
                self._replace_nursery()

    def _replace_nursery(self) -> None:
        if self._nursery is not None:
            self._nursery.retire()
            self._former.append(self._nursery)
        self.start()

    # What slots use.

    def perform(self, task: Task[..., Any], claim: Claim, *, fresh: bool) -> Upshot:
        """
        Run a call in a child, and wait.

        Args:
            task: that `make_ready` was told of.
            claim: of the call.
            fresh: whether it gets a child that nothing ran in, nor will.

        Raises:
            Stopped: the worker stops; the claim is among those that `interrupt` returns.
        """
        child, is_reusable = None, False
        try:
            while True:
                child = self._take(claim, fresh=fresh)
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

    def _take(self, claim: Claim, *, fresh: bool) -> Child:
        """A child for a claim, which is its run from now on."""
        pause = FIRST_PAUSE
        with self._change:
            self._running[claim] = None
        while True:
            child = (None if fresh else self._idle_one()) or self._fork()
            if child.pid or child.wait_until_born():
                with self._change:
                    if not self._is_closing:
                        self._running[claim] = child
                        return child
            child.channel.close()
            with self._change:
                if self._change.wait_for(lambda: self._is_closing, pause):
                    self._interrupted.append(claim)
                    raise Stopped
            log.error("a child process did not come to life; trying again", extra={"status": child.how_it_ended()})
            pause = min(pause * 2, LONGEST_PAUSE)

    def _idle_one(self) -> Child | None:
        while True:
            try:
                child = self._idle.pop()
            except IndexError:
                return None
            if not child.ended.is_set() and not self._has_served(child):
                return child
            child.channel.close()

    def _fork(self) -> Child:
        with self._change:
            nursery = self._nursery
            if nursery is None or nursery.is_gone:
                log.error("the nursery has died; forking another one from a process with threads, which may hang")
                self._replace_nursery()
            return self._nursery.fork()  # type: ignore[union-attr]

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
        status = child.how_it_ended()  # nothing of the run may go on when its message is ready again
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
