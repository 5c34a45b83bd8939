"""
The demo: a first look at rpqueue, and a first file to read of what uses it.

Every module of Python's standard library becomes one task. Worker processes parse them and put what they find into a
data queue, from which this process leases it, a hundred at a time. In the end everything is counted once more in one
plain loop, and both counts have to be the same; with ``--kill`` too, which kills a worker in the middle of its work::

    python -m rpqueue demo --kill
"""

from __future__ import annotations

import argparse
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rpqueue
from rpqueue import embedded
from rpqueue.cli.screen import Screen
from rpqueue.inspection import Inspection

Finding = dict[str, Any]
Advance = Callable[[int], None]

#: Seconds without any finding after which something must be wrong.
PATIENCE = 60.0


# ---- What the workers do.

#: Where findings go. Who gets some has 30 seconds to say that they are done; after that, others get them.
findings = rpqueue.Data("findings", vis_timeout=30, attempts=5)


@rpqueue.task(queue="modules", vis_timeout=60, attempts=5)
def read_module(path: str) -> None:
    """Find out what is in a module. With vis_timeout, a task whose worker dies runs again, so nothing is lost."""
    findings.put_data([describe(path)])


def describe(path: str) -> Finding:
    """What is in a module: lines, definitions and imports, or that it does not parse."""
    source = Path(path).read_bytes()
    found: Counter[str] = Counter()
    imports: Counter[str] = Counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):  # the standard library tests these with files of its own
        found["unparsable"] = 1
    else:
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found["definitions"] += 1
            elif isinstance(node, ast.Import):
                imports.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imports[node.module.partition(".")[0]] += 1
    return {"path": path, "files": 1, "lines": source.count(b"\n"), "imports": imports, **found}


def work(url: str, prefix: str, processes: int) -> None:
    """Run tasks until told to stop. This is all that workers do."""
    connect(url, prefix)
    rpqueue.execute_tasks(["modules"], processes=processes)


# ---- What this process does.


def connect(url: str, prefix: str) -> None:
    """Say where Redis is, and how all keys begin."""
    rpqueue.set_redis_connection_settings(url=url)
    rpqueue.set_key_prefix(prefix)


def collect(wanted: int, advance: Advance) -> tuple[list[Finding], int]:
    """Take findings out of their queue until there is one of each module. Returns them, and how many came again."""
    by_path: dict[str, Finding] = {}
    repeated, ends_at = 0, time.monotonic() + PATIENCE
    while len(by_path) < wanted and time.monotonic() < ends_at:
        items = findings.get_data(100, get_timeout=1)
        for finding in items.values():
            # A task that ran twice has put its finding twice: "at least once" asks for a consumer that does not mind.
            # This one tells findings by their paths.
            repeated += finding["path"] in by_path
            by_path[finding["path"]] = finding
        findings.done_data(items)
        if items:
            ends_at = time.monotonic() + PATIENCE
            advance(len(by_path))
    return list(by_path.values()), repeated


def kill_a_worker() -> int:
    """End a worker process the hard way, as a crash would. Returns its process id."""
    while True:
        for worker in Inspection(rpqueue.app).workers():
            os.kill(worker.pid, signal.SIGKILL)
            return worker.pid
        time.sleep(0.01)  # it works already, and its supervisor is about to tell Redis


@contextmanager
def a_redis() -> Iterator[str]:
    """The URL of a Redis: that of RPQUEUE_URL, else of an embedded server for as long as the demo takes."""
    given = os.environ.get("RPQUEUE_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="rpqueue-demo-") as directory, embedded.start(directory) as server:
        yield server.url


@contextmanager
def own_keys(url: str) -> Iterator[str]:
    """A prefix of keys that nobody else uses. In the end they are deleted."""
    prefix = f"rpqueue-demo-{os.urandom(4).hex()}"
    connect(url, prefix)
    try:
        yield prefix
    finally:
        client = rpqueue.get_connection()
        for key in client.scan_iter(match=f"{prefix}:*", count=1000):
            client.unlink(key)
        rpqueue.app.broker.close()


@contextmanager
def workers(url: str, prefix: str, processes: int) -> Iterator[None]:
    """Some worker processes, for as long as the block takes. ``python -m rpqueue.run`` starts such, too."""
    supervisor = multiprocessing.get_context("spawn").Process(target=work, args=(url, prefix, processes))
    supervisor.start()
    try:
        yield
    finally:
        supervisor.terminate()  # lets running tasks end
        supervisor.join(20)
        supervisor.kill()


# ---- What is counted.


@dataclass
class Totals:
    """What is in all modules together."""

    counts: Counter[str] = field(default_factory=Counter)
    imports: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, found: Sequence[Finding]) -> Totals:
        """The sums over *found*."""
        totals = cls()
        for finding in found:
            totals.imports.update(finding["imports"])
            totals.counts.update({name: count for name, count in finding.items() if name not in ("path", "imports")})
        return totals


def modules_under(directory: str) -> list[str]:
    """The ``.py`` files under a directory, but for what was installed into it later."""
    found = sorted(path for path in Path(directory).rglob("*.py") if path.is_file())
    later = {"site-packages", "dist-packages"}
    return [str(path) for path in found if later.isdisjoint(path.relative_to(directory).parts)]


# ---- The whole demo.


def count_by_workers(screen: Screen, paths: list[str], processes: int, kill: bool) -> tuple[Totals, float]:
    """One task for each module. Returns the totals, and how many there were a second."""
    with a_redis() as url, own_keys(url) as prefix, workers(url, prefix, processes):
        started, killed = time.monotonic(), 0
        for path in paths:
            read_module.execute(path)
        with screen.progress("by workers", len(paths)) as advance:

            def advance_and_kill(done: int) -> None:
                nonlocal killed
                advance(done)
                if kill and not killed and 2 * done >= len(paths):
                    killed = kill_a_worker()
                    screen.say(f"SIGKILL to worker process {killed}: what it had in hand runs again, elsewhere")

            found, repeated = collect(len(paths), advance_and_kill)
        seconds = time.monotonic() - started
    again = f"; {repeated} came twice and were counted once" if kill else ""
    screen.say(f"{len(found):,} tasks in {seconds:.1f} s{again}")
    return Totals.of(found), len(found) / seconds


def count_in_a_loop(screen: Screen, paths: list[str]) -> tuple[Totals, float]:
    """The same without any queue."""
    started = time.monotonic()
    found: list[Finding] = []
    with screen.progress("in one loop", len(paths)) as advance:
        for path in paths:
            found.append(describe(path))
            advance(len(found))
    return Totals.of(found), len(found) / (time.monotonic() - started)


def main(argv: list[str]) -> int:
    """Run the demo with these arguments. Returns the exit code: 1 when the counts differ."""
    stdlib = sysconfig.get_paths()["stdlib"]
    parser = argparse.ArgumentParser(prog="rpqueue demo", description="Count the standard library, by tasks.")
    parser.add_argument("--kill", action="store_true", help="kill a worker process in the middle")
    parser.add_argument("--path", default=stdlib, metavar="DIR", help="count the modules under this directory instead")
    parser.add_argument("--limit", type=int, metavar="N", help="count so many modules at most")
    parser.add_argument("--processes", type=int, default=2, choices=range(1, 65), metavar="N", help="2 by default")
    options = parser.parse_args(argv)
    paths = modules_under(options.path)[: options.limit]
    if not paths:
        parser.error(f"--path: expected a directory with .py files in it, got {options.path}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that workers and server end, too
    screen = Screen()
    screen.say(f"{len(paths):,} modules under {options.path}, a task each, for {options.processes} worker processes")
    by_workers, tasks_per_second = count_by_workers(screen, paths, options.processes, options.kill)
    in_a_loop, files_per_second = count_in_a_loop(screen, paths)
    rows = [(name, by_workers.counts[name], in_a_loop.counts[name]) for name in in_a_loop.counts]
    for name, count in in_a_loop.imports.most_common(5):
        rows.append((f"import {name}", by_workers.imports[name], count))
    screen.compare("by workers", "in one loop", rows, ("tasks a second", tasks_per_second, files_per_second))
    if by_workers != in_a_loop:
        screen.say("FAILED: the counts differ", "red")
        return 1
    screen.say("OK: both counts are the same", "green")
    return 0
