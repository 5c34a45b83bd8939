"""Which commands clients send to a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from tests.servers import Server, wait_until


class Monitor:
    """Counts the commands that clients send, by name; those of scripts are not among them."""

    def __init__(self, server: Server) -> None:
        self._client = redis.Redis(host=server.host, port=server.port)
        self.commands: list[str] = []
        self._marks = 0

    @contextmanager
    def listening(self) -> Iterator[Monitor]:
        with self._client.monitor() as monitor:
            thread = threading.Thread(target=self._listen, args=(monitor,))
            thread.start()
            self.wait_for_mark()
            yield self
            self._client.echo("the end")
            thread.join()
        self._client.close()

    def wait_for_mark(self) -> None:
        """Wait until everything that was sent so far has been counted."""
        self._marks += 1
        mark = f"mark {self._marks}"
        self._client.echo(mark)
        wait_until(lambda: mark in self.commands)

    def sent(self) -> list[str]:
        return [command for command in self.commands if not command.startswith("mark ")]

    def _listen(self, monitor: redis.client.Monitor) -> None:
        for said in monitor.listen():
            if said["client_type"] == "lua":
                continue
            name, _, rest = said["command"].partition(" ")
            if name == "ECHO":
                if rest == "the end":
                    return
                self.commands.append(rest)
            else:
                self.commands.append(name)
