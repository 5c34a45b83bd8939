"""Channel: a worker's socket to one of its children. Values go over it in frames, one at a time."""

from __future__ import annotations

import contextlib
import pickle
import socket
import struct
import time
from typing import Any

_LENGTH = struct.Struct("<I")
#: Bytes that are read at once.
CHUNK = 65536


class Channel:
    """
    One end of a pair of sockets. What goes over it is pickled: both ends are processes of one program.

    Args:
        own: the socket; closed with the channel.
    """

    def __init__(self, own: socket.socket) -> None:
        self._socket = own
        self._unread = bytearray()
        self._is_timed = False  # the socket has a timeout

    def send(self, value: Any, ends_at: float | None = None) -> None:
        """
        Send a value.

        Args:
            value: to be pickled.
            ends_at: monotonic instant at which to give up.

        Raises:
            TimeoutError: it came.
            OSError: the other end is closed.
        """
        body = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        self._set_timeout(ends_at)
        self._socket.sendall(_LENGTH.pack(len(body)) + body)

    def receive(self, ends_at: float | None = None) -> Any:
        """
        The next value. After a TimeoutError it may be asked for again.

        Raises:
            TimeoutError: *ends_at*, a monotonic instant, came before the value was whole.
            EOFError: the other end is closed, or its process is gone.
        """
        unread = self._unread
        while True:
            if len(unread) >= _LENGTH.size:
                end = _LENGTH.size + _LENGTH.unpack_from(unread)[0]
                if len(unread) >= end:
                    body = bytes(unread[_LENGTH.size : end])
                    del unread[:end]
                    return pickle.loads(body)
            self._set_timeout(ends_at)
            try:
                some = self._socket.recv(CHUNK)
            except ConnectionError:
                some = b""
            if not some:
                raise EOFError
            unread += some

    def _set_timeout(self, ends_at: float | None) -> None:
        if ends_at is not None:
            left = ends_at - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            self._is_timed = True
        elif self._is_timed:
            self._socket.settimeout(None)
            self._is_timed = False

    def close(self) -> None:
        """Hang up; the other end reads that, even if a process that was forked meanwhile has the socket, too."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
