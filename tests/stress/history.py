"""
What every process of a scene did, written before and after each step.

A line goes to the kernel by one write() before anything else happens, so that it is there however the process ends.
What was begun and not answered stays unknown: only the drain tells.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Event(NamedTuple):
    """
    One line.

    Steps and their kinds:
        enqueue, cancel, result: invoke; then ok, fail (it certainly had no effect) or unknown.
        begin: ok. A worker is about to write down that a run begins.
        start: ok. A run of a task begins, or an item was handed out. It was not leased before the instant `leased`.
        end: ok, or fail when the run raises on purpose.
        take: invoke and ok, around a get that takes items for good.
        accept: ok; Redis said that this ack came from who held the lease.
        slot: invoke and ok around the attempt to fire a slot, which another process may win.
        fault: invoke and ok around one injection; the key is the fault's name.
        kill, pause, resume, stop: ok; the test did this to the process `target`.
        death: ok; the process kills itself, at the point that is the key.
    """

    step: str
    kind: str
    key: str  #: of the message, chosen by the suite; it travels in the payload
    at: int  #: monotonic ns, the same clock for all processes of the machine
    pid: int
    token: int = 0
    attempt: int = 0
    id: str = ""
    more: dict[str, Any] = {}  # noqa: RUF012 - never written to


class History:
    """
    Appends to a file of this process's own; a forked child opens its own. Any thread may write.

    Args:
        directory: for the files of all processes.
        role: first part of the file's name.
    """

    def __init__(self, directory: Path, role: str) -> None:
        self.directory, self.role = directory, role
        self._opening = threading.Lock()
        self._pid, self._file = 0, -1

    def write(self, step: str, kind: str, *keys: str, **more: Any) -> None:
        """Write one line for each key, all in one go."""
        if self._pid != os.getpid():
            self._open()
        rest = json.dumps(more)[1:-1]
        head = f'{{"step": "{step}", "kind": "{kind}", "at": {time.monotonic_ns()}, "pid": {self._pid}, '
        tail = f", {rest}}}\n" if rest else "}\n"
        os.write(self._file, "".join(f'{head}"key": {json.dumps(key)}{tail}' for key in keys).encode())

    def _open(self) -> None:
        with self._opening:
            if self._pid != os.getpid():
                # Pids come again: the instant keeps a half line of a dead process apart from the next one's.
                name = f"{self.role}-{os.getpid()}-{time.monotonic_ns()}.jsonl"
                self._file = os.open(self.directory / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                self._pid = os.getpid()


def read(directory: Path) -> list[Event]:
    """All events, in order of time. A line that its process could not end is left out."""
    events = [event for file in sorted(directory.glob("*.jsonl")) for event in _lines(file)]
    return sorted(events, key=lambda event: event.at)


def _lines(file: Path) -> Iterator[Event]:
    *whole, _torn = file.read_bytes().split(b"\n")
    yield from map(_event, whole)


def _event(line: bytes) -> Event:
    said = json.loads(line)
    known = {name: said.pop(name) for name in Event._fields if name in said}
    return Event(**known, more=said)


class Follower:
    """
    Reads on in histories that are being written, and keeps the events whose keys hold some text.

    Args:
        directory: of the histories.
        text: only keys with that.
    """

    def __init__(self, directory: Path, text: str) -> None:
        self.directory, self._mark = directory, text.encode()
        self._read: dict[Path, int] = {}
        self._events: list[Event] = []

    def events(self) -> list[Event]:
        """All such events so far, in order of time."""
        before = len(self._events)
        for file in self.directory.glob("*.jsonl"):
            with file.open("rb") as opened:
                opened.seek(self._read.get(file, 0))
                whole, _, _ = opened.read().rpartition(b"\n")
            if whole:
                self._read[file] = self._read.get(file, 0) + len(whole) + 1
                self._events += [_event(line) for line in whole.split(b"\n") if self._mark in line]
        if len(self._events) > before:
            self._events.sort(key=lambda event: event.at)
        return self._events
