"""
A proxy that loses replies, or what clients say.

When it loses a reply, the command has had its effect, and who sent it does not hear of it.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator

#: Told the bytes of a command; True swallows the reply and breaks the connection.
Rule = Callable[[bytes], bool]


class Proxy:
    """Passes bytes on between clients and a server on the loopback."""

    def __init__(self, port: int) -> None:
        self.server_port = port
        self.loses: Rule = lambda command: False
        self.lost = 0
        self.refusal = b""  #: what it answers to calls in the server's place, once it has lost a reply
        self._cut_at, self.cuts_left = 0, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_next(self, word: bytes = b"EVAL") -> None:
        """Lose the reply to the next command that holds *word*."""
        self.lose_every(1, word, most=1)

    def lose_every(self, count: int, word: bytes = b"EVAL", most: int = 1_000_000) -> None:
        """Lose the reply to every *count*-th command that holds *word*, and *most* replies in all."""
        seen, start, lock = 0, self.lost, threading.Lock()

        def loses(command: bytes) -> bool:
            nonlocal seen
            with lock:
                seen += word in command
                return word in command and seen % count == 0 and self.lost < start + most

        self.loses = loses

    def cut_off(self, after: int, times: int) -> None:
        """Break the next *times* connections when so many bytes of commands came through them."""
        self._cut_at, self.cuts_left = after, times

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.server_port))
            self._open |= {client, server}
            swallow = threading.Event()
            for source, sink, watch in ((client, server, True), (server, client, False)):
                arguments = (source, sink, swallow, watch)
                threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, swallow: threading.Event, watch: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                if watch and self.cuts_left and passed + len(data) > self._cut_at:
                    self.cuts_left -= 1
                    sink.sendall(data[: max(self._cut_at - passed, 0)])
                    break
                passed += len(data)
                if watch and self.lost and self.refusal and b"EVAL" in data:
                    source.sendall(self.refusal * len(re.findall(rb"\*\d+\r\n\$", data)))
                    continue
                if watch and self.loses(data):
                    swallow.set()
                elif not watch and swallow.is_set():
                    self.lost += 1
                    break
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            self._open.discard(one)


@contextlib.contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
