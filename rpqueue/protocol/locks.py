"""Locks: taken, held on to and given back under a token that only the holder knows."""

from __future__ import annotations

import os
from functools import partial

from ..keys import lock_memo
from . import scripts
from .operation import Operation


def new_token() -> bytes:
    """A token for one attempt at a lock."""
    return os.urandom(12).hex().encode()


def acquire(lock_key: bytes, token: bytes, duration: float) -> Operation[float]:
    """Take the lock for *duration* seconds. 0.0: it is the token's now; else the seconds that it is somebody else's."""
    return Operation(scripts.load("lock_acquire"), (lock_key,), (token, _ms(duration)), lambda reply: int(reply) / 1000)


def refresh(lock_key: bytes, token: bytes, duration: float) -> Operation[bool]:
    """Hold the lock for *duration* seconds from now. False: the token does not hold it, and nothing was changed."""
    return Operation(scripts.load("lock_refresh"), (lock_key,), (token, _ms(duration)), bool)


def release(lock_key: bytes, token: bytes) -> Operation[bool]:
    """Give the lock back. False: the token did not hold it, and nothing was changed."""
    return Operation(scripts.load("lock_release"), (lock_key,), (token,), bool, partial(lock_memo, lock_key))


def _ms(duration: float) -> str:
    return str(round(duration * 1000))
