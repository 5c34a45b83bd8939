"""Side: one peer in one sample: its agent, its workers, and what they noted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks import environments, jobs
from benchmarks.peer import Facts
from benchmarks.server import HOST, Server


class PeerFailed(Exception):
    """A peer could not do what a measure asked; says what it said."""


class Skipped(Exception):
    """A peer has no such thing; says what."""


class Tally(NamedTuple):
    """What the tasks of all workers noted together; instants are monotonic."""

    ended: int
    first: float
    last: float

    @property
    def rate(self) -> float:
        """Tasks per second."""
        return (self.ended - 1) / max(self.last - self.first, 1e-9)


class Side:
    """
    A peer, for one sample, on a server that is empty.

    Args:
        name: its adapter.
        facts: what is known of it.
        python: of its environment.
        server: the run's.
        seconds: how long the timed part of a sample should take, roughly.
    """

    def __init__(self, name: str, facts: Facts, python: Path, server: Server, seconds: float) -> None:
        self.name, self.facts, self.server, self.seconds = name, facts, server, seconds
        self._python = python
        self.notes = Path(tempfile.mkdtemp(prefix="bench-notes-"))
        self._agent: subprocess.Popen[str] | None = None
        self._results = False
        server.client.flushall()
        server.client.script_flush()

    def close(self) -> None:
        """End the agent and forget what was noted."""
        if self._agent is not None:
            assert self._agent.stdin is not None
            assert self._agent.stdout is not None
            self._agent.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._agent.wait(5)
            self._agent.kill()
            self._agent.wait()
            self._agent.stdout.close()
            self._agent = None
        shutil.rmtree(self.notes, ignore_errors=True)

    # How much makes a sample.

    @property
    def submits(self) -> int:
        """Calls that are enqueued one by one in a sample's time."""
        return max(int(self.facts.submits * self.seconds), 20)

    @property
    def drains(self) -> int:
        """No-op tasks that one process with one slot drains in a sample's time."""
        return max(int(self.facts.drains * self.seconds), 20)

    @property
    def best_drains(self) -> int:
        """No-op tasks that one process at its best drains in a sample's time."""
        return max(int(self.facts.best * self.seconds), 20)

    # The agent.

    def keep_results(self) -> None:
        """What follows is about results."""
        self._results = True

    def call(self, verb: str, **arguments: Any) -> Any:
        """Have the agent do something; see `agent`."""
        if self._agent is None:
            self._agent = subprocess.Popen(
                [str(self._python), "-m", "benchmarks.agent", self.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=(self.notes / "agent.log").open("w"),
                text=True,
                env=self._environment(0),
                cwd=self.notes,
            )
        assert self._agent.stdin is not None
        assert self._agent.stdout is not None
        try:
            self._agent.stdin.write(json.dumps({"call": verb, "with": arguments}) + "\n")
            self._agent.stdin.flush()
            line = self._agent.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._agent.wait(5)
            raise PeerFailed(f"{self.name}: the agent ended: {self._end_of('agent.log')}")
        reply = json.loads(line)
        if "error" in reply:
            raise PeerFailed(f"{self.name}: {verb}: {reply['error']}")
        return reply["value"]

    def timed(self, verb: str, **arguments: Any) -> float:
        """Have the agent do something that it times; returns seconds."""
        return float(self.call(verb, **arguments))

    def require(self, name: str) -> None:
        """Skip the measure for peers whose adapter has no such method."""
        if not self.call("can", name=name):
            raise Skipped(f"{self.facts.title} has no {name}")

    def stock(self, number: int, job: str = "noop", **more: Any) -> int:
        """Have calls waiting; returns how many."""
        self.call("stock", number=number, job=job, **more)
        return number

    def _environment(self, slots: int) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("RPQUEUE_", "PYTHON"))}
        return {
            **ours,
            "PYTHONPATH": environments.import_path(),
            "PYTHONUNBUFFERED": "1",
            "BENCH_HOST": HOST,
            "BENCH_PORT": str(self.server.port),
            "BENCH_NOTES": str(self.notes),
            "BENCH_RESULTS": "1" if self._results else "0",
            "BENCH_SLOTS": str(slots),
        }

    def _end_of(self, log: str) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.notes / log).read_text(errors="replace")[-1500:]
        return ""

    # Workers.

    @contextlib.contextmanager
    def working(self, processes: int = 1, slots: int = 0, *, warm: bool = False) -> Iterator[Workers]:
        """
        Have workers for a while.

        Args:
            processes: worker processes.
            slots: tasks at once in each; 0: what is best for no-op tasks.
            warm: wait until they have run something and are idle again.
        """
        commands = self.call("worker", processes=processes, slots=slots)
        workers = Workers(self, commands, self._environment(slots))
        try:
            if warm:
                self.call("latencies", number=10, pause=0.01)
                time.sleep(1.0)
            yield workers
        finally:
            workers.stop()

    def tally(self) -> Tally:
        """What is noted so far."""
        notes = [jobs.TALLY.unpack(path.read_bytes()) for path in self.notes.glob("tally-*") if path.stat().st_size]
        ran = [note for note in notes if note[1]]
        if not ran:
            return Tally(0, 0.0, 0.0)
        return Tally(sum(note[0] for note in ran), min(note[1] for note in ran), max(note[2] for note in ran))

    def forget(self) -> None:
        """Start the tally anew. Only while no worker runs."""
        for path in self.notes.glob("tally-*"):
            path.unlink()

    def imported(self) -> tuple[float, list[str]]:
        """Seconds that importing the library takes in a new interpreter, and the modules that it brings."""
        code = (
            "import json, sys, time\n"
            "before, started = set(sys.modules), time.perf_counter()\n"
            f"import {self.facts.package}\n"
            "print(json.dumps([time.perf_counter() - started, sorted(set(sys.modules) - before)]))"
        )
        environment = self._environment(0)
        done = subprocess.run(
            [str(self._python), "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            cwd=self.notes,
            check=False,
        )
        if done.returncode:
            raise PeerFailed(f"{self.name}: import {self.facts.package}: {done.stderr[-500:]}")
        seconds, modules = json.loads(done.stdout)
        return seconds, modules

    def stamps(self) -> list[float]:
        """Milliseconds from submission to start of every `stamp` that has started."""
        path = self.notes / "stamps"
        return [late for _, late in jobs.STAMP.iter_unpack(path.read_bytes())] if path.exists() else []


class Workers:
    """Worker processes, until stopped."""

    #: Seconds without any task that ends, after which workers are given up.
    PATIENCE = 30.0

    def __init__(self, side: Side, commands: Sequence[Sequence[str]], environment: dict[str, str]) -> None:
        self._side = side
        self._processes: list[subprocess.Popen[bytes]] = []
        for number, command in enumerate(commands):
            with (side.notes / f"worker-{number}.log").open("w") as log:
                started = subprocess.Popen(
                    command, stdout=log, stderr=log, env=environment, cwd=side.notes, start_new_session=True
                )
            self._processes.append(started)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for whole groups that do not hear it."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # each is the leader of its own
            process.wait()

    def until(self, condition: Callable[[], bool], what: str, patience: float | None = None) -> None:
        """Wait for a condition while the workers live."""
        ends_at = time.monotonic() + (patience or self.PATIENCE)
        while not condition():
            if time.monotonic() > ends_at:
                raise PeerFailed(f"{self._side.name}: gave up waiting for {what}: {self.log}")
            if all(process.poll() is not None for process in self._processes):
                raise PeerFailed(f"{self._side.name}: its workers ended before {what}: {self.log}")
            time.sleep(0.002)

    def until_done(self, number: int) -> Tally:
        """Wait until so many tasks have ended."""
        seen, ends_at = -1, 0.0
        while True:
            tally = self._side.tally()
            if tally.ended >= number:
                time.sleep(0.005)  # a note may have been read while it was written
                return self._side.tally()
            now = time.monotonic()
            if tally.ended != seen:
                seen, ends_at = tally.ended, now + self.PATIENCE
            if now > ends_at or all(process.poll() is not None for process in self._processes):
                raise PeerFailed(f"{self._side.name}: {tally.ended} of {number} tasks ended: {self.log}")
            time.sleep(0.002)

    @property
    def log(self) -> str:
        """The end of what they said."""
        return self._side._end_of("worker-0.log")

    def processes(self) -> list[psutil.Process]:
        """Every process of theirs that lives."""
        found = []
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = psutil.Process(process.pid)
                found += [parent, *parent.children(recursive=True)]
        return found

    @property
    def cpu_seconds(self) -> float:
        """CPU that they have used."""
        times = [process.cpu_times() for process in self.processes()]
        return float(sum(each.user + each.system for each in times))

    @property
    def memory(self) -> int:
        """Resident bytes of the largest of them."""
        return max(int(process.memory_info().rss) for process in self.processes())
