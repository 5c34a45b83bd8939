"""A door in front of a server that lets clients through, and other servers only while there is no partition."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

#: Where servers and sentinels of a Deployment that can be parted come from; clients come from 127.0.0.1.
SERVERS_COME_FROM = "127.0.0.2"


class Entrance:
    """
    Passes bytes on to a server on the loopback.

    While `parted`, nothing passes from and to the other servers, as when a cable is cut: nobody is told. What was held
    meanwhile is dropped with its connection when the partition ends.
    """

    def __init__(self) -> None:
        self.server_port = 0  #: set it before anybody comes
        self.parted = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def part(self) -> None:
        """Begin a partition."""
        self.parted = True

    def join(self) -> None:
        """End it."""
        self.parted = False

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                outside, (host, _) = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(outside, host == SERVERS_COME_FROM), daemon=True).start()

    def _serve(self, outside: socket.socket, is_server: bool) -> None:
        try:
            inside = socket.create_connection(("127.0.0.1", self.server_port))
        except OSError:
            outside.close()
            return
        self._open |= {outside, inside}
        for one in (outside, inside):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in ((outside, inside), (inside, outside)):
            threading.Thread(target=self._pass_on, args=(source, sink, is_server), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 18):
                if is_server and self.parted:
                    while self.parted:
                        time.sleep(0.01)
                    break
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            self._open.discard(one)
