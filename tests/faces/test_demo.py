"""The demo, as ``make demo`` runs it, on a few files of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import Server

SOURCES = {
    "one.py": "import os\nimport sys, json.decoder\n\ndef f():\n    class C:\n        pass\n",
    "two.py": "from os import path\nfrom . import one\nasync def g(): ...\n",
    "broken.py": "def (\n",
    "deep/three.py": "# nothing but a comment\n",
    "site-packages/installed.py": "import not_counted\n",
    "notes.txt": "no Python",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in SOURCES.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return tmp_path


def demo(*args: object, url: str = "", **kwargs: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RPQUEUE_URL": url, "COLUMNS": "100"}
    command = [sys.executable, "-m", "rpqueue", "demo", *map(str, args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)


def row(output: str, name: str) -> list[str]:
    [line] = [line for line in output.splitlines() if line.strip("│ ").startswith(name)]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_counts_of_tasks_and_of_a_loop_are_shown_and_match(folder: Path) -> None:
    ran = demo("--path", folder)
    assert ran.returncode == 0, ran.stderr
    assert "every count matches" in ran.stdout
    assert row(ran.stdout, "files") == ["files", "4", "4"]
    assert row(ran.stdout, "lines") == ["lines", "11", "11"]
    assert row(ran.stdout, "definitions") == ["definitions", "3", "3"]
    assert row(ran.stdout, "unreadable") == ["unreadable", "1", "1"]
    assert row(ran.stdout, "import os") == ["import os", "2", "2"]
    assert "not_counted" not in ran.stdout


def test_it_matches_although_a_worker_is_killed_in_the_middle() -> None:
    ran = demo("--kill", "--limit", 300)
    assert ran.returncode == 0, ran.stderr
    assert "killed worker process" in ran.stdout
    assert "every count matches" in ran.stdout


def test_it_says_so_when_the_counts_differ(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rpqueue import demo as module

    monkeypatch.setattr(module, "run_as_tasks", lambda files, processes, kill: (module.Totals(), 1.0))
    with pytest.raises(SystemExit) as stopped:
        module.main(["--path", str(folder)])
    assert stopped.value.code == 1


def test_on_a_server_of_the_users_own_it_leaves_nothing_behind(folder: Path, server: Server, redis_client) -> None:  # type: ignore[no-untyped-def]
    ran = demo("--path", folder, url=server.url)
    assert ran.returncode == 0, ran.stderr
    assert redis_client.keys("*") == []
