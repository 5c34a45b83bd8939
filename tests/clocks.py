"""Processes whose clock is wrong, by libfaketime: only the time of day is, what `time.monotonic` tells is not."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

_PLACES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib")


def library() -> str | None:
    """The path of libfaketime, or None when this machine has it not (Debian: ``apt install libfaketime``)."""
    for place in _PLACES:
        for folder in ("*/faketime", "faketime", "."):
            for found in Path(place).glob(f"{folder}/libfaketime.so.1"):
                return str(found)
    return None


def off_by(seconds: int) -> dict[str, str]:
    """What a process needs in its environment for a clock that is off by so much; it has to call `mend_sleep`, too."""
    found = library()
    assert found is not None, "no libfaketime on this machine"
    return {"LD_PRELOAD": found, "FAKETIME": f"{seconds:+d}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def mend_sleep() -> None:
    """Where the clock is wrong: libfaketime 0.9.10 fails in clock_nanosleep(), by which Python sleeps since 3.11."""
    if "FAKETIME" in os.environ:
        time.sleep = lambda seconds: select.select([], [], [], max(seconds, 0)) and None  # type: ignore[assignment]
