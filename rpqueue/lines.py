"""
Lines: connections for commands, each used by one call at a time from sending to reading.

redis-py's own way to a command looks a connection over before each use and wraps it in retries and reports; on loopback
that costs as much as Redis itself. A `Line` is checked out by taking it from a deque and only packs, sends and reads.
What goes wrong on one is the caller's to mend: every script may be sent again under its stamp.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .keys import wire

_hiredis_pack: Callable[..., bytes] | None
try:
    from hiredis import pack_command as _hiredis_pack
except ImportError:  # it is a requirement, but not every implementation of Python can have it
    _hiredis_pack = None

#: Bytes of a word from which on it is better copied as a whole: hiredis looks at each byte.
LARGE_WORD = 4096
#: Seconds without use after which a line is looked at first: the server, or something between, may have dropped it.
LONG_IDLE = 1.0


def _joined(command: Sequence[Any]) -> bytes:
    parts = [b"*%d\r\n" % len(command)]
    for word in command:
        text = word if isinstance(word, bytes) else wire(str(word))
        parts += (b"$%d\r\n" % len(text), text, b"\r\n")
    return b"".join(parts)


class Line:
    """
    One connection of redis-py's that nobody else uses.

    Args:
        connection: connected when first used, and again after an error broke it.
    """

    __slots__ = ("_connection", "_used_at")

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._used_at = 0.0

    def send(self, *commands: Sequence[Any]) -> None:
        """Send commands, whose replies `receive` brings in the same order."""
        packed = [part for command in commands for part in self.pack(command)]
        self.send_packed(packed if len(commands) == 1 else [b"".join(packed)])

    def pack(self, command: Sequence[Any]) -> Sequence[bytes]:
        """A command as it goes over the wire. hiredis packs text, bytes and numbers, in half the time of redis-py."""
        last = command[-1]  # a body, where there are bodies
        if isinstance(last, (bytes, str)) and len(last) > LARGE_WORD:
            return (_joined(command),)
        try:
            if _hiredis_pack is not None:
                return (_hiredis_pack(tuple(command)),)
            packed: Sequence[bytes] = self._connection.pack_command(*command)
        except UnicodeEncodeError:  # a name that somebody else made: see text_of()
            return (_joined(command),)
        return packed

    def send_packed(self, packed: Sequence[bytes]) -> None:
        """Send what `pack` made."""
        if time.monotonic() - self._used_at > LONG_IDLE:
            self._look_over()
        self._connection.send_packed_command(packed, check_health=False)

    def _look_over(self) -> None:
        """Hang up when the other side has, so that `send` connects anew."""
        if getattr(self._connection, "_sock", None) is None:
            return  # can_read() would connect, and a server that hangs would then be waited for twice
        try:
            if self.has_news(0):
                self.hang_up()
        except Exception:  # closed or broken: redis-py says so in several ways, all of which mean the same
            self.hang_up()

    @property
    def protocol(self) -> int:
        """2 or 3: the version of RESP that it speaks."""
        return int(getattr(self._connection, "protocol", 2) or 2)

    def fileno(self) -> int:
        """Of the socket, for `select`; it must be connected."""
        return int(self._connection._sock.fileno())

    def has_news(self, timeout: float) -> bool:
        """Whether something can be read within *timeout* seconds. A connection that is closed is opened anew."""
        return bool(self._connection.can_read(timeout=timeout))

    def receive(self, *, pushed: bool = False) -> Any:
        """
        Wait for the next reply, bytes left as bytes.

        Args:
            pushed: whether to return what the server sends unasked over RESP3, too.

        Raises:
            redis.exceptions.ResponseError: it is an error; the line can go on.
            redis.exceptions.RedisError: the line is broken and hung up.
        """
        reply = self._connection.read_response(disable_decoding=True, push_request=pushed)
        self._used_at = time.monotonic()
        return reply

    def hang_up(self) -> None:
        """Close the connection; what it still had to say is lost."""
        self._connection.disconnect()


class Sent:
    """Commands that were sent, and whose replies are still to be read, once each and in order."""

    __slots__ = ("_left", "_line", "_lines")

    def __init__(self, lines: Lines, line: Line, number: int) -> None:
        self._lines = lines
        self._line = line
        self._left = number

    def reply(self, meanwhile: Callable[[], None] | None = None) -> Any:
        """
        Wait for the next reply, and do something *meanwhile*.

        Raises:
            redis.exceptions.ResponseError: it is an error. Replies that are left can still be read.
            redis.exceptions.RedisError: the connection broke, and no more replies come.
        """
        self._left -= 1
        try:
            if meanwhile is not None:
                self._use_the_time(meanwhile)
            return self._line.receive()
        finally:
            if not self._left:
                self._lines.give_back(self._line)

    def _use_the_time(self, meanwhile: Callable[[], None]) -> None:
        try:
            meanwhile()
        except BaseException:
            self._line.hang_up()
            raise

    def abandon(self) -> None:
        """Nobody will read what is left."""
        if self._left > 0:
            self._left = 0
            self._line.hang_up()
            self._lines.give_back(self._line)


class Lines:
    """
    Lines that are free. Threads may share one; a forked child begins with none.

    Args:
        make: gives a connection of redis-py.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._begin()

    def _begin(self) -> None:
        self._free: deque[Line] = deque()
        self._made: list[Line] = []
        self._pid = os.getpid()

    def send(self, *commands: Sequence[Any]) -> Sent:
        """Send commands in one write."""
        line = self._take()
        with self._mended(line):
            line.send(*commands)
        return Sent(self, line, len(commands))

    def pack(self, command: Sequence[Any]) -> Sequence[bytes]:
        """A command as `send_packed` takes it, for when there is no time to lose later."""
        line = self._take()
        try:
            return line.pack(command)
        finally:
            self.give_back(line)

    def send_packed(self, packed: Sequence[bytes]) -> Sent:
        """Send one command."""
        line = self._take()
        with self._mended(line):
            line.send_packed(packed)
        return Sent(self, line, 1)

    @contextmanager
    def _mended(self, line: Line) -> Iterator[None]:
        """Take a line back that could not send."""
        try:
            yield
        except BaseException:
            line.hang_up()
            self.give_back(line)
            raise

    def _take(self) -> Line:
        if self._pid != os.getpid():  # the parent's connections are not ours to speak on
            self._begin()
        try:
            return self._free.pop()
        except IndexError:
            line = Line(self._make())
            self._made.append(line)
            return line

    def give_back(self, line: Line) -> None:
        """Whoever took it has read all replies, or hung up."""
        self._free.append(line)

    def hang_up(self) -> None:
        """Close them all. A call that waits for a reply on one of them fails; the next use connects anew."""
        for line in self._made:
            line.hang_up()
