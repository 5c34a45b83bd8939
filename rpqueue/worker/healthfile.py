"""HealthFile: what a worker says of itself in a file, for probes that know neither the application nor Redis."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import RefusedInput
from ..health import instant
from ..version import VERSION
from .child import Child
from .lookout import Lookout

log = logging.getLogger("rpqueue.worker")

#: Seconds between two looks for what has changed; and after which the file is written though nothing has.
LOOK, INTERVAL = 0.5, 5.0


def check_path(path: str) -> None:
    """RefusedInput when no file can be written there."""
    try:
        _beside(Path(path)).touch()
        _beside(Path(path)).unlink()
    except OSError as error:
        raise RefusedInput(f"health_file: expected a file that can be written, got {path}: {error}") from error


class HealthFile:
    """
    Keeps a file that says how a worker is.

    Args:
        path: of the file. Its directory must be there. Others never see half of it.
        about: what does not change: queues, pool, threads and the like.
        wanted: how many processes there should be.
        family: all processes, and whether each is about to leave.
        state: "starting", "running", "quiet" (what runs may end) or "stopping".
        lookout: knows how the processes are.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        about: dict[str, Any],
        wanted: int,
        family: Callable[[], Sequence[tuple[Child, bool]]],
        state: Callable[[], str],
        lookout: Lookout,
    ) -> None:
        self._path = Path(path)
        self._wanted = wanted
        self._family = family
        self._state = state
        self._lookout = lookout
        self._about = {
            "version": VERSION,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": round(time.time(), 3),
            **about,
        }
        self._written_at = float("-inf")
        self._before: object = None
        self._fails = False
        self.tick()

    def tick(self) -> float:
        """Write the file, when something has changed or it is time to."""
        if time.monotonic() - self._written_at > INTERVAL or self._outline() != self._before:
            try:
                self._write()
                self._fails = False
            except OSError as error:
                if not self._fails:
                    log.error("the health file cannot be written; trying on: %s", error)
                self._fails = True
        return LOOK

    def remove(self) -> None:
        """The worker has ended."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _outline(self) -> object:
        """What is worth to be told at once."""
        lookout = self._lookout
        return (
            self._state(),
            lookout.reached,
            [(child.pid, self._condition(child, leaves)) for child, leaves in self._family()],
        )

    def _condition(self, child: Child, leaves: bool) -> str:
        return "leaving" if leaves else self._lookout.conditions.get(child.pid, "starting")

    def _write(self) -> None:
        self._before = self._outline()
        self._written_at = time.monotonic()
        content = json.dumps({**self._about, **instant(), **self._said()})
        new = _beside(self._path)
        new.write_text(content + "\n", encoding="utf-8")
        new.replace(self._path)

    def _said(self) -> dict[str, Any]:
        lookout, state, drift = self._lookout, self._state(), time.time() - time.monotonic()
        alive = [(child, leaves) for child, leaves in self._family() if child.is_alive]
        here = [child for child, leaves in alive if not leaves]
        working = sum(lookout.conditions.get(child.pid) == "working" for child in here)
        return {
            "state": state,
            "wanted": self._wanted,
            "alive": len(here),
            "redis": {"answers": lookout.reached, "since": round(lookout.since + drift, 3)},
            "processes": [
                {
                    "pid": child.pid,
                    "condition": self._condition(child, leaves),
                    "started_at": round(child.started_at + drift, 3),
                    "last_round_at": round(child.ledger.answered_at + drift, 3) if child.ledger.answered_at else None,
                    "tasks": child.ledger.tasks,
                }
                for child, leaves in alive
            ],
            "problems": lookout.problems,
            "unready": self._unready(state, working),
        }

    def _unready(self, state: str, working: int) -> str:
        if state != "running":
            return f"the worker is {state}"
        if not self._lookout.reached:
            return "Redis does not answer"
        if working < self._wanted:
            return f"{working} of {self._wanted} worker processes work"
        return ""


def _beside(path: Path) -> Path:
    """Where new content is written before it takes the place of the old one."""
    return path.with_name(f".{path.name}.{os.getpid()}")
