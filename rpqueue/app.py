"""App: one key prefix, one connection, one registry of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .calling import Calling
from .data import Data
from .declaring import Declaring
from .eager import EagerTask
from .enqueued import EnqueuedTask
from .flushing import Flushing
from .locks import SimpleLock
from .mending import Mending
from .settings import Settings
from .tasks import Task

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta
    from os import PathLike

    from .aio import Aio


class App(Declaring, Calling, Mending, Flushing):
    """
    One system of tasks and queues. The module-level functions of ``rpqueue`` are methods of a default App.

    Args:
        url: where Redis is; None: what RPQUEUE_URL says, else localhost:6379. See `connections`.
        prefix: first part of every key; two prefixes in one Redis never see each other.
        settings: for an App whose settings live in a module's namespace.
    """

    def __init__(self, url: str | None = None, prefix: str | None = None, settings: Settings | None = None) -> None:
        super().__init__(url, prefix, settings)
        self.aio: Aio | None = None  #: the same verbs, awaited; made by `aio.of`
        # Each App has classes of its own, so that Data("x") and Task(...) know where they belong.
        mine = {"app": self, "__module__": "rpqueue"}
        self.Task = type("Task", (Task,), mine)
        self.EnqueuedTask = type("EnqueuedTask", (EnqueuedTask,), mine)
        self.EagerTask = type("EagerTask", (EagerTask, self.EnqueuedTask), {"__module__": "rpqueue"})
        self.Data = type("Data", (Data,), mine)
        self.SimpleLock = type("SimpleLock", (SimpleLock,), mine)

    def execute_tasks(
        self,
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
        health_file: str | PathLike[str] | None = None,
    ) -> None:
        """
        Run tasks until told to stop: by ``SHOULD_QUIT[0] = 1``, SIGTERM, SIGINT or SIGUSR1.

        Args:
            queues: only these, None: all.
            threads_per_process: tasks that each process runs at the same time; 1 or greater.
            processes: worker processes; 1 or greater.
            wait_per_thread: seconds per thread that running tasks get to end when told to stop.
            module: imported before the processes are forked; it declares the tasks. A list, or names with commas
                between them: several.
            pool: where tasks run that do not say: "threads", "processes" (reused children), "fork" (one for each run),
                "sync", one at a time in the main thread of each process, or "asyncio": so many coroutines at the same
                time, and plain functions one at a time in a thread.
            max_tasks: runs, 1 or more, after which a process is replaced: at once, while it ends what it runs. In the
                pool "processes" this and the next two are for the children that run tasks, else for the worker
                processes. None: however many.
            max_age: seconds, greater than 0, after which it is; None: however old it is.
            max_memory: bytes, 1 or more, by which it may grow once it has begun to work; None: however much.
            exit_after: seconds, greater than 0, after which the worker stops, as when it is told to; None: never.
            burst: stop once the queues hold nothing that could be run now and nothing that was claimed here runs.
                Scheduled messages count when they are due, and those that failed when their retry delay is over.
            reload: stop, and start the whole program anew, when a Python file changes in the current directory or in
                one of the modules. Needs ``rpqueue[reload]``, and the main thread.
            health_file: path of a file in which the worker says how it is, for ``rpqueue health --file``; None: what
                HEALTH_FILE says.
        """
        from .worker import execute_tasks

        execute_tasks(
            self,
            queues,
            threads_per_process,
            processes,
            wait_per_thread,
            module,
            pool=pool,
            max_tasks=max_tasks,
            max_age=max_age,
            max_memory=max_memory,
            exit_after=exit_after,
            burst=burst,
            reload=reload,
            health_file=health_file,
        )

    def execute_task_threads(
        self,
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
        health_file: str | PathLike[str] | None = None,
    ) -> None:
        """
        Run tasks in this process alone, without a supervisor, until told to stop. See `execute_tasks`.

        Nobody is there to replace this process, so max_tasks, max_age and max_memory go with pool="processes" alone.
        """
        from .worker import execute_task_threads

        execute_task_threads(
            self,
            queues,
            threads,
            wait_per_thread,
            module,
            pool=pool,
            max_tasks=max_tasks,
            max_age=max_age,
            max_memory=max_memory,
            exit_after=exit_after,
            burst=burst,
            health_file=health_file,
        )

    def __reduce__(self) -> Any:
        raise TypeError("an App cannot be pickled; import the module that makes it in the other process")
