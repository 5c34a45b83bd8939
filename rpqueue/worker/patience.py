"""Patience: a worker waits for Redis as long as it takes."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from ..broker import Broker
from ..errors import RedisError, RedisUnavailable, RedisUnsuitable
from ..protocol.operation import Operation, Stamp

T = TypeVar("T")
log = logging.getLogger("rpqueue.redis")

#: Seconds of the first and the longest pause between two tries.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5


class Stopped(Exception):
    """The worker was told to stop before Redis answered."""


class Patience:
    """
    Sends an operation until Redis answers, each time under the same stamp, so it is done once.

    Args:
        broker: that carries it.
        stopping: set when nobody has time to wait any more.
    """

    def __init__(self, broker: Broker, stopping: threading.Event) -> None:
        self.broker = broker
        self.stopping = stopping
        self._is_away = False  # Redis did not answer the last call of any thread
        #: Told the monotonic instant of each call that failed.
        self.found_away: Callable[[float], None] = lambda instant: None

    def execute(self, operation: Operation[T], stamp: Stamp | None = None) -> T:
        """
        The operation's result, however long Redis is away.

        Args:
            operation: what to do.
            stamp: of a caller that keeps the operation for later when this one raises; None: it is stamped here.

        Raises:
            Stopped: the worker stops, and Redis is away.
            RedisUnsuitable: a key is of a wrong type, and there is no *stamp*: waiting for somebody to mend it would
                keep the caller from all other queues.
        """
        own = stamp or self.broker.sessions.take()
        pause, failed = FIRST_PAUSE, False
        while True:
            if self._is_away and self.stopping.is_set():
                raise Stopped
            try:
                result = self.broker.execute(operation, own)
            except RedisError as error:
                if stamp is None and isinstance(error, RedisUnsuitable):
                    self.broker.sessions.give_back(own)
                    raise
                if not failed:
                    what = "does not answer" if isinstance(error, RedisUnavailable) else "refuses"
                    log.error("Redis %s; trying until it is well again: %s", what, error)
                self._is_away = failed = True
                self.found_away(time.monotonic())
                self.stopping.wait(pause * random.uniform(0.5, 1.0))  # jitter, so that not all come at once
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                self._is_away = False
                if failed:
                    log.warning("Redis is well again")
                if stamp is None:
                    self.broker.sessions.give_back(own)
                return result

    def say(self, operation: Operation[T], otherwise: T) -> T:
        """As `execute`; *otherwise*, and a line in the log, when a key is of a wrong type."""
        try:
            return self.execute(operation)
        except RedisUnsuitable as error:
            log.error("what was held comes back when its lease ends: %s", error)
            return otherwise
