"""Bonds: a process that ends when its parent does, however that ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from functools import cache
from typing import Any

#: Of Linux's prctl(): the signal that a process gets when its parent dies.
PR_SET_PDEATHSIG = 1
#: Seconds between two looks for the parent, where the system does not tell of its death.
LOOK = 0.2


def prepare() -> None:
    """Load what `die_with` calls, before the fork."""
    _prctl()


def die_with(parent: int) -> bool:
    """
    Have the kernel kill this process as soon as its parent is gone. False: this system's does not.

    Linux counts the thread that forked for the parent: that one must live as long as its process.

    Args:
        parent: its process id, which it asked for before the fork.
    """
    prctl = _prctl()
    if prctl is None:
        return False
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that
        os._exit(1)
    return True


def watch(parent: int) -> None:
    """Look for the parent from a thread, and kill this process when it is gone."""
    threading.Thread(target=_watch, args=(parent,), name="rpqueue-bond", daemon=True).start()


@cache
def _prctl() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    try:
        return ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGKILL)
