"""Real servers for the tests: started on a free port of the loopback, ended by process id."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rpqueue import embedded
from rpqueue.errors import EmbeddedServerError

T = TypeVar("T")

FLAVOURS = ("valkey", "redis")


def wait_until(predicate: Callable[[], T], timeout: float = 10.0, description: str = "") -> T:
    """Call `predicate` until it returns something true, and return that.

    Raises:
        AssertionError: it did not within `timeout` seconds. Says `description`, or the name of
            the predicate, and what it returned last.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            what = description or getattr(predicate, "__name__", repr(predicate))
            raise AssertionError(f"not within {timeout} s: {what} (last: {value!r})")
        time.sleep(0.005)


def program(flavour: str) -> str | None:
    """Find the server program of a flavour, or None when this machine has it not."""
    if flavour == "redis":
        return shutil.which("redis-server")
    try:
        found = embedded.server_command()[0]
    except EmbeddedServerError:
        return None
    return found if Path(found).name == "valkey-server" else None


class Server:
    """One server process, its port kept over `restart()`."""

    host = "127.0.0.1"

    def __init__(self, flavour: str, *, appendonly: bool = False, options: Sequence[str] = ()) -> None:
        found = program(flavour)
        if found is None:
            raise LookupError(f"no {flavour}-server on this machine")
        self.flavour = flavour
        # Directly under /tmp: a unix socket deep in a pytest directory has too long a path.
        self.directory = Path(tempfile.mkdtemp(prefix="rpqueue-test-", dir="/tmp"))
        self.unix_path = str(self.directory / "s.sock")
        self.port = free_port()
        self._clients: list[redis.Redis] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [
            *[found, "--bind", self.host, "--unixsocket", self.unix_path],
            *["--dir", str(self.directory), "--logfile", str(self.directory / "log")],
            *["--save", "", "--appendonly", "yes" if appendonly else "no"],
            *["--appendfsync", "always"],
            *(["--enable-debug-command", "yes"] if knows_debug_option(found) else []),
            *options,
        ]
        self.start()

    def __repr__(self) -> str:
        return f"<{self.flavour} server on port {self.port}>"

    @property
    def pid(self) -> int:
        """The process id, which `restart()` changes."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """The address, database 0."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def log(self) -> str:
        """All that the server has logged."""
        return (self.directory / "log").read_text(errors="replace")

    def client(self, **options: Any) -> redis.Redis:
        """Make a client, closed with the server. Options are those of redis.Redis."""
        client = redis.Redis(**{"host": self.host, "port": self.port, **options})
        self._clients.append(client)
        return client

    def start(self) -> None:
        """Start the process after a stop or kill, and wait until it answers."""
        for _ in range(5):
            self._process = subprocess.Popen([*self._command, "--port", str(self.port)])
            if self._comes_up():
                return
            # Somebody took the port between our look and the server's.
            self.port = free_port()
        raise RuntimeError(f"{self!r} does not start:\n{self.log}")

    def _comes_up(self) -> bool:
        # By the socket in our own directory: another server cannot answer there in its place.
        client = redis.Redis(unix_socket_path=self.unix_path, retry=Retry(NoBackoff(), 0))

        def answers_or_ended() -> bool:
            if not self.is_running:
                return True
            with contextlib.suppress(redis.RedisError):
                return bool(client.ping())
            return False

        with contextlib.closing(client):
            wait_until(answers_or_ended, timeout=20.0)
        return self.is_running

    def stop(self) -> None:
        """End the process in good order: an append-only file is complete. Nothing when ended."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process by SIGKILL. Nothing when ended."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start on the same port. What was not in an append-only file is gone."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the process: connections are accepted and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause()`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)  # a paused process takes no SIGTERM
        try:
            self._process.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def close(self) -> None:
        """End the process, close the clients, delete the files."""
        for client in self._clients:
            client.close()
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def free_port() -> int:
    """Find a TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def knows_debug_option(found: str) -> bool:
    """Tell whether DEBUG has to be allowed: from Redis 7 and in every Valkey."""
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v=(\d+)", said)
    return version is not None and int(version[1]) >= 7
