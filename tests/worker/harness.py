"""Worker processes for the tests: started, looked at, and ended by process id."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import redis

from rpqueue import App
from rpqueue.enqueued import EnqueuedTask
from rpqueue.protocol import moves
from rpqueue.states import State
from rpqueue.tasks import Task
from tests.servers import Server, wait_until
from tests.worker import jobs

#: Seconds in which what should happen at once happens on a busy machine.
SOON = 20.0


#: Holds the package that workers run, and the tests.
TREE = Path(__file__).parents[2]


def is_gone(pid: int) -> bool:
    """Whether a process has ended, seen to by its parent or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class WorkerProcess:
    """One ``execute_tasks`` or ``execute_task_threads`` in a process of its own, with a session of its own."""

    def __init__(self, bench: Bench, config: dict[str, Any], log: Path, tree: Path = TREE) -> None:
        self.bench, self.log_file = bench, log
        environment = {**os.environ, "TEST_NOTES_URL": bench.server.root_url}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.worker.jobs", json.dumps(config)],
                cwd=tree,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def announced(self) -> list[int]:
        """Process ids of the children, as Redis knows them."""
        entries = self.bench.redis.hvals(self.bench.app.keys.app.workers)
        infos = [json.loads(entry) for entry in entries]
        return sorted(info["pid"] for info in infos if info.get("supervisor") == self.pid)

    def children(self, number: int = 1) -> list[int]:
        """Process ids of its *number* children, once all are there."""
        wait_until(lambda: len(self.announced()) == number, SOON, "children announced")
        return self.announced()

    def child(self, other_than: int = 0) -> int:
        """Process id of its only child, once there is one other than *other_than*."""
        wait_until(lambda: self.announced() not in ([], [other_than]), SOON, "a child announced")
        [pid] = [pid for pid in self.announced() if pid != other_than]
        return pid

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        if group:
            os.killpg(self.pid, number)
        else:
            self._process.send_signal(number)

    def ended(self) -> bool:
        return self._process.poll() is not None

    def code(self, timeout: float = SOON) -> int:
        """Exit code, once it has ended."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s:\n{self.log[-4000:]}") from None

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.code()

    def kill(self) -> None:
        """SIGKILL to it and its children together, like a machine that loses power."""
        family = [psutil.Process(self.pid)] if psutil.pid_exists(self.pid) else []
        for process in family[:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                family += process.children(recursive=True)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)  # or the first to die would be seen by another
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if family:
            self._process.wait(10)


class Bench:
    """
    An App in the test's process, the same App in workers, and what its jobs noted.

    Args:
        server: whose data are the test's own.
        logs: directory for the workers' output.
        prefix: of all keys.
        url: of the App's Redis, where that is another one than the server for the notes.
        settings: of the App, here and in the workers, by their lower-case names.
    """

    def __init__(
        self, server: Server, logs: Path, prefix: str = "test", url: str | None = None, **settings: Any
    ) -> None:
        self.server, self.prefix, self.settings, self._logs = server, prefix, settings, logs
        self.client: redis.Redis = server.client()
        self.url = url or server.url
        self.app = App(self.url, prefix)
        #: A client of the App's Redis; `client` is one of the server that the notes are in.
        self.redis: redis.Redis = self.client if url is None else self.app.get_connection()
        for name, value in settings.items():
            if name != "after_fork":
                setattr(self.app.settings, name, value)
        self._jobs: list[list[Any]] = []
        self.workers: list[WorkerProcess] = []
        os.environ["TEST_NOTES_URL"] = server.root_url

    def task(self, function: str, name: str | None = None, **options: Any) -> Task[..., Any]:
        """Declare a function of jobs.py, for the workers that start from now on."""
        return self._declare("task", function, name, options)

    def periodic(self, function: str, run_every: float, name: str | None = None, **options: Any) -> Task[..., Any]:
        return self._declare("periodic_task", function, name, {"run_every": run_every, **options})

    def cron(self, function: str, crontab: str, name: str | None = None, **options: Any) -> Task[..., Any]:
        return self._declare("cron_task", function, name, {"crontab": crontab, **options})

    def _declare(self, kind: str, function: str, name: str | None, options: dict[str, Any]) -> Task[..., Any]:
        job = [kind, name or function, function, options]
        self._jobs.append(job)
        jobs.declare(self.app, [job])
        return self.app.get_task(name or function)

    def start(
        self,
        processes: int = 1,
        threads: int = 1,
        *,
        queues: list[str] | None = None,
        wait: float = 5,
        without: tuple[str, ...] = (),
        log_level: str = "INFO",
        alone: bool = False,
        ready: bool = True,
        dies_with_claims: bool = False,
        in_thread: bool = False,
        tree: Path = TREE,
        also: dict[str, Any] | None = None,
        **settings: Any,
    ) -> WorkerProcess:
        """
        Start a worker.

        Args:
            wait: seconds that running tasks get in all when it stops.
            without: names of tasks that it does not know.
            alone: execute_task_threads, without supervisor.
            ready: wait until it works.
            in_thread: not in the main thread, so no signals are heard.
            dies_with_claims: the first process that gets messages dies before it can write down which.
            tree: directory with the package and the tests that it runs.
            also: more arguments of execute_tasks, or execute_task_threads.
            settings: for this worker only.
        """
        options: dict[str, Any] = {"queues": queues, "wait_per_thread": wait / threads}
        options |= {"threads": threads} if alone else {"threads_per_process": threads, "processes": processes}
        options |= also or {}
        config = {
            "url": self.url,
            "prefix": self.prefix,
            "settings": {**self.settings, **settings},
            "jobs": [job for job in self._jobs if job[1] not in without],
            "run": "execute_task_threads" if alone else "execute_tasks",
            "options": options,
            "log_level": log_level,
            "dies_with_claims": dies_with_claims,
            "in_thread": in_thread,
        }
        worker = WorkerProcess(self, config, self._logs / f"worker-{len(self.workers)}.log", tree)
        self.workers.append(worker)
        if ready and not alone:
            worker.children(processes)
        return worker

    def close(self) -> None:
        """End what still runs, and show what the workers said; pytest prints it when the test failed."""
        for worker in self.workers:
            worker.kill()
            print(f"---- {worker.log_file.name}\n{worker.log[-6000:]}")
        self.app.broker.close()

    def together(self, *calls: tuple[Task[..., Any], Any], queue: str = "default") -> list[EnqueuedTask]:
        """Enqueue calls of tasks at one instant, each with its one argument or its list of arguments."""
        made = [
            task.call(tuple(said) if isinstance(said, list) else (said,), {"_queue": queue}) for task, said in calls
        ]
        pairs = [(operation.args[-2], operation.args[-1]) for operation, _ in made]
        keys = self.app.task_keys(queue)
        tail = calls[0][0].header_tail()
        self.app.broker.execute(moves.enqueue(keys, self.app.index, pairs, tail=tail))
        return [enqueued for _, enqueued in made]

    # What happened.

    def notes(self, what: str | None = None, label: Any = None) -> list[dict[str, Any]]:
        """What jobs noted, in order: of one kind, of one label, or all."""
        notes = [json.loads(entry) for entry in self.client.lrange(jobs.NOTES, 0, -1)]
        return [
            entry
            for entry in notes
            if (what is None or entry["what"] == what) and (label is None or entry["label"] == label)
        ]

    def labels(self, what: str = "ran") -> list[Any]:
        """The labels of all notes of one kind, in order."""
        return [entry["label"] for entry in self.notes(what)]

    def until_noted(self, what: str, label: Any = None, number: int = 1, timeout: float = SOON) -> list[dict[str, Any]]:
        """The notes of a kind, once there are *number* of them."""
        wait_until(lambda: len(self.notes(what, label)) >= number, timeout, f"{number} x {what} {label}")
        return self.notes(what, label)

    def go(self, label: str) -> None:
        """Let a held job end, now or when it comes to it."""
        with self.client.pipeline() as pipe:
            pipe.rpush(jobs.GO + label, 1)
            pipe.expire(jobs.GO + label, 600)
            pipe.execute()

    def until(self, call: EnqueuedTask, *statuses: str, timeout: float = SOON) -> str:
        """The status of a call, once it is one of these."""
        wait_until(lambda: call.status in statuses, timeout, f"{call} is {statuses}; it is {call.status}")
        return call.status

    def ids(self, place: str, queue: str = "default") -> list[str]:
        """The ids in one place of a queue, in order."""
        key = getattr(self.app.task_keys(queue), place)
        found = self.redis.lrange(key, 0, -1) if place == "ready" else self.redis.zrange(key, 0, -1)
        return [message_id.decode() for message_id in found]

    def stats(self, queue: str = "default") -> dict[str, int]:
        found = self.redis.hgetall(self.app.task_keys(queue).stats)
        return {name.decode(): int(number) for name, number in found.items()}

    def until_empty(self, queue: str = "default", timeout: float = SOON) -> None:
        """Wait until nothing of a queue waits or runs."""
        keys = self.app.task_keys(queue)
        wait_until(lambda: not self.redis.exists(keys.ready, keys.scheduled, keys.leased), timeout, f"{queue} empty")

    def redrive(self, grave: State, queue: str = "default") -> list[str]:
        """Put what is buried back into its queue."""
        return self.app.broker.execute(moves.redrive(self.app.task_keys(queue), self.app.index, grave))
