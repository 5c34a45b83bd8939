"""Workers that start anew when their code changes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rpqueue import App
from rpqueue.enqueued import EnqueuedTask
from rpqueue.worker.reloading import directories_of
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench, is_gone

TASKS = """
import rpqueue
from tests.worker.jobs import hold

version = rpqueue.task(save_results=60, name="version")(lambda: {version})
hold = rpqueue.task(vis_timeout=60, attempts=1, name="hold")(hold)
"""


class Reloaded:
    """A worker of the command line, in a folder with its code."""

    def __init__(self, bench: Bench, folder: Path, *options: str) -> None:
        self.bench, self.folder, self._log = bench, folder, folder / "log"
        self.write(TASKS.format(version=1))
        place = ("--url", bench.url, "--prefix", bench.prefix)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rpqueue.run", "-m", "shop", "--reload", "--wait=30", *place, *options],
                cwd=folder,
                env={"PYTHONPATH": str(Path(__file__).parents[2]), "TEST_NOTES_URL": bench.server.root_url},
                stdout=log,
                stderr=log,
            )

    def write(self, code: str) -> None:
        (self.folder / "shop.py").write_text(code)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def until_said(self, words: str, times: int = 1) -> None:
        wait_until(lambda: self.log.count(words) >= times, SOON, words)

    def version(self) -> int:
        call: EnqueuedTask = self.bench.app.call_task("version", None)
        return call.get(SOON)  # type: ignore[no-any-return]


@pytest.fixture
def reloaded(bench: Bench, tmp_path: Path) -> Iterator[Callable[..., Reloaded]]:
    started: list[Reloaded] = []

    def start(*options: str) -> Reloaded:
        started.append(Reloaded(bench, tmp_path, *options))
        return started[-1]

    yield start
    for one in started:
        one.process.terminate()
        one.process.wait(SOON)
        print(one.log)


def test_changed_code_is_taken_by_the_same_process_once_what_runs_has_ended(
    bench: Bench, reloaded: Callable[..., Reloaded]
) -> None:
    worker = reloaded()
    worker.until_said("watching Python files")
    assert worker.version() == 1
    family = psutil.Process(worker.process.pid).children()
    held = bench.app.call_task("hold", None, "x")
    bench.until_noted("start")
    worker.write(TASKS.format(version=2))
    worker.until_said("starting anew")
    worker.until_said("worker is quiet")
    assert held.status == "started"
    bench.go("x")
    bench.until(held, "done")
    worker.until_said("watching Python files", 2)
    assert worker.version() == 2
    assert bench.labels("end") == ["x"]
    assert all(is_gone(process.pid) for process in family)
    # Told to stop, it stops, though the code changes this moment.
    worker.process.send_signal(signal.SIGTERM)
    worker.write(TASKS.format(version=3))
    assert worker.process.wait(SOON) == 0


def test_broken_code_is_waited_for(reloaded: Callable[..., Reloaded]) -> None:
    worker = reloaded()
    worker.until_said("watching Python files")
    worker.write("def\n")
    worker.until_said("waiting for a change")
    worker.until_said("SyntaxError")
    worker.until_said("watching Python files", 2)
    worker.write(TASKS.format(version=3))
    worker.until_said("watching Python files", 3)
    assert worker.version() == 3


def test_what_reloading_interrupts_goes_back_and_costs_no_attempt(
    bench: Bench, reloaded: Callable[..., Reloaded]
) -> None:
    worker = reloaded("--wait=0.1")
    worker.until_said("watching Python files")
    held = bench.app.call_task("hold", None, "x")
    bench.until_noted("start")
    worker.write(TASKS.format(version=2))
    bench.until_noted("start", number=2)
    bench.go("x")
    bench.go("x")
    bench.until(held, "done")


def test_the_directories_of_modules_are_watched_and_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here / "inner", there / "package" / "deep"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    (there / "package" / "__init__.py").touch()
    (there / "single.py").touch()
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(there))
    monkeypatch.syspath_prepend(str(here))
    assert directories_of(["inner", "nowhere"]) == [here]
    assert directories_of(["package.deep.not_looked_for"]) == [here, there / "package"]
    assert directories_of(["single", "package"]) == [here, there]


def test_without_watchfiles_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(Exception, match=r"pip install rpqueue\[reload\]"):
        App().execute_tasks(reload=True)
