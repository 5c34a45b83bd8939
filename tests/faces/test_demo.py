"""The demo: it counts rightly, a killed worker included, says so when not, and leaves nothing behind."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from rpqueue import demo
from tests.servers import Server, wait_until

MODULE = """
import os, os.path, ast
from sys import path
from . import neighbour

class Thing:
    def method(self): ...
    async def other(self): ...
"""


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A directory of 40 modules and two that do not parse."""
    folder = tmp_path / "modules"
    for number in range(40):
        module = folder / f"package{number % 3}" / f"module{number}.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(MODULE)
    (folder / "broken.py").write_text("def (:\n")
    (folder / "binary.py").write_bytes(b"\0\n\xff")
    (folder / "site-packages").mkdir()
    (folder / "site-packages" / "installed.py").write_text(MODULE)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the demo may make temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def environment(place: Path, **more: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "RPQUEUE_URL"},
        "TMPDIR": str(place),
        **more,
    }


def run(place: Path, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rpqueue", "demo", *map(str, arguments)]
    return subprocess.run(command, env=environment(place, **more), capture_output=True, text=True, timeout=50)


def nothing_runs_in(place: Path) -> bool:
    """Whether no process works in the directory, as its server does, or names it on its command line."""
    running = [process.info for process in psutil.process_iter(["cmdline", "cwd"])]
    return not [one for one in running if str(place) in " ".join([*(one["cmdline"] or []), one["cwd"] or ""])]


def row(output: str, name: str) -> list[int]:
    found = re.search(rf"│ {name} +│ +([\d,]+) │ +([\d,]+) │", output)
    assert found, output
    return [int(number.replace(",", "")) for number in found.groups()]


@pytest.mark.parametrize("kill", [False, True])
def test_workers_count_what_one_loop_counts(modules: Path, place: Path, kill: bool) -> None:
    done = run(place, "--path", modules, *(["--kill"] if kill else []))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    assert row(done.stdout, "files") == [42, 42]
    assert row(done.stdout, "unparsable") == [2, 2]
    assert row(done.stdout, "definitions") == [120, 120]
    assert row(done.stdout, "lines") == [322, 322]
    assert row(done.stdout, "import os") == [80, 80]
    assert row(done.stdout, "import sys") == [40, 40]
    assert "OK: both counts are the same" in done.stdout
    assert ("SIGKILL to worker process" in done.stdout) == kill
    assert list(place.iterdir()) == []
    assert nothing_runs_in(place)


def test_a_worker_killed_in_the_middle_of_real_input_costs_nothing(place: Path) -> None:
    done = run(place, "--kill", "--limit", "250", "--processes", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert row(done.stdout, "files") == [250, 250]
    killed = re.search(r"SIGKILL to worker process (\d+)", done.stdout)
    assert killed
    assert not psutil.pid_exists(int(killed[1]))
    assert done.stdout.index("SIGKILL") < done.stdout.index("250 of 250")


def test_it_uses_the_redis_of_rpqueue_url_and_leaves_nothing_there(
    server: Server, redis_client: redis.Redis, modules: Path, place: Path
) -> None:
    seen = redis_client.info("stats")["total_commands_processed"]
    done = run(place, "--path", modules, RPQUEUE_URL=server.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert redis_client.info("stats")["total_commands_processed"] - seen > 100
    assert redis_client.dbsize() == 0
    assert list(place.iterdir()) == []


def test_counts_that_differ_are_a_failure(
    modules: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def one_too_few(screen: Any, paths: list[str], processes: int, kill: bool) -> tuple[demo.Totals, float]:
        return demo.Totals.of([demo.describe(path) for path in paths[1:]]), 1.0

    monkeypatch.setattr(demo, "count_by_workers", one_too_few)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert demo.main(["--path", str(modules)]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    output = capsys.readouterr().out
    assert row(output, "files") == [41, 42]
    assert row(output, "tasks a second")[0] == 1
    assert "FAILED" in output


def test_a_directory_without_modules_is_an_error(place: Path) -> None:
    done = run(place, "--path", place)
    assert done.returncode == 2
    assert "no" not in done.stdout
    assert f"got {place}" in done.stderr


def test_a_terminal_sees_a_bar(modules: Path, place: Path) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "rpqueue", "demo", "--path", str(modules)]
    with subprocess.Popen(command, env=environment(place, TERM="xterm"), stdout=slave, stderr=slave) as process:
        os.close(slave)
        output = b""
        while chunk := _read(master):
            output += chunk
    os.close(master)
    assert process.returncode == 0
    assert "━" in output.decode()
    assert "42/42" in re.sub(r"\x1b\[[\d;?]*\w", "", output.decode())


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux says that the other end is closed
        return b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_it_leaves_nothing_behind(place: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "rpqueue", "demo"]
    with subprocess.Popen(
        command, env=environment(place), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        # Two workers, their supervisor, and the tracker that multiprocessing starts.
        family = psutil.Process(process.pid)
        children = wait_until(lambda: (found := family.children(recursive=True)) and len(found) == 4 and found, 20)
        assert not nothing_runs_in(place)
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode != 0
    assert list(place.iterdir()) == []
    assert nothing_runs_in(place)
    wait_until(lambda: not [child for child in children if child.is_running()])
