"""
The bodies of the tasks, the same for every peer, and where they note what happened.

Imported by workers, in any of the environments: standard library only. A task notes into a small file of its thread's
own, mapped into memory, so that noting costs a fraction of a microsecond, takes no lock and says nothing to Redis.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any

HOST = os.environ.get("BENCH_HOST", "127.0.0.1")
PORT = int(os.environ.get("BENCH_PORT", "6379"))
URL = f"redis://{HOST}:{PORT}/0"
#: Whether this run is about results; a library that keeps them unasked is told not to when it is not.
RESULTS = os.environ.get("BENCH_RESULTS") == "1"
#: Slots that the worker was asked for, for libraries that are told in code; 0: the best.
SLOTS = int(os.environ.get("BENCH_SLOTS", "0"))
NOTES = Path(os.environ.get("BENCH_NOTES", "."))

#: How often a task ended in this thread, when the first one started and when the last one ended (monotonic).
TALLY = struct.Struct("<qdd")
#: Argument and milliseconds from submission to start.
STAMP = struct.Struct("<dd")


class _Tally(threading.local):
    def __init__(self) -> None:
        self.count = 0
        self.first = 0.0
        path = NOTES / f"tally-{os.getpid()}-{threading.get_ident()}"
        path.write_bytes(bytes(TALLY.size))
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), TALLY.size)


_tally: _Tally | None = None
_lock = threading.Lock()


def _mine() -> _Tally:
    global _tally
    with _lock:
        if _tally is None:
            _tally = _Tally()
    return _tally


def _forget() -> None:
    global _tally, _lock
    _tally, _lock = None, threading.Lock()  # a forked child tells its own


os.register_at_fork(after_in_child=_forget)


def begin() -> None:
    """A task starts."""
    mine = _tally or _mine()
    mine.first = mine.first or time.monotonic()


def end() -> None:
    """A task ends."""
    mine = _tally or _mine()
    now = time.monotonic()
    mine.first = mine.first or now
    mine.count += 1
    TALLY.pack_into(mine.map, 0, mine.count, mine.first, now)


def noop(argument: Any) -> None:
    """Nothing, counted."""
    end()


def stamp(sent: float) -> None:
    """Note how long ago it was sent (`time.monotonic`, which all processes of a machine share)."""
    late = (time.monotonic() - sent) * 1000
    file = os.open(NOTES / "stamps", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, STAMP.pack(sent, late))
    os.close(file)


def nap(seconds: float) -> None:
    """Wait, as tasks do that wait for others."""
    begin()
    time.sleep(seconds)
    end()


def crunch(rounds: int) -> None:
    """Work: so many SHA-256 of 64 bytes, in Python."""
    begin()
    data = b"x" * 64
    for _ in range(rounds):
        data = hashlib.sha256(data).digest() * 2
    end()


def echo(argument: Any) -> Any:
    """Return what came."""
    return argument


async def nap_async(seconds: float) -> None:
    """`nap` where tasks are coroutines."""
    begin()
    await asyncio.sleep(seconds)
    end()


async def noop_async(argument: Any) -> None:
    """`noop` where tasks are coroutines."""
    end()


async def stamp_async(sent: float) -> None:
    """`stamp` where tasks are coroutines."""
    stamp(sent)


async def crunch_async(rounds: int) -> None:
    """`crunch` where tasks are coroutines."""
    crunch(rounds)


async def echo_async(argument: Any) -> Any:
    """`echo` where tasks are coroutines."""
    return argument


#: name -> body, for libraries with plain and with coroutine tasks.
PLAIN = {"noop": noop, "stamp": stamp, "nap": nap, "crunch": crunch, "echo": echo}
ASYNC = {"noop": noop_async, "stamp": stamp_async, "nap": nap_async, "crunch": crunch_async, "echo": echo_async}
