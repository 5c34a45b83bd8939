"""
Functions for the tests to run as tasks; each notes in Redis what it does.

They run in worker processes that `harness.Bench` starts by ``python -m tests.worker.jobs CONFIG``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
from typing import Any

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rpqueue import CURRENT_TASK, App, current_task
from rpqueue.errors import SoftTimeout
from rpqueue.worker import rounds
from rpqueue.worker.claims import decode
from tests.declared import declare as declare_scripts
from tests.servers import client_to

#: Where notes go, and where held jobs wait for their go; not under any App's prefix.
NOTES, GO = "test-notes", "test-go:"
#: Longest time that a job waits for its go: a test that fails must not leave processes that hang.
HELD = 50

_making_client = threading.Lock()
_client: redis.Redis | None = None
_pid = 0


def client() -> redis.Redis:
    """A client of this process's own, apart from rpqueue's. It sends nothing twice, so that it counts rightly."""
    global _client, _pid
    # One for all threads: a second one, dropped at once, would close its connections under whoever uses them.
    with _making_client:
        if _client is None or _pid != os.getpid():
            _client = client_to(os.environ["TEST_NOTES_URL"], retry=Retry(NoBackoff(), 0))
            _pid = os.getpid()
        return _client


def note(label: Any = "", what: str = "ran", **more: Any) -> None:
    """Say that something happened here."""
    # The clock of this machine is Redis's, too.
    entry = {
        "what": what,
        "label": label,
        "pid": os.getpid(),
        "thread": threading.get_ident(),
        "at": time.time(),
        **more,
    }
    with client().pipeline() as pipe:
        pipe.rpush(NOTES, json.dumps(entry))
        pipe.expire(NOTES, 600)
        pipe.execute()


def noop(label: Any = None) -> None:
    pass


def echo(value: Any = None) -> Any:
    return value


def count(label: str) -> None:
    """Count runs by label: cheaper than a note."""
    with client().pipeline() as pipe:
        pipe.hincrby("test-counts", label, 1)
        pipe.expire("test-counts", 600)
        pipe.execute()


def hold(label: str) -> str:
    """Run until the test says go."""
    note(label, "start")
    client().blpop([GO + label], timeout=HELD)
    note(label, "end")
    return label


async def hold_async(label: str) -> str:
    note(label, "start", loop=id(asyncio.get_running_loop()))
    ends_at = time.monotonic() + HELD
    while not client().lpop(GO + label) and time.monotonic() < ends_at:
        await asyncio.sleep(0.01)
    note(label, "end")
    return label


async def cleans_up(label: str) -> None:
    note(label, "start")
    try:
        await asyncio.sleep(HELD)
    finally:
        note(label, "cleaned up")


def where(label: str = "") -> dict[str, Any]:
    """Where this runs."""
    is_main = threading.current_thread() is threading.main_thread()
    return {"pid": os.getpid(), "is_main": is_main, "taskid": current_task().id}


async def where_async(label: str = "") -> dict[str, Any]:
    await asyncio.sleep(0.001)
    return {**where(label), "loop": id(asyncio.get_running_loop())}


def sleepy(label: str) -> None:
    """Sleep, in steps that let a thread look up, until something is raised in here."""
    note(label, "start")
    try:
        for _ in range(HELD * 100):
            time.sleep(0.01)
    except SoftTimeout:
        note(label, "soft")
        raise


async def sleepy_async(label: str) -> None:
    note(label, "start")
    try:
        await asyncio.sleep(HELD)
    except SoftTimeout:
        note(label, "soft")
        raise


def attentive(label: str) -> None:
    """Run until told to stop."""
    note(label, "start")
    for _ in range(HELD * 100):
        time.sleep(0.01)
        current_task().raise_if_cancelled()


def beats(label: str, seconds: float) -> None:
    """Run longer than its visibility timeout, and say so."""
    note(label, "start")
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        current_task().heartbeat()
        time.sleep(0.2)


def tells(label: str) -> dict[str, Any]:
    """Say all that a run may say."""
    run = current_task()
    before = run.deadline
    run.progress({"at": label})
    found = run.resumed
    run.checkpoint(label)
    return {
        "resumed": found,
        "moved": run.heartbeat() - before,
        "executions": [record["exception"] for record in run.executions],
        "attempt": run.attempt,
        "args": run.args,
    }


def tells_then_fails(label: str) -> dict[str, Any]:
    told = tells(label)
    if told["attempt"] == 1:
        raise ValueError(label)
    return told


def hold_after(label: str) -> None:
    """As hold; says whether a run before is still there."""
    before = [json.loads(entry) for entry in client().lrange(NOTES, 0, -1)]
    pids = [entry["pid"] for entry in before if (entry["what"], entry["label"]) == ("start", label)]
    note(label, "start", others=[pid for pid in pids if psutil.pid_exists(pid)])
    client().blpop([GO + label], timeout=HELD)
    note(label, "end")


def quit_soon(app: App, name: str) -> Any:
    """A task that stops its own worker, every process of it."""

    def run() -> None:
        app.settings.should_quit[0] = 1

    return run


def nap(label: str, seconds: float) -> None:
    note(label, "start")
    time.sleep(seconds)
    note(label, "end")


def stubborn(label: str, seconds: float) -> None:
    """Never let go of the GIL for some seconds."""
    note(label, "start")
    ctypes.PyDLL(None).usleep(ctypes.c_uint(int(seconds * 1e6)))
    note(label, "end")


def boom(label: str = "", **kwargs: Any) -> None:
    note(label, "start", **kwargs)
    raise ValueError(f"boom {label}")


def unfit() -> Any:
    return {1, 2, 3}


async def boom_async(label: str = "") -> None:
    note(label, "start")
    await asyncio.sleep(0)
    raise ValueError(f"boom {label}")


def tick() -> None:
    """Say which firing of which schedule this is."""
    note(CURRENT_TASK.name, "tick", taskid=CURRENT_TASK.taskid)


def hold_current() -> None:
    note("", "start", taskid=CURRENT_TASK.taskid)
    client().blpop([GO], timeout=HELD)


def crash(label: str = "") -> None:
    note(label, "start")
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(label: str = "") -> None:
    note(label, "start")
    ctypes.string_at(0)


def leave(label: str = "") -> None:
    note(label, "start")
    sys.exit(3)


def current(label: str = "") -> dict[str, Any]:
    fields = ("taskid", "name", "queue", "token", "attempt", "attempts_left")
    return {field: getattr(CURRENT_TASK, field) for field in fields}


async def current_async(label: str = "") -> dict[str, Any]:
    await asyncio.sleep(0.01)
    return current(label)


def fail_until_zero(app: App, name: str) -> Any:
    """The example of the documentation: a task that retries itself with one less."""

    def run(value: int, **kwargs: Any) -> None:
        note(value, "start", attempts=kwargs.get("_attempts"))
        if value != 0:
            app.get_task(name).retry(value - 1, **kwargs)
        else:
            note(value, "succeeded")

    return run


#: Functions that are made for an App, since they need it.
MADE = {"fail_until_zero": fail_until_zero, "quit_soon": quit_soon}


def declare(app: App, jobs: list[list[Any]]) -> None:
    """Make tasks: ``[kind, name, function, options]`` each, the kind being task, periodic_task or cron_task."""
    for kind, name, function, options in jobs:
        run = MADE[function](app, name) if function in MADE else globals()[function]
        first = [options[key] for key in ("run_every", "crontab") if key in options]
        rest = {key: value for key, value in options.items() if key not in ("run_every", "crontab")}
        getattr(app, kind)(*first, name=name, **rest)(run)


def die_first(claimed: list[Any], *rest: Any) -> Any:
    """In place of `decode`, which is the first to see what a round has brought."""
    if claimed and client().set("test-died", 1, ex=600, nx=True):
        note("", "died")
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(claimed, *rest)


def after_fork() -> None:
    note("after_fork", "forked")


def main(config: dict[str, Any]) -> None:
    logging.basicConfig(level=config["log_level"], format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s")
    declare_scripts()
    app = App(config["url"], config["prefix"])
    for name, value in config["settings"].items():
        setattr(app.settings, name, after_fork if name == "after_fork" else value)
    declare(app, config["jobs"])
    if config["dies_with_claims"]:
        rounds.decode = die_first
    if config["in_thread"]:
        thread = threading.Thread(target=getattr(app, config["run"]), kwargs=config["options"])
        thread.start()
        thread.join()
    else:
        getattr(app, config["run"])(**config["options"])
    with contextlib.suppress(redis.RedisError):
        note("", "stopped")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
