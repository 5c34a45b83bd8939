"""
Listeners: subscribed connections that hear what becomes of messages.

A new connection costs more than all the rest of a short wait, so one that is done listening is kept for the next.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

#: Connections that are kept while nobody listens.
MOST_IDLE = 64
#: Seconds that Redis may take to confirm a subscription.
CONFIRM_TIMEOUT = 5.0


class Listener:
    """
    One connection that listens to some channels.

    Args:
        pubsub: of redis-py, not shared with anybody.
    """

    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub
        self._channels: frozenset[bytes] = frozenset()

    def subscribe(self, channels: Sequence[bytes]) -> None:
        """Listen to *channels*; everything that is published after this returns will be heard."""
        self._channels = frozenset(channels)
        self._pubsub.subscribe(*channels)
        missing = set(channels)
        ends_at = time.monotonic() + CONFIRM_TIMEOUT
        while missing:
            news = self._pubsub.get_message(timeout=CONFIRM_TIMEOUT)
            if news is not None and news["type"] == "subscribe":
                missing.discard(_bytes(news["channel"]))
            elif time.monotonic() > ends_at:
                raise ConnectionError("Redis did not confirm a subscription")

    def hear(self, timeout: float) -> bool:
        """Wait for news on one of the channels, at most *timeout* seconds. Returns whether there was any."""
        ends_at = time.monotonic() + timeout
        while True:
            news = self._pubsub.get_message(timeout=max(ends_at - time.monotonic(), 0.0))
            if news is not None and news["type"] == "message" and _bytes(news["channel"]) in self._channels:
                return True
            if time.monotonic() >= ends_at:
                return False

    def rest(self) -> None:
        """Listen no more. What still comes of these channels is not heard by the next who listens."""
        self._pubsub.unsubscribe(*self._channels)
        self._channels = frozenset()

    def close(self) -> None:
        """Close the connection."""
        self._pubsub.close()


class Listeners:
    """
    Listeners that are free. Threads may share one; a forked child begins with none.

    Args:
        make: gives a pubsub object of redis-py.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._idle: deque[Listener] = deque(maxlen=MOST_IDLE)
        self._pid = os.getpid()

    @contextmanager
    def on(self, channels: Sequence[bytes]) -> Iterator[Listener]:
        """A Listener that is subscribed to *channels*."""
        listener = self._subscribed(channels)
        try:
            yield listener
            listener.rest()
        except BaseException:
            listener.close()
            raise
        if len(self._idle) < MOST_IDLE:
            self._idle.append(listener)
        else:
            listener.close()

    def _subscribed(self, channels: Sequence[bytes]) -> Listener:
        if self._pid != os.getpid():  # the parent's connections are not ours to speak on
            self._idle, self._pid = deque(maxlen=MOST_IDLE), os.getpid()
        try:
            kept = self._idle.pop()
        except IndexError:
            pass
        else:
            try:
                kept.subscribe(channels)
            except Exception:
                # It lay idle, and the server or something between may have dropped it; a new one tells what is wrong.
                kept.close()
            else:
                return kept
        fresh = Listener(self._make())
        try:
            fresh.subscribe(channels)
        except BaseException:
            fresh.close()
            raise
        return fresh

    def close(self) -> None:
        """Close all that are free."""
        while self._idle:
            self._idle.pop().close()


def _bytes(channel: str | bytes) -> bytes:
    return channel.encode() if isinstance(channel, str) else channel
