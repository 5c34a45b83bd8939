"""
Listeners: subscribed connections that hear what becomes of messages.

A new connection costs more than all the rest of a short wait, so one that is done listening is kept for the next. Where
it speaks RESP3, the first question goes over it as well, right behind the subscription: Redis answers it after that, so
nothing is missed in between, and one round trip does for both.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from .lines import Line

#: Connections that are kept while nobody listens.
MOST_IDLE = 64
#: First words of what comes over a subscribed connection without being an answer.
_SUBSCRIBED, _UNSUBSCRIBED, _MESSAGE = b"subscribe", b"unsubscribe", b"message"


class News(NamedTuple):
    """Something that was published."""

    channel: bytes
    text: bytes


class Listener:
    """
    One connection that listens to some channels.

    Args:
        line: that nobody else uses.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._channels: frozenset[bytes] = frozenset()
        self._heard: deque[News] = deque()

    @property
    def takes_questions(self) -> bool:
        """Whether a command may be sent over it while it listens."""
        return self._line.protocol == 3

    def subscribe(self, channels: Sequence[bytes], question: Sequence[Any] | None = None) -> Any:
        """
        Listen to *channels*; everything that is published after this returns will be heard.

        Args:
            channels: none is heard any more that was before.
            question: a command to send behind it; only where it `takes_questions`.

        Returns:
            The reply to the question, of an instant after the subscription.
        """
        self._forget()
        self._channels = frozenset(channels)
        self._line.send(*([("SUBSCRIBE", *channels)] if question is None else [("SUBSCRIBE", *channels), question]))
        missing, reply = set(channels), None
        while missing or (question is not None and reply is None):
            frame = self._line.receive(pushed=True)
            if not _is_pushed(frame):
                reply = frame
            elif frame[0] == _SUBSCRIBED:
                missing.discard(frame[1])
            else:
                self._take(frame)
        return reply

    def _forget(self) -> None:
        """Read what still came of the channels before."""
        self._heard.clear()
        while self._line.has_news(0):
            self._line.receive(pushed=True)

    def _take(self, frame: Any) -> None:
        if _is_pushed(frame) and frame[0] == _MESSAGE and frame[1] in self._channels:
            self._heard.append(News(frame[1], frame[2]))

    def hear(self, timeout: float) -> News | None:
        """Wait for news on one of the channels, at most *timeout* seconds; None: there was none."""
        ends_at = time.monotonic() + timeout
        while not self._heard:
            if not self._line.has_news(max(ends_at - time.monotonic(), 0.0)):
                return None
            self._take(self._line.receive(pushed=True))
        return self._heard.popleft()

    def fileno(self) -> int:
        """Of the socket, for `select`."""
        return self._line.fileno()

    def rest(self) -> None:
        """Listen no more. What still comes of these channels is not heard by the next who listens."""
        self._line.send(("UNSUBSCRIBE", *self._channels))
        self._channels = frozenset()

    def close(self) -> None:
        """Close the connection."""
        self._line.hang_up()


def hear_any(listeners: Sequence[Listener], timeout: float) -> News | None:
    """Wait for news that one of several has, at most *timeout* seconds; None: none had any."""
    for listener in listeners:
        news = listener.hear(0)
        if news is not None:
            return news
    if timeout > 0:
        select.select(listeners, (), (), timeout)
        return hear_any(listeners, 0)
    return None


def _is_pushed(frame: Any) -> bool:
    return isinstance(frame, list) and bool(frame) and frame[0] in (_SUBSCRIBED, _UNSUBSCRIBED, _MESSAGE)


class Listeners:
    """
    Listeners that are free. Threads may share one; a forked child begins with none.

    Args:
        make: gives a connection of redis-py.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._idle: deque[Listener] = deque(maxlen=MOST_IDLE)
        self._pid = os.getpid()

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """A Listener for the caller alone."""
        listener = self._take()
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

    def _take(self) -> Listener:
        if self._pid != os.getpid():  # the parent's connections are not ours to speak on
            self._idle, self._pid = deque(maxlen=MOST_IDLE), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return self.make()

    def make(self) -> Listener:
        """A Listener that the caller keeps, and closes."""
        return Listener(Line(self._make()))

    def close(self) -> None:
        """Close all that are free."""
        while self._idle:
            self._idle.pop().close()
