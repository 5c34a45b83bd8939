"""Runs tasks until told to stop."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import threading
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from .. import messages
from ..errors import RedisError, RefusedInput, WrongType
from ..keys import name_text
from ..system import System
from .child import Child
from .children import Children
from .endings import endings_of
from .healthfile import HealthFile, check_path
from .heartbeat import Heartbeat, Presence
from .lookout import Lookout
from .pools import Pooling, pooling_of
from .reloading import Watcher, find_here
from .service import Duties
from .signals import Orders
from .supervisor import Supervisor
from .worker import Phase, Worker

log = logging.getLogger("rpqueue.worker")

__all__ = ["Supervisor", "Watcher", "Worker", "execute_task_threads", "execute_tasks", "import_modules", "module_names"]


def execute_tasks(
    system: System,
    queues: Iterable[str | bytes] | None = None,
    threads_per_process: int = 1,
    processes: int = 1,
    wait_per_thread: float = 1,
    module: str | Iterable[str] | None = None,
    pool: str = "threads",
    max_tasks: int | None = None,
    max_age: float | timedelta | None = None,
    max_memory: int | None = None,
    exit_after: float | timedelta | None = None,
    burst: bool = False,
    reload: bool = False,
    health_file: str | os.PathLike[str] | None = None,
) -> None:
    """Run tasks in worker processes under a supervisor. See `App.execute_tasks`."""
    names = _names(queues)
    threads = _count(threads_per_process, "threads_per_process")
    wait = messages.seconds(wait_per_thread, "wait_per_thread") * threads
    pooling = pooling_of(pool, max_tasks, max_age, max_memory, threads)
    endings = endings_of(exit_after, burst)
    modules = module_names(module)
    if not hasattr(os, "fork"):
        raise RefusedInput("execute_tasks: expected a system with fork(), as Linux and macOS are")
    _begin(system)
    number = _count(processes, "processes")
    watcher = Watcher(modules) if reload else None
    with watcher.mending() if watcher else contextlib.nullcontext():
        import_modules(system, modules)
    _check_signing(system)
    path = _health_file(system, health_file)
    supervisor = Supervisor(system, names, threads, number, wait, pooling, endings, watcher, path)
    try:
        supervisor.run()
    finally:
        system.settings.execute_tasks = False
    was_told = supervisor.orders.heard or system.settings.should_quit[0]
    if watcher and watcher.has_changed and not was_told:
        watcher.start_again()


def execute_task_threads(
    system: System,
    queues: Iterable[str | bytes] | None = None,
    threads: int = 1,
    wait_per_thread: float = 1,
    module: str | Iterable[str] | None = None,
    pool: str = "threads",
    max_tasks: int | None = None,
    max_age: float | timedelta | None = None,
    max_memory: int | None = None,
    exit_after: float | timedelta | None = None,
    burst: bool = False,
    health_file: str | os.PathLike[str] | None = None,
) -> None:
    """Run tasks in threads of this process. See `App.execute_task_threads`."""
    names = _names(queues)
    slots = _count(threads, "threads")
    wait = messages.seconds(wait_per_thread, "wait_per_thread") * slots
    pooling = pooling_of(pool, max_tasks, max_age, max_memory, slots)
    if pooling != Pooling(pool) and pool != "processes":
        raise RefusedInput("max_tasks, max_age and max_memory: expected with execute_tasks, which replaces processes")
    endings = endings_of(exit_after, burst)
    _begin(system)
    import_modules(system, module_names(module))
    _check_signing(system)
    path = _health_file(system, health_file)
    me, broker = Child.here(pooling), system.broker.prompt()
    reasons, services = endings.begin(system, broker, names, lambda: [me.ledger])
    orders = Orders(*reasons)
    children = Children(system, me.ledger, pooling)
    put_back = orders.listen(stacks=children.print_stacks)
    children.start_if_needed()
    worker = Worker(system, names, slots, wait, me.ledger, orders, pooling, children)
    presence = Presence(system, broker, names, slots, lambda: {me.pid: me.started_at}, pool)
    duties = Duties(Heartbeat(system, broker, lambda: [me.ledger]), presence, *services)
    lookout = Lookout(lambda: [me], lambda: presence.reaches, replaces=False)
    looks, file = Duties(lookout), None
    if path is not None:
        about = {"queues": names, "pool": pool, "threads": slots}
        file = HealthFile(path, about, 1, lambda: [(me, worker.phase.is_last)], lambda: _state(worker), lookout)
        looks = Duties(lookout, file)
    beating = threading.Thread(
        target=_beat, args=(worker.stopping, duties, looks), name="rpqueue-heartbeat", daemon=True
    )
    beating.start()
    try:
        worker.run()
    finally:
        system.settings.execute_tasks = False
        put_back()
        beating.join(1.0)
        if file:
            file.remove()
        if not duties.is_away:
            with contextlib.suppress(RedisError):
                presence.leave()
        if broker is not system.broker:
            broker.close()


def _begin(system: System) -> None:
    system.settings.execute_tasks = True
    level = system.settings.log_level
    if level is not None:
        logging.getLogger("rpqueue").setLevel(level)


def _check_signing(system: System) -> None:
    """Keys that cannot be used end the worker now, and not with its first message."""
    if system.signer:
        log.info("signatures are checked: %r", system.signer)


def _beat(stopping: threading.Event, *duties: Duties) -> None:
    while not stopping.wait(min([some.run_due() for some in duties])):
        pass


def _state(worker: Worker) -> str:
    """As the health file says it."""
    if not worker.phase.is_last:
        return "running" if worker.ledger.answered_at else "starting"
    return "quiet" if worker.phase is Phase.QUIET else "stopping"


def _health_file(system: System, path: str | os.PathLike[str] | None) -> str | None:
    path = system.settings.health_file if path is None else os.fspath(path)
    if path is not None:
        check_path(path)
    return path


def module_names(module: str | Iterable[str] | None) -> list[str]:
    """The names of modules: one, some with commas between them, or a list of those."""
    if module is None:
        return []
    given: list[Any] = [module] if isinstance(module, str) or not hasattr(module, "__iter__") else list(module)
    for name in given:
        if not isinstance(name, str):
            raise WrongType(f"module: expected dotted names of modules, got {name!r}")
    return [name.strip() for names in given for name in names.split(",")]


def import_modules(system: System, names: Iterable[str]) -> None:
    """
    Import the modules that declare the tasks, found from the current directory too.

    When one is run as a script, its tasks are named ``__main__.NAME``; those names mean them here as well.
    """
    find_here()
    registry = system.settings.registry
    for name in names:
        importlib.import_module(name)
        for known, task in list(registry.items()):
            if known.startswith(f"{name}."):
                registry.setdefault(f"__main__.{known.removeprefix(f'{name}.')}", task)


def _names(queues: Iterable[str | bytes] | None) -> list[str] | None:
    if queues is None:
        return None
    if isinstance(queues, (str, bytes)):
        raise RefusedInput(f"queues: expected a list of names, got {queues!r}; write [{queues!r}]")
    names = [name_text(queue, "queue") for queue in queues]
    return names or None


def _count(value: int, what: str) -> int:
    if type(value) is not int or not 0 < value <= 1000:
        raise RefusedInput(f"{what}: expected 1 to 1000, got {value!r}")
    return value
