"""What befalls workers, and who enqueues and consumes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Any

import psutil

from tests.servers import wait_until
from tests.stress.faults import Fault
from tests.stress.points import POINTS
from tests.stress.processes import descendants
from tests.stress.scene import Scene
from tests.stress.work import TASKS
from tests.worker.harness import is_gone


class KillChild:
    """SIGKILL of a worker process whose supervisor lives, at any time."""

    name = "worker process killed"
    supervised = True
    pause = 0.1

    def inject(self, scene: Scene) -> None:
        worker, pid = scene.some_child()
        worker.kill(pid)


class DieAt:
    """SIGKILL of a worker process at a named point, by its own hand; its supervisor lives."""

    supervised = True
    pause = 0.1

    def __init__(self, point: str) -> None:
        self.point, self.name = point, f"worker process killed: {point}"
        self.ticking = point in ("firing", "fired")

    def inject(self, scene: Scene) -> None:
        before = scene.board.deaths(self.point)
        scene.board.arm(self.point)
        if not self.ticking:
            fails = self.point in ("failing", "failed")
            for _ in range(4):
                scene.send("raises" if fails else "again", 0.01, *([1] if fails else []))
        wait_until(lambda: scene.board.deaths(self.point) != before, 20, f"a process comes to {POINTS[self.point]!r}")


class KillSupervisor:
    """SIGKILL of a supervisor alone; its children finish what they run, and stop."""

    name = "supervisor killed"

    def inject(self, scene: Scene) -> None:
        worker = scene.some_worker()
        children = worker.children()
        scene.history.write("stop", "ok", "", target=children)
        worker.kill()
        scene.replace(worker)
        wait_until(lambda: all(map(is_gone, children)), 20, "orphans have stopped")


class DieBurying:
    """SIGKILL of a supervisor that sees to what a dead child held, before it has told Redis."""

    name = "supervisor killed: burying"

    def inject(self, scene: Scene) -> None:
        before = scene.board.deaths("burying")
        worker, pid = scene.some_child()
        scene.history.write("stop", "ok", "", target=worker.children())
        scene.board.arm("burying")
        worker.kill(pid)
        wait_until(lambda: scene.board.deaths("burying") != before, 20, "a supervisor dies while it buries")
        worker.process.wait(20)
        scene.replace(worker)


class KillMachine:
    """SIGKILL of a supervisor and all its children at once."""

    name = "machine dies"

    def inject(self, scene: Scene) -> None:
        worker = scene.some_worker()
        worker.kill_all()
        scene.replace(worker)


class DieReaping:
    """SIGKILL of the worker process whose round reaps what a machine held that had died."""

    name = "machine dies, and who reaps"
    pause = 0.0

    def inject(self, scene: Scene) -> None:
        before = scene.board.deaths("acking") + scene.board.deaths("round")
        KillMachine().inject(scene)
        leased: Any = scene.client.zrange(scene.queues[TASKS].leased, 0, 0, withscores=True)
        seconds, micros = scene.client.time()
        if leased:
            time.sleep(min(max(leased[0][1] / 1000 - seconds - micros / 1e6, 0.0), 3.0))
        scene.board.arm(scene.random.choice(("acking", "round")))  # before it is sent, or when it was carried out
        scene.send("again", 0)
        wait_until(lambda: scene.board.deaths("acking") + scene.board.deaths("round") != before, 20, "a round dies")


class Suspend:
    """SIGSTOP of something for longer than its leases; SIGCONT. What it does as a zombie changes nothing."""

    pause = 0.0

    def __init__(self, what: str) -> None:
        self.what, self.name = what, f"{what} suspended"
        # The supervisor of a suspended child extends its leases, as far as visibility timeouts go.
        self.supervised = what == "worker process"

    def inject(self, scene: Scene) -> None:
        seconds = scene.settings["worker_ttl"] + scene.random.uniform(0.1, 0.5)
        if self.what == "supervisor":
            agent = scene.some_worker()
            agent.pause(agent.pid)
        else:
            agent = scene.random.choice(scene.consumers)
            agent.pause_all()
        time.sleep(seconds)
        agent.resume()


class Awake:
    """The same to who runs a task, until somebody else runs it: it wakes, and says that it is done."""

    pause = 0.0

    def __init__(self, what: str) -> None:
        self.what, self.name = what, f"{what} suspended"
        self.supervised = what == "worker process"

    def inject(self, scene: Scene) -> None:
        key = scene.send("zombie", 0.1, 0.9)
        [start, *_] = scene.until("start", key)
        agents = [worker for worker in scene.workers if start.pid in worker.children()]
        for agent in agents:
            if self.what == "machine":
                agent.pause_all()
            else:
                agent.pause(start.pid)
        # An end now is that of the first run: it was caught too late, and nobody else may run it.
        wait_until(lambda: scene.seen_of("end", key) or len(scene.seen_of("start", key)) > 1, 60, "somebody runs it")
        for agent in agents:
            agent.resume()
        scene.until("end", key, len(scene.seen_of("start", key)))


class Stop:
    """SIGTERM or SIGINT, to one or to the group as a terminal sends it; once, or twice in short order."""

    def __init__(self, times: int) -> None:
        self.times, self.name = times, ("told to stop", "told to stop twice")[times - 1]

    def inject(self, scene: Scene) -> None:
        worker, _ = scene.some_child()  # of one that works: before, Python itself takes the signal
        scene.replace(worker)  # somebody is to go on meanwhile
        number = scene.random.choice((signal.SIGTERM, signal.SIGINT))
        is_for_group = scene.random.random() < 0.5
        for _ in range(self.times):
            worker.stop(number, group=is_for_group)
            time.sleep(scene.random.uniform(0, 0.3) if self.times > 1 else 0)
        code = worker.code()
        # The second may come when the worker has stopped, and Python is about to end.
        assert code == 0 or (self.times > 1 and code == -number), f"ended with {code}:\n{worker.log[-2000:]}"


class ExceedGrace:
    """SIGTERM while a task runs that takes longer than running tasks get."""

    name = "grace exceeded"
    pause = 0.0

    def inject(self, scene: Scene) -> None:
        kind = scene.random.choice(("sleeper", "sleeper_once"))
        key = scene.send(kind, 8.0)
        [start, *_] = scene.until("start", key)
        workers = [worker for worker in scene.workers if start.pid in worker.children()]
        for worker in workers:
            scene.replace(worker)
            worker.stop()
            assert worker.code() == 0, "it ended badly"
        if kind == "sleeper":
            scene.until("end", key)


class HoldGil:
    """A task holds the interpreter lock for longer than its lease."""

    name = "GIL held"
    supervised = True
    pause = 0.0

    def inject(self, scene: Scene) -> None:
        scene.until("end", scene.send("hog", scene.settings["worker_ttl"] + 0.7))


class Segfault:
    """A task crashes the interpreter, as often as it is run."""

    name = "segfault"
    supervised = True

    def inject(self, scene: Scene) -> None:
        key = scene.send("segfaults")
        scene.until("start", key, 3)


class ShortOfMemory:
    """A task meets a limit of memory and raises; or its process is killed as the kernel does it."""

    name = "memory limit"
    supervised = True

    def inject(self, scene: Scene) -> None:
        for key in (scene.send("eats"), scene.send("out_of_memory")):
            scene.until("start", key, 2)


class Fork:
    """A task forks its worker, which is connected, and the child enqueues through the same App."""

    name = "fork after connect"
    supervised = True

    def inject(self, scene: Scene) -> None:
        key = scene.send("forks", f"again-forked-{scene.random.randrange(10**9)}")
        scene.until("end", key)


class KillTaskChild:
    """SIGKILL of the child process that runs a task, of its worker's pool; its worker lives."""

    name = "child killed"
    supervised = True
    pause = 0.1

    def inject(self, scene: Scene) -> None:
        keys = [scene.send(kind, 0.5) for kind in ("child", "child_once")]
        for key in keys:
            [start, *_] = scene.until("start", key)
            scene.history.write("kill", "ok", "", target=[start.pid])
            with contextlib.suppress(ProcessLookupError):  # it was quicker
                os.kill(start.pid, signal.SIGKILL)
        scene.until("end", keys[0])


class Hang:
    """A task does not end, and its child process is killed for that."""

    name = "child hangs past its hard_timeout"
    supervised = True
    pause = 0.0

    def inject(self, scene: Scene) -> None:
        key = scene.send("hangs")
        scene.until("end", key, 2)
        assert is_gone(scene.seen_of("start", key)[0].pid), "it was not killed"


class KillWithChildren:
    """SIGKILL of a worker process that has children, while they run tasks: they go with it."""

    name = "worker process with children killed"
    supervised = True
    pause = 0.1

    def inject(self, scene: Scene) -> None:
        keys = [scene.send(kind, 1.0) for kind in ("child", "child_once")]
        starts = [scene.until("start", key)[0] for key in keys]
        with contextlib.suppress(psutil.NoSuchProcess):  # it was quicker, or fell to another fault
            nursery = psutil.Process(starts[0].pid).parent()
            pid = nursery.ppid() if nursery else 0
            left = descendants(pid)
            for worker in scene.workers:
                if pid in worker.children():
                    worker.kill(pid)
            wait_until(lambda: all(map(is_gone, left)), 20, "no child outlives its worker")
        scene.until("end", keys[0])


class KillProducer:
    """SIGKILL of a process that enqueues; another takes its place."""

    name = "producer killed"
    supervised = True

    def inject(self, scene: Scene) -> None:
        producer = scene.random.choice(scene.producers)
        producer.kill_all()
        scene.replace_producer(producer)


class KillConsumer:
    """SIGKILL of a process that consumes items; another takes its place."""

    name = "consumer killed"
    supervised = True

    def inject(self, scene: Scene) -> None:
        consumer = scene.random.choice(scene.consumers)
        consumer.kill_all()
        scene.consumers.remove(consumer)
        scene.start_consumer()


FAULTS: list[Fault] = [
    KillChild(),
    *(DieAt(point) for point in POINTS if point != "burying"),
    KillSupervisor(),
    DieBurying(),
    KillMachine(),
    DieReaping(),
    Awake("worker process"),
    Awake("machine"),
    Suspend("supervisor"),
    Suspend("consumer"),
    Stop(1),
    Stop(2),
    ExceedGrace(),
    HoldGil(),
    Segfault(),
    ShortOfMemory(),
    Fork(),
    KillTaskChild(),
    Hang(),
    KillWithChildren(),
    KillProducer(),
    KillConsumer(),
]
