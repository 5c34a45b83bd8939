"""
The demo: every file of Python's own standard library becomes a task, and the totals must come out right.

A worker parses a file and puts what it counted, as one item, into a data queue. An aggregator leases these items a
hundred at a time and adds them up. In the end the sums are checked against the same counts, made in one plain loop.
With ``--kill`` a worker process is killed in the middle; its tasks run again, and the sums still match.
"""

from __future__ import annotations

import ast
import multiprocessing
import os
import signal
import sys
import sysconfig
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from . import embedded
from .app import App
from .inspection import Inspection

app = App(prefix=f"rpqueue-demo-{os.getpid()}")

#: What the workers counted: one item per file. Leased for ten seconds; who does not finish in that time has died.
counts = app.Data("counts", vis_timeout=10, attempts=10, use_dead=True)


@app.task(queue="files", vis_timeout=60, attempts=10, use_dead=True)
def count_file(path: str) -> None:
    """The task. It may run twice, when its worker dies between the put and the ack; see `Totals.add`."""
    counts.put_data([count(path)])


def count(path: str) -> dict[str, Any]:
    """Lines, definitions and imported modules of one file."""
    source = Path(path).read_bytes()
    found: dict[str, Any] = {"path": path, "lines": source.count(b"\n"), "definitions": 0, "unreadable": False}
    imports: Counter[str] = Counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the library tests its parser with files like these
        return {**found, "imports": {}, "unreadable": True}
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found["definitions"] += 1
        elif isinstance(node, ast.Import):
            imports.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports[node.module.partition(".")[0]] += 1
    return {**found, "imports": dict(imports)}


@dataclass
class Totals:
    """The sums over some files."""

    files: set[str] = field(default_factory=set)
    lines: int = 0
    definitions: int = 0
    unreadable: int = 0
    imports: Counter[str] = field(default_factory=Counter)

    def add(self, found: dict[str, Any]) -> bool:
        """
        Take one file in. Returns whether it was new.

        At least once means that an item may come twice, so whoever reads it must know what it has read. Here the path
        says so.
        """
        if found["path"] in self.files:
            return False
        self.files.add(found["path"])
        self.lines += found["lines"]
        self.definitions += found["definitions"]
        self.unreadable += found["unreadable"]
        self.imports.update(found["imports"])
        return True


class Display:
    """What the user sees meanwhile: a live bar on a terminal, a line now and then elsewhere."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._said = 0
        self._progress: Any = None
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns)
            self._bar = self._progress.add_task("parsing", total=total)
            self._progress.start()

    def show(self, done: int) -> None:
        """So many files are counted."""
        if self._progress is not None:
            self._progress.update(self._bar, completed=done)
        elif done == self._total or done - self._said >= self._total / 10:
            self._said = done
            self.say(f"{done} of {self._total} files")

    def say(self, text: str) -> None:
        """A line that stays."""
        (self._progress.console.print if self._progress is not None else click.echo)(text)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._progress is not None:
            self._progress.stop()


@contextmanager
def server() -> Iterator[None]:
    """The server that RPQUEUE_URL names, else an embedded one for as long as the demo runs."""
    if os.environ.get("RPQUEUE_URL"):
        try:
            yield
        finally:
            leave_nothing_behind()
        return
    with tempfile.TemporaryDirectory(prefix="rpqueue-demo-") as directory, embedded.start(directory) as running:
        app.set_redis_connection_settings(url=running.url)
        yield
        app.broker.close()


def leave_nothing_behind() -> None:
    """Delete every key of the demo's own prefix."""
    client = app.get_connection()
    for key in client.scan_iter(match=f"{app.settings.key_prefix}:*", count=1000):
        client.unlink(key)


@contextmanager
def workers(processes: int) -> Iterator[None]:
    """Some worker processes under a supervisor, which is a child of this process."""
    supervisor = multiprocessing.get_context("fork").Process(
        target=app.execute_tasks, kwargs={"processes": processes, "wait_per_thread": 5}
    )
    supervisor.start()
    try:
        yield
    finally:
        os.kill(supervisor.pid or 0, signal.SIGTERM)
        supervisor.join()


def kill_one_worker() -> int:
    """SIGKILL a worker process, the way an out-of-memory killer would. Returns its process id."""
    victim = next(worker for worker in Inspection(app).workers() if worker.is_alive)
    os.kill(victim.pid, signal.SIGKILL)
    return victim.pid


def run_as_tasks(files: list[str], processes: int, kill: bool) -> tuple[Totals, float]:
    """Count *files* with workers. Returns the totals, and the seconds it took."""
    totals, display, left_to_kill = Totals(), Display(len(files)), kill
    began = time.monotonic()
    with workers(processes):
        for path in files:
            count_file.execute(path)
        try:
            while len(totals.files) < len(files):
                items = counts.get_data(items=100, get_timeout=1)
                for found in items.values():
                    totals.add(found)
                counts.done_data(items)
                display.show(len(totals.files))
                if left_to_kill and len(totals.files) > len(files) / 3:
                    left_to_kill = False
                    display.say(f"killed worker process {kill_one_worker()}")
        finally:
            display.close()
        return totals, time.monotonic() - began


def run_in_a_loop(files: list[str]) -> Totals:
    """The same counts without any queue."""
    totals = Totals()
    for path in files:
        totals.add(count(path))
    return totals


def report(totals: Totals, seconds: float, expected: Totals) -> None:
    """The table at the end."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Counted by tasks and in a loop", title_justify="left")
    for column, justify in (("", "left"), ("by tasks", "right"), ("in a loop", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for name in ("files", "lines", "definitions", "unreadable"):
        values = (getattr(one, name) for one in (totals, expected))
        table.add_row(name, *(f"{len(value) if isinstance(value, set) else value:,}" for value in values))
    for module, number in totals.imports.most_common(5):
        table.add_row(f"import {module}", f"{number:,}", f"{expected.imports[module]:,}")
    table.add_row("tasks per second", f"{len(totals.files) / seconds:,.0f}", "")
    Console().print(table)


def source_files(folder: Path, limit: int | None) -> list[str]:
    """The ``.py`` files in a folder, without what was installed into it."""
    found = (path for path in folder.rglob("*.py") if "site-packages" not in path.parts)
    return [str(path) for path in sorted(found)][:limit]


@click.command("demo")
@click.option("--kill", is_flag=True, help="Kill a worker process in the middle.")
@click.option("--processes", type=click.IntRange(1, 64), default=2, show_default=True, help="Worker processes.")
@click.option("--path", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another folder to count.")
@click.option("--limit", type=click.IntRange(1), help="Count only so many files.")
def command(kill: bool, processes: int, path: Path | None, limit: int | None) -> None:
    """Count the files of Python's standard library, by tasks and in a loop; exit with 1 if the counts differ."""
    files = source_files(path or Path(sysconfig.get_paths()["stdlib"]), limit)
    if not files:
        raise click.UsageError(f"no .py files in {path}")
    with server():
        totals, seconds = run_as_tasks(files, processes, kill)
    expected = run_in_a_loop(files)
    report(totals, seconds, expected)
    if totals != expected:
        click.echo("the counts differ", err=True)
        raise SystemExit(1)
    click.echo("every count matches")


def main(argv: list[str]) -> int:
    """Run the demo. Returns the exit code."""
    return command.main(argv, prog_name="rpqueue demo", standalone_mode=False) or 0
