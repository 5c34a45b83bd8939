"""A scene: a server, workers, producers and consumers in processes of their own, and a record of all they did."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import redis

from rpqueue import App
from rpqueue.keys import QueueKeys
from tests.conftest import default_flavour
from tests.servers import Server, wait_until
from tests.stress import checker, remains, work
from tests.stress.faults import Deployment, Fault
from tests.stress.history import Event, Follower, History
from tests.stress.points import Board
from tests.stress.processes import Agent

#: Settings of the Apps of all processes. Nothing is trimmed away that the checker should see.
SETTINGS: dict[str, Any] = {"worker_ttl": 2.0, "keep_failed": 1_000_000}


class Way(Protocol):
    """What may stand between clients and the server: see tests/stress/proxy.py."""

    port: int

    def close(self) -> None: ...


class Scene:
    """
    Servers and processes for faults to be done to. A context manager: leaving it ends everything.

    Args:
        directory: for histories and logs; empty.
        seed: everything that is drawn by lot follows from it, as far as processes let it.
        flavour: ``valkey`` or ``redis``; None: whichever there is.
        fsync: ``appendfsync`` of the server's append-only file; None: it has no such file.
        options: more arguments for the server.
        deployment: what stands for the server: a Sentinel's or a Cluster's nodes. Closed with the scene.
        proxy: makes what stands between clients and the server, from the server's port; None: nothing.
        ticking: whether workers have a recurring task, too.
        settings: of the Apps, by their lower-case names, on top of SETTINGS.
    """

    def __init__(
        self,
        directory: Path,
        seed: int,
        *,
        flavour: str | None = None,
        fsync: str | None = "everysec",
        options: Sequence[str] = (),
        deployment: Deployment | None = None,
        proxy: Callable[[int], Way] | None = None,
        ticking: bool = False,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.directory, self.seed, self.ticking = directory, seed, ticking
        self.random = random.Random(seed)
        self.settings = {**SETTINGS, **(settings or {})}
        self.prefix = "stress"
        self.servers: list[Server] = []
        self.proxy: Any = None
        self.deployment = deployment
        if deployment is not None:
            url, client = deployment.url, deployment.client()
        else:
            more = ["--appendfsync", fsync] if fsync else []
            self.servers.append(Server(flavour or default_flavour(), appendonly=bool(fsync), options=[*more, *options]))
            url, client = self.server.url, self.server.client(socket_timeout=30)
            if proxy is not None:
                self.proxy = proxy(self.server.port)
                url = f"redis://127.0.0.1:{self.proxy.port}/0"
        self.url: str = url
        self.client: redis.Redis = client  #: past the proxy
        self.history, self.board = History(directory, "scene"), Board(directory / "board")
        self.app = self.new_app()
        work.declare(self.app, self.history, self.board)
        self.app.set_priority(work.PROBES, 0)
        self.workers: list[Agent] = []
        self.consumers: list[Agent] = []
        self.producers: list[Agent] = []
        self.supervised = True  #: so far, no fault could strand what had not started
        self._follower = Follower(directory, "-scene-")
        self.shape: dict[str, Any] = {}  #: of the last worker that was started
        self._production = (0, 0.0)
        self._started = 0
        self._sent = 0

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def server(self) -> Server:
        """The only server, or the first."""
        return self.servers[0]

    def new_app(self) -> App:
        """An App in this process, with the scene's settings."""
        app = App(self.url, self.prefix)
        for name, value in self.settings.items():
            setattr(app.settings, name, value)
        return app

    # Processes.

    def start_worker(
        self, processes: int = 2, threads: int = 2, wait: float = 2.0, environment: dict[str, str] | None = None
    ) -> Agent:
        """Start a supervisor with its worker processes; *wait*: seconds that running tasks get in all when it stops."""
        options = {"processes": processes, "threads_per_process": threads, "wait_per_thread": wait / threads}
        worker = self._start("worker", options=options, environment=environment or {})
        self.workers.append(worker)
        self.shape = {"processes": processes, "threads": threads, "wait": wait}
        return worker

    def start_workers(self, number: int = 2, **shape: Any) -> None:
        """Start so many, and wait until all work."""
        for _ in range(number):
            self.start_worker(**shape)
        self.until_working()

    def until_working(self, timeout: float = 30.0) -> None:
        """Wait until every worker has its children."""
        number = self.shape["processes"]
        wait_until(lambda: all(len(one.children()) == number for one in self.workers), timeout, "workers have children")

    def start_consumer(self) -> Agent:
        self.consumers.append(self._start("consumer"))
        return self.consumers[-1]

    def start_producer(self, messages: int, rate: float = 0.0) -> Agent:
        """Start a producer of so many messages, *rate* in a second; 0: as fast as it goes."""
        name = f"p{self._started}"
        self.producers.append(self._start("producer", name=name, options={"messages": messages, "rate": rate}))
        self._production = messages, rate
        return self.producers[-1]

    def replace_producer(self, producer: Agent) -> None:
        """Another producer like the last one, in the place of one that has ended."""
        self.producers.remove(producer)
        self.start_producer(*self._production)

    def _start(self, role: str, **more: Any) -> Agent:
        config = {
            "role": role,
            "url": self.url,
            "prefix": self.prefix,
            "settings": self.settings,
            "directory": str(self.directory),
            "seed": self.random.randrange(2**32),
            "ticking": self.ticking,
            **more,
        }
        self._started += 1
        return Agent(config, self.directory / f"{role}-{self._started}.log", self.history)

    def replace(self, worker: Agent) -> Agent:
        """Another worker like the others, in the place of one that has ended."""
        self.workers.remove(worker)
        return self.start_worker(**self.shape)

    def some_worker(self) -> Agent:
        """One of the workers that live."""
        return self.random.choice([worker for worker in self.workers if worker.is_alive])

    def some_child(self) -> tuple[Agent, int]:
        """One of the worker processes that live, and whose it is."""
        families = wait_until(
            lambda: [(worker, pid) for worker in self.workers for pid in worker.children()],
            30,
            "a worker process lives",
        )
        return self.random.choice(families)

    # Messages, faults, instants.

    def send(self, kind: str, *args: Any, **options: Any) -> str:
        """
        Enqueue one call from this process, into a queue that goes before the others; returns its key.

        Options are those of `Task.execute`.
        """
        self._sent += 1
        key = f"{kind}-scene-{self._sent}"
        work.send_one(self.app, self.history, kind, key, *args, **{"_queue": work.PROBES, **options})
        return key

    def inject(self, fault: Fault, back: float | None = None) -> None:
        """Do one fault, and write down when it began and when it was healed. *back*: instead of the fault's own."""
        self.supervised = self.supervised and getattr(fault, "supervised", False)
        self.history.write("fault", "invoke", fault.name)
        fault.inject(self)
        self.history.write("fault", "ok", fault.name, back=back or getattr(fault, "back", 20.0))

    def forgive(self, since: int) -> None:
        """What was written from *since* (monotonic ns) until now may have been undone: a server forgot it."""
        self.history.write("forgive", "ok", "", since=since)

    def seen_of(self, step: str, key: str) -> list[Event]:
        """The events of one step about one message that was sent from here."""
        return [event for event in self._follower.events() if event.step == step and event.key == key]

    def until(self, step: str, key: str, number: int = 1, timeout: float = 60.0) -> list[Event]:
        """The same, once there are *number*."""
        wait_until(lambda: len(self.seen_of(step, key)) >= number, timeout, f"{number} x {step} {key}")
        return self.seen_of(step, key)

    # The end.

    @property
    def queues(self) -> dict[str, QueueKeys]:
        """The keys of all queues, by name."""
        keys = self.app.keys
        return {
            work.TASKS: keys.tasks(work.TASKS),
            work.PROBES: keys.tasks(work.PROBES),
            work.TICKS: keys.tasks(work.TICKS),
            work.ITEMS: keys.data(work.ITEMS),
            work.TAKEN: keys.data(work.TAKEN),
        }

    def seen(self) -> int:
        """Messages that have come into the queues."""
        return sum(int(self.client.hget(keys.stats, "seen") or 0) for keys in self.queues.values())

    def under_way(self) -> int:
        """Messages that are ready, scheduled, leased or parked."""
        with contextlib.suppress(redis.RedisError):
            return sum(
                self.client.llen(keys.ready)
                + self.client.zcard(keys.scheduled)
                + self.client.zcard(keys.leased)
                + self.client.hlen(keys.parked)
                for keys in self.queues.values()
            )
        return -1

    def drain(self, timeout: float = 60.0) -> None:
        """
        Let producers come to an end, and workers and consumers empty the queues; then stop them all.

        Raises:
            AssertionError: they did not within *timeout* seconds each.
        """
        for agent in (*self.workers, *self.consumers, *self.producers):
            agent.resume()
        for point in checker.POINTS:
            self.board.disarm(point)
        self.history.write("drain", "invoke", "")
        self.board.set("stop_producing")
        for worker in self.workers[:]:
            if not worker.is_alive:
                self.replace(worker)
        self.consumers = [consumer for consumer in self.consumers if consumer.is_alive] or [self.start_consumer()]
        for producer in self.producers:
            producer.code(timeout + 60)
        wait_until(lambda: self.under_way() == 0, timeout, "the queues are empty")
        self.until_working(timeout)  # or Python itself would take the signal
        self.board.set("stop_consuming")
        for worker in self.workers:
            worker.stop()
        for agent in (*self.workers, *self.consumers):
            code = agent.code(timeout)
            assert code == 0, f"{agent.role} {agent.pid} ended with {code}:\n{agent.log[-4000:]}"
        self.history.write("drain", "ok", "")

    def verdict(self) -> checker.Verdict:
        """Class every message, and look at every invariant; after `drain`."""
        left = remains.read(self.client, self.app, self.queues)
        return checker.check(checker.history.read(self.directory), left, supervised=self.supervised)

    def close(self) -> None:
        """End what still runs."""
        for agent in (*self.workers, *self.consumers, *self.producers):
            if agent.is_alive:
                agent.kill_all()
        self.app.broker.close()
        if self.proxy is not None:
            self.proxy.close()
        for server in self.servers:
            server.close()
        if self.deployment is not None:
            self.deployment.close()
