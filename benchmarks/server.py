"""The one Redis of a run: started on loopback for it, stopped by its process id."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import redis

from rpqueue import embedded

HOST = "127.0.0.1"


class Server:
    """A server without persistence, for as long as the context lasts."""

    def __enter__(self) -> Server:
        self._directory = Path(tempfile.mkdtemp(prefix="bench-redis-"))
        found = shutil.which("redis-server")
        program = [found] if found else embedded.server_command()
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = int(probe.getsockname()[1])
        options = ["--bind", HOST, "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._log = (self._directory / "log").open("w")
        self._process = subprocess.Popen(
            [*program, *options, "--dir", str(self._directory)], stdout=self._log, stderr=self._log
        )
        self.client = redis.Redis(HOST, self.port)
        for _ in range(200):
            with contextlib.suppress(redis.ConnectionError):
                self.client.ping()
                return self
            time.sleep(0.05)
        raise RuntimeError(f"{program[0]} does not answer: {(self._directory / 'log').read_text()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait(20)
        self._log.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def info(self, section: str) -> dict[str, Any]:
        """A section of INFO."""
        found: dict[str, Any] = self.client.info(section)
        return found

    @property
    def version(self) -> str:
        """Of the server."""
        said = self.info("server")
        if "valkey_version" in said:
            return f"Valkey {said['valkey_version']}"
        return f"Redis {said['redis_version']}"

    @property
    def cpu_seconds(self) -> float:
        """CPU that it has used."""
        said = self.info("cpu")
        return float(said["used_cpu_user"]) + float(said["used_cpu_sys"])

    @property
    def memory(self) -> int:
        """Bytes that its data and buffers take."""
        return int(self.info("memory")["used_memory"])

    @contextlib.contextmanager
    def monitor(self) -> Iterator[Commands]:
        """Count the commands of all clients but this one, and not those that scripts call."""
        with Commands(self.port) as commands:
            yield commands


class Commands:
    """
    Counts commands as MONITOR tells them.

    INFO commandstats would be cheaper, but counts what scripts call along with what clients send.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.count = 0

    def __enter__(self) -> Commands:
        self._socket = socket.create_connection((HOST, self._port))
        self._socket.sendall(b"MONITOR\r\n")
        self._lines = self._socket.makefile("rb")
        self._lines.readline()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._lines.close()
        self._socket.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in self._lines:
                # +1700000000.000000 [0 127.0.0.1:50000] "ping", or [0 lua] for what a script calls
                if b" lua] " not in line[:60]:
                    self.count += 1
