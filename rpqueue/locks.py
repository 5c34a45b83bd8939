"""SimpleLock: one holder at a time, and who comes second is told at once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar, TypeVar

from .connections import named
from .errors import NoLock, WrongType
from .keys import name_text
from .messages import seconds
from .protocol import locks as protocol

if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType

    from redis import Redis
    from typing_extensions import Self

    from .app import App
    from .protocol.operation import Flow

R = TypeVar("R")

__all__ = ["NoLock", "SimpleLock"]

log = logging.getLogger("rpqueue.locks")


class SimpleLock:
    """
    A lock that fails fast when it is held: ``with SimpleLock(None, "reports", 30) as lock: ...``.

    It ends by itself when *duration* is over, so a holder that died blocks nobody for long, and longer work must
    `refresh` it. It does not wait and is not reentrant. One object is for one thread; where several want a lock, each
    makes an object of its own with the same name.

    Args:
        conn: a redis-py client; None: the App's own connection.
        name: of the lock, 1 to 512 bytes. All under one key prefix who say the same name mean the same lock.
        duration: seconds, or a timedelta, until it ends by itself; at least 0.001.
    """

    app: ClassVar[App]

    def __init__(self, conn: Redis | None = None, name: str | bytes = "", duration: float | timedelta = 1) -> None:
        if conn is not None and not callable(getattr(conn, "execute_command", None)):
            raise WrongType(
                f"conn: expected a redis-py client or None, got {named(conn)}; the name of the lock comes second"
            )
        self.name = name_text(name, "lock name")
        self.duration = seconds(duration, f"duration of lock {self.name!r}", least=0.001)
        self._conn = conn
        self._token: bytes | None = None

    def __repr__(self) -> str:
        return f"<SimpleLock {self.name!r}, {self.duration:g} s>"

    @property
    def _key(self) -> bytes:
        return self.app.keys.lock(self.name)

    def _run(self, flow: Flow[R]) -> R:
        return self.app.broker_for(self._conn).run(flow)

    def acquire(self) -> None:
        """
        Take the lock.

        Raises:
            NoLock: somebody holds it, be it this very object.
        """
        self._run(self.acquiring())

    def acquiring(self) -> Flow[None]:
        """What `acquire` says to Redis."""
        token = protocol.new_token()
        left = yield from protocol.acquire(self._key, token, self.duration)
        if left:
            raise NoLock(
                f"lock {self.name!r}: expected it to be free, but it is held; it ends in {left:g} s at the latest "
                "unless its holder refreshes it"
            )
        self._token = token

    def refresh(self) -> None:
        """
        Hold the lock for another *duration*, counted from now.

        Raises:
            NoLock: it is not held any more, because its duration was over, or was never acquired. Stop what it guards:
                somebody else may be at it.
        """
        self._run(self.refreshing())

    def refreshing(self) -> Flow[None]:
        """What `refresh` says to Redis."""
        if self._token is None or not (yield from protocol.refresh(self._key, self._token, self.duration)):
            raise NoLock(
                f"lock {self.name!r}: expected to hold it, but it is not held, or not any more; "
                f"refresh it before its {self.duration:g} s are over"
            )

    def release(self) -> bool:
        """Give the lock back. Returns whether it was still held; if not, nothing is done to who holds it now."""
        return self._run(self.releasing())

    def releasing(self) -> Flow[bool]:
        """What `release` says to Redis."""
        return self._token is not None and (yield from protocol.release(self._key, self._token))

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            held = self.release()
        except Exception as failure:
            if error is None:
                raise
            # What went wrong in the block is what the caller must see; the lock ends by itself.
            self.warn_not_released(failure)
            return
        if not held:
            self.warn_ended_early()

    def warn_not_released(self, failure: Exception) -> None:
        """Log that *failure* kept the lock from being given back at the end of its block."""
        log.warning("lock was not released; it ends by itself", extra={"lock": self.name, "error": str(failure)})

    def warn_ended_early(self) -> None:
        """Log that the lock was not held any more at the end of its block."""
        log.warning("lock ended before its block did", extra={"lock": self.name, "seconds": self.duration})
