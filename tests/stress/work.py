"""What the messages of the suite are, and the tasks that run them."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import signal
import time
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil

from rpqueue import CURRENT_TASK, App
from rpqueue.data import Data
from tests.stress.history import History
from tests.stress.points import LEASED, Board

#: Task queue, and the one before it, for what faults send; queue of the schedule's firings; and data queues: leased
#: items, and items that are taken for good.
TASKS, PROBES, TICKS, ITEMS, TAKEN = "stress", "probes", "ticks", "items", "taken"
#: Seconds of the leases that visibility timeouts give here.
LEASE = 1.0
#: Deliveries of what should come through in the end.
MANY = 30
#: Seconds between two slots of the schedule.
INTERVAL = 0.25


class Kind(NamedTuple):
    """A kind of message."""

    options: dict[str, Any]
    attempts: int = 1  #: deliveries
    lease: float = 0.0  #: seconds; 0: it is delivered at most once
    is_item: bool = False
    weight: int = 0  #: how often producers choose it

    @property
    def once(self) -> bool:
        """Whether it is delivered at most once."""
        return not self.lease


def _repeated(weight: int = 0, attempts: int = MANY, lease: float = LEASE, **options: Any) -> Kind:
    return Kind({"vis_timeout": lease, "attempts": attempts, **options}, attempts, lease, weight=weight)


KINDS = {
    "once": Kind({}, weight=25),
    "again": _repeated(weight=30),
    "coroutine": _repeated(weight=5),
    "raises": _repeated(weight=8, attempts=3, retry_delay=0.05, use_dead=True),
    "later": _repeated(weight=6),
    "cancelled": _repeated(weight=6),
    "kept": _repeated(weight=2, save_results=600),
    "item": Kind({"vis_timeout": LEASE, "use_dead": True}, MANY, LEASE, is_item=True, weight=14),
    "taken": Kind({}, is_item=True, weight=4),
    # What only faults send. None of them is given up early by its visibility timeout.
    "hog": _repeated(lease=60.0, attempts=5),
    "sleeper": _repeated(lease=60.0, attempts=5),
    "sleeper_once": Kind({}),
    "zombie": _repeated(),
    "segfaults": _repeated(lease=60.0, attempts=MANY, use_dead=True),
    "eats": _repeated(lease=60.0, attempts=3, retry_delay=0.05, use_dead=True),
    "out_of_memory": _repeated(lease=60.0, attempts=MANY, use_dead=True),
    "forks": _repeated(lease=60.0, attempts=5),
    "child": _repeated(lease=60.0, pool="processes"),
    "child_once": Kind({"pool": "fork"}),
    "hangs": _repeated(lease=60.0, attempts=5, retry_delay=0.05, hard_timeout=1.0),
}

_AWKWARD: list[Any] = [
    [],
    {},
    [[], {}, None, True],
    2**63,
    -(2**64),
    0.1 + 0.2,
    1e300,
    "\x00\u2028é\U0001f600",
    {"": [], "a": {"b": [1, [2, [3]]]}},
    1234567890123456789,
    "x" * 300,
]


class Planned(Exception):
    """A run fails because it was meant to."""


def payload_of(key: str) -> Any:
    """What the message of that key carries, of a kind that careless code changes on the way."""
    return _AWKWARD[zlib.crc32(key.encode()) % len(_AWKWARD)]


def is_intact(key: str, payload: Any) -> bool:
    """Whether a payload came as it was sent."""
    return json.dumps(payload) == json.dumps(payload_of(key))


def queue_of(kind: str) -> str:
    """The name of a kind's queue."""
    return {"item": ITEMS, "taken": TAKEN}.get(kind, TASKS)


def data_queue(app: App, kind: str) -> Data:
    """The data queue of a kind of items."""
    queue: Data = app.Data(queue_of(kind), attempts=KINDS[kind].attempts, **KINDS[kind].options)
    return queue


class Runs:
    """
    The functions that tasks run. All take key, payload and seconds to run, and say when they start and end.

    Args:
        history: of this process and those that it forks.
        board: says at which points to die.
        app: of this process.
    """

    def __init__(self, history: History, board: Board, app: App) -> None:
        self.history, self.board, self.app = history, board, app

    def start(self, key: str, payload: Any) -> None:
        current = CURRENT_TASK
        more: dict[str, Any] = {} if is_intact(key, payload) else {"broken": repr(payload)[:200]}
        leased = LEASED.pop((current.taskid, current.token), None)
        if leased is not None:
            more["leased"] = leased
        self.history.write("start", "ok", key, id=current.taskid, token=current.token, attempt=current.attempt, **more)

    def end(self, key: str, kind: str = "ok") -> None:
        self.history.write("end", kind, key, id=CURRENT_TASK.taskid, token=CURRENT_TASK.token)

    def plain(self, key: str, payload: Any, seconds: float = 0.0, failures: int = 0) -> str:
        self.start(key, payload)
        self.board.at("running")
        if seconds:
            time.sleep(seconds)
        if CURRENT_TASK.attempt <= failures:
            self.end(key, "fail")
            raise Planned(key)
        self.end(key)
        return key

    async def coroutine(self, key: str, payload: Any, seconds: float = 0.0) -> str:
        self.start(key, payload)
        await asyncio.sleep(seconds)
        self.end(key)
        return key

    def hog(self, key: str, payload: Any, seconds: float) -> None:
        """Never let go of the GIL."""
        self.start(key, payload)
        ctypes.PyDLL(None).usleep(ctypes.c_uint(int(seconds * 1e6)))
        self.end(key)

    def sleeper(self, key: str, payload: Any, seconds: float) -> None:
        """Take long, the first time only."""
        self.start(key, payload)
        if CURRENT_TASK.token == 1:
            time.sleep(seconds)
        self.end(key)

    def zombie(self, key: str, payload: Any, seconds: float, second: float) -> None:
        """Take some time for the first run, and some other time for those that follow."""
        self.start(key, payload)
        time.sleep(seconds if CURRENT_TASK.token == 1 else second)
        self.end(key)

    def segfaults(self, key: str, payload: Any) -> None:
        self.start(key, payload)
        self.history.write("death", "ok", "segfault")
        ctypes.string_at(0)

    def eats(self, key: str, payload: Any) -> None:
        """Run into the limit of memory: the first time only."""
        self.start(key, payload)
        if CURRENT_TASK.attempt > 1:
            self.end(key)
            return
        before = resource.getrlimit(resource.RLIMIT_AS)
        used = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20), before[1]))
        try:
            bytearray(1 << 30)
        except MemoryError:
            self.end(key, "fail")
            raise
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    def child(self, key: str, payload: Any, seconds: float) -> None:
        """Run in a child of a worker process."""
        self.start(key, payload)
        time.sleep(seconds)
        self.end(key)

    child_once = child

    def hangs(self, key: str, payload: Any) -> None:
        """Never end, the first time only."""
        self.start(key, payload)
        if CURRENT_TASK.attempt == 1:
            self.end(key, "fail")  # as its worker will say
            time.sleep(3600)
        self.end(key)

    def out_of_memory(self, key: str, payload: Any) -> None:
        """Be killed as the kernel does it when memory is short: the first time only."""
        self.start(key, payload)
        if CURRENT_TASK.attempt == 1:
            self.history.write("death", "ok", "out of memory")
            os.kill(os.getpid(), signal.SIGKILL)
        self.end(key)

    def forks(self, key: str, payload: Any, other: str) -> None:
        """Fork a worker that is connected, and use the App in both."""
        self.start(key, payload)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                send_one(self.app, self.history, "again", other)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        if status:
            self.end(key, "fail")
            raise Planned(f"the forked child ended with {status}")
        self.end(key)

    def tick(self) -> None:
        current = CURRENT_TASK
        self.history.write("start", "ok", f"tick {current.taskid}", id=current.taskid, token=current.token)
        self.board.at("running")
        self.history.write("end", "ok", f"tick {current.taskid}", id=current.taskid, token=current.token)


def declare(app: App, history: History, board: Board, *, ticking: bool = False) -> Runs:
    """Make the tasks, one for each kind that is no item; with *ticking* the recurring one, too."""
    runs = Runs(history, board, app)
    for name, kind in KINDS.items():
        if not kind.is_item:
            function: Callable[..., Any] = getattr(runs, name, runs.plain)
            app.task(queue=TASKS, name=name, **kind.options)(unbound(function))
    if ticking:
        app.periodic_task(
            INTERVAL, queue=TICKS, name="tick", never_skip=True, low_delay_okay=True, vis_timeout=LEASE, attempts=MANY
        )(unbound(runs.tick))
    return runs


def unbound(method: Callable[..., Any]) -> Callable[..., Any]:
    """A bound method as a function, which may be given attributes."""
    if asyncio.iscoroutinefunction(method):

        async def awaited(*args: Any) -> Any:
            return await method(*args)

        return awaited
    return lambda *args: method(*args)


def send_one(app: App, history: History, kind: str, key: str, *args: Any, **options: Any) -> Any:
    """
    Enqueue one message, and write down what is known of it. Options are those of `Task.execute`.

    Returns:
        The EnqueuedTask, or the item's id; None when Redis did not take it, or did not answer.
    """
    from rpqueue.errors import RedisError, RedisUnavailable

    history.write("enqueue", "invoke", key, of=kind, **({"delay": options["delay"]} if "delay" in options else {}))
    try:
        if KINDS[kind].is_item:
            made: Any = data_queue(app, kind).put_data({"key": key, "payload": payload_of(key)}, is_one=True)[0]
        else:
            made = app.get_task(kind).execute(key, payload_of(key), *args, **options)
    except RedisError as error:
        certain = not isinstance(error, RedisUnavailable)
        history.write("enqueue", "fail" if certain else "unknown", key, error=str(error)[:200])
        return None
    history.write("enqueue", "ok", key, id=made if isinstance(made, str) else made.taskid)
    return made
