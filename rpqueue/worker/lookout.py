"""
Lookout: sees which worker processes work, which are silent, and which stall.

A process says in its ledger when Redis answered it last, and when it found Redis away. One that has said neither for
long, though its supervisor reaches Redis, is silent. If it runs something, that may hold the GIL, and nobody touches
it. If it runs nothing, it stalls: it waits for what does not come, such as an answer over a dead connection, where a
user's client has no timeout. It is replaced, and loses nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .child import Child
from .ledger import Ledger, Stage

log = logging.getLogger("rpqueue.worker")

#: Seconds without a word after which a process is silent; and seconds after which one that stalls is replaced.
SILENT_AFTER, REPLACED_AFTER = 30.0, 60.0
#: Seconds without a word of any process after which the worker as a whole is not well.
NOBODY_AFTER = 60.0
#: Seconds between two looks; after one that is so late, this process was stopped, and others may have been.
INTERVAL, GAP = 1.0, 10.0
#: Seconds that a process may take to stop for a last look.
PATIENCE = 1.0


class Lookout:
    """
    Looks at some worker processes.

    Args:
        children: those that claim.
        reaches: whether the supervisor reached Redis when it tried last; None: it has not tried yet.
        replaces: whether to end those that stall, since somebody starts others in their places.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        children: Callable[[], Iterable[Child]],
        reaches: Callable[[], bool | None],
        *,
        replaces: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children = children
        self._reaches = reaches
        self._replaces = replaces
        self._clock = clock
        self._since = self._looked_at = clock()  #: since when Redis is reached, or not, without a gap of looks
        self._heard_at = clock()  #: of any process
        self._killed = 0  #: the last process that was, since its end may not have been seen yet
        self.reached = reaches()
        self.conditions: dict[int, str] = {}  #: by process id: starting, working, silent or stalled
        self.problems: list[str] = []

    def tick(self) -> float:
        """Look at all, say what is new, replace what stalls."""
        now, reached = self._clock(), self._reaches()
        if reached is not self.reached or now - self._looked_at > GAP:
            self._since = now
        self.reached, self._looked_at = reached, now
        before, self.conditions, self.problems = self.conditions, {}, []
        runs_something = False
        for child in self._children():
            if not child.is_alive:
                continue
            heard_at = max(child.ledger.answered_at, child.ledger.away_at)
            self._heard_at = max(self._heard_at, heard_at)
            silent_for = now - max(heard_at, self._since) if heard_at and reached else 0.0
            runs = silent_for > SILENT_AFTER and _runs(child.ledger)
            runs_something = runs_something or runs
            condition = self._condition(child, silent_for, runs)
            self.conditions[child.pid] = condition
            if condition == "stalled":
                self.problems.append(
                    f"worker process {child.pid} has not asked Redis for {silent_for:.0f} s, and runs nothing"
                )
            if condition != before.get(child.pid):
                _tell(child, condition, silent_for)
            if self._replaces and condition == "stalled" and silent_for > REPLACED_AFTER and child.pid != self._killed:
                self._killed = child.pid if _end(child) else 0
        nobody_for = now - max(self._heard_at, self._since)
        if reached and nobody_for > NOBODY_AFTER and not runs_something and not self.problems:
            self.problems.append(f"no worker process has reached Redis for {nobody_for:.0f} s, though Redis answers")
        return INTERVAL

    @property
    def since(self) -> float:
        """Monotonic instant since which `reached` is as it is."""
        return self._since

    def _condition(self, child: Child, silent_for: float, runs: bool) -> str:
        if not child.ledger.answered_at and not child.ledger.away_at:
            return "starting"
        if silent_for <= SILENT_AFTER:
            return "working"
        return "silent" if runs else "stalled"


def _runs(ledger: Ledger) -> bool:
    return any(held.stage is Stage.STARTED for held in ledger.held())


def _tell(child: Child, condition: str, silent_for: float) -> None:
    if condition == "silent":
        running = [f"{held.id} of {held.queue}" for held in child.ledger.held() if held.stage is Stage.STARTED]
        log.warning(
            "worker process has not asked Redis for %.0f s; what it runs may hold the GIL: %s",
            silent_for,
            ", ".join(running[:5]),
            extra={"pid": child.pid},
        )
    elif condition == "stalled":
        log.error(
            "worker process stalls: it has not asked Redis for %.0f s, though Redis answers, and it runs nothing",
            silent_for,
            extra={"pid": child.pid},
        )


def _end(child: Child) -> bool:
    """Kill a process that stalls, unless it starts something this moment. Returns whether it was killed."""
    pid = child.pid
    if _is_stopped(pid):
        return False  # by a person or a debugger, who will have a reason
    # It is stopped first, or it might start a message between the last look and the signal.
    child.signal(signal.SIGSTOP)
    if _stops(pid) and not _runs(child.ledger):
        log.error("worker process stalls; replacing it", extra={"pid": pid})
        child.signal(signal.SIGKILL)
        return True
    child.signal(signal.SIGCONT)
    return False


def _is_stopped(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"T", b"t")
    return False


def _stops(pid: int) -> bool:
    """Whether a process that was sent SIGSTOP stops soon."""
    ends_at = time.monotonic() + PATIENCE
    while time.monotonic() < ends_at:
        with contextlib.suppress(ChildProcessError):
            found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if found:
                return os.WIFSTOPPED(status)
        time.sleep(0.01)
    return False
