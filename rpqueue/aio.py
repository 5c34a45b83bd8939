"""
The verbs of rpqueue, awaited.

``from rpqueue import aio`` gives them for the default App, and ``aio.of(app)`` for any App or `new_rpqueue` module::

    call = await aio.execute(resize, "cat.jpg", delay=5)
    print(await call.get(timeout=30))
    items = await aio.Data("measurements", vis_timeout=60).get_data(100, get_timeout=10)

Everything that is not awaited, such as ``@task`` and settings, stays where it is. Each event loop has connections of
its own, which ``asyncio.run`` closes at its end; `close` does so earlier. A coroutine that is cancelled in the middle
of a verb leaves it done or not done, never half done: what a cancelled ``get_data`` would have returned stays in its
queue.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import rpqueue

from . import awaited as classes
from . import current as running
from . import eager, tasks
from .app import App
from .broker_aio import AsyncBroker, awaited
from .bulk import Arguments
from .errors import WrongType
from .hiding import redacted
from .pipelines import alone, current
from .protocol import views
from .protocol.operation import Flow
from .queues import deadletter_rows
from .states import State

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from redis.asyncio import Redis

    from . import enqueued
    from .durability import Durability
    from .flushing import Flushed
    from .middleware import Departure
    from .tasks import Task

__all__ = [
    "Aio",
    "Data",
    "EnqueuedTask",
    "SimpleLock",
    "call_task",
    "clear_queue",
    "close",
    "current_task",
    "current_tasks",
    "delete_item",
    "execute",
    "execute_many",
    "flush_tasks",
    "get_page",
    "known_queues",
    "known_tasks",
    "of",
    "pipeline",
    "purge_errored_tasks",
    "queue_sizes",
    "read_deadletter",
    "redrive",
    "result",
    "results",
    "retry",
    "set_priority",
]


class Aio:
    """
    The verbs of one App, awaited. `of` makes these.

    Where a verb takes *conn*, another client to use, that is one of redis.asyncio.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        # As in App: classes of its own, so that Data("x") knows where it belongs.
        mine = {"face": self, "__module__": __name__}
        self.EnqueuedTask: type[classes.EnqueuedTask] = type("EnqueuedTask", (classes.EnqueuedTask,), mine)
        self.Data: type[classes.Data] = type("Data", (classes.Data,), mine)
        self.SimpleLock: type[classes.SimpleLock] = type("SimpleLock", (classes.SimpleLock,), mine)

    def __repr__(self) -> str:
        return f"<Aio of {self.app!r}>"

    @property
    def broker(self) -> AsyncBroker:
        """Carries this App's operations in the running event loop; connects when first used."""
        return awaited(self.app.broker)

    def broker_for(self, conn: Redis | None) -> AsyncBroker:
        """The App's AsyncBroker, or one over *conn*."""
        return self.broker if conn is None else AsyncBroker(self.app.broker, conn)

    async def close(self) -> None:
        """Close the connections of the running event loop. New ones are opened when they are needed."""
        await self.broker.close()

    # Calling tasks.

    async def execute(
        self, task: Task[..., Any], /, *args: Any, **kwargs: Any
    ) -> classes.EnqueuedTask | classes.InlineTask:
        """
        Enqueue a call of a task. See `rpqueue.Task.execute`.

        Args:
            task: made by a decorator of this App.
            args: for the function; values that JSON carries.
            kwargs: for the function, and the options delay, taskid, _queue, _attempts, durability and
                execute_inline_now.
        """
        self._check(task)
        if kwargs.pop("execute_inline_now", False):
            value = task.start_inline(args, kwargs)
            if inspect.isawaitable(value):
                value = await value
            return classes.InlineTask(task, value, [list(args), kwargs])
        if task.is_eager(kwargs):
            return classes.EagerTask(await eager.execute_async(task, args, kwargs))
        with task.departing() as departure:
            return await self._enqueue(task, args, kwargs, departure)

    async def _enqueue(
        self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], departure: Departure | None
    ) -> classes.EnqueuedTask:
        pipeline, proof = current(self.app), task.proof(kwargs)
        if pipeline is None and proof is None:
            operation, enqueued = task.call(args, kwargs, departure)
            await self.broker.execute(operation)
            return self._awaited(enqueued)
        put, enqueued = task.put(args, kwargs, proof, departure)
        call = self._awaited(enqueued)
        put.shown = [call]
        if pipeline is None:
            await self.broker.run(alone(put))
        else:
            enqueued.fate = pipeline.add(put)
        return call

    async def execute_many(
        self,
        task: Task[..., Any],
        /,
        calls: Iterable[Arguments],
        *,
        delay: float | timedelta | None = None,
        when: datetime | timedelta | float | None = None,
        taskids: Iterable[str | bytes] | None = None,
        _queue: str | bytes | None = None,
        _attempts: int | None = None,
        durability: Durability | None = None,
    ) -> list[classes.EnqueuedTask | classes.InlineTask]:
        """
        Enqueue many calls of a task, a thousand in one round trip. See `rpqueue.Task.execute_many`.

        Cancelled in between, it has enqueued the batches before, and the one that was under way.
        """
        self._check(task)
        if task.starts_eagerly(delay, when):
            task.proof({"durability": durability})
            made = task.messages(calls, taskids, _queue, _attempts)
            return [classes.EagerTask(call) for call in await eager.execute_many_async(task, made)]
        show: Callable[..., Any] = lambda calls: [self._awaited(call) for call in calls]  # noqa: E731
        flow = task.enqueuing(calls, delay, taskids, _queue, _attempts, show, durability, when)
        many: list[classes.EnqueuedTask | classes.InlineTask] = await self.broker.run(flow)
        return many

    def pipeline(self) -> classes.Pipeline:
        """
        A block of code whose calls and items go to Redis together, at its end: ``async with aio.pipeline(): ...``.

        It belongs to the coroutine that enters the block, and to tasks that are started there, as long as it lasts. See
        `rpqueue.pipeline`. Cancelled while it sends, it has sent the batches before, and the one that was under way.
        """
        return classes.Pipeline(self)

    async def retry(
        self, task: Task[..., Any], /, *args: Any, **kwargs: Any
    ) -> classes.EnqueuedTask | classes.InlineTask | None:
        """Enqueue a task once more unless its attempts are used up; None then. See `rpqueue.Task.retry`."""
        self._check(task)
        return await self.execute(task, *args, **kwargs) if task.use_attempt(kwargs) else None

    async def call_task(
        self, name: str, queue: str | bytes | None = None, /, *args: Any, **kwargs: Any
    ) -> classes.EnqueuedTask | classes.InlineTask:
        """Enqueue a task by name; this process need not have imported it. See `rpqueue.call_task`."""
        task = self.app.eager_task(name, kwargs)
        if task is not None:
            return await self.execute(task, *args, **kwargs)
        call: classes.EnqueuedTask = await self.broker.run(self.app.calling(name, queue, args, kwargs, self._awaited))
        return call

    async def known_tasks(self) -> dict[str, Task[..., Any]]:
        """``{name: task}`` of the tasks of this process and of those that any worker told to Redis."""
        return await self.broker.run(self.app.knowing_tasks())

    async def result(self, taskid: str, conn: Redis | None = None) -> Any:
        """What the task with that id returned; None while it has not, or when its result was not saved or expired."""
        return (await self.results([taskid], conn))[0]

    async def results(self, taskids: Iterable[str], conn: Redis | None = None) -> list[Any]:
        """What the tasks with these ids returned, in order; None for each that has no result."""
        return await self.broker_for(conn).run(self.app.fetching(list(taskids)))

    async def flush_tasks(
        self,
        complete: bool = False,
        force_delayed: bool = False,
        wait_on_hidden: bool = False,
        timeout: float | None = None,
        log_every: float = 0,
    ) -> Flushed:
        """Wait for the tasks that are ready now to start, or to be over. See `rpqueue.flush_tasks`."""
        flow = self.app.flushing(complete, force_delayed, wait_on_hidden, timeout, log_every)
        return await self.broker.run(flow)

    def current_task(self) -> classes.RunningTask:
        """The run that the asking code belongs to, whose verbs are awaited. NoCurrentTask outside of a run."""
        return self.current_tasks()[0]

    def current_tasks(self) -> list[classes.RunningTask]:
        """The runs that the asking code belongs to: one, but for tasks that take many calls together."""
        return [classes.RunningTask(of(run.task.app), run) for run in running.current_tasks()]

    def _check(self, task: Task[..., Any]) -> None:
        if not isinstance(task, tasks.Task):
            raise WrongType(f"task: expected a Task, got {task!r}; use call_task() for a name")
        if task.app is not self.app:
            raise WrongType(f"task: expected one of {self.app!r}, got {task!r} of {task.app!r}; use aio.of(its App)")

    def _awaited(self, call: enqueued.EnqueuedTask) -> classes.EnqueuedTask:
        return classes.awaiting(self.EnqueuedTask, call)

    # Whole queues.

    async def set_priority(self, queue: str | bytes, qpri: float | None, conn: Redis | None = None) -> None:
        """Say when workers turn to a queue: lower numbers go first. See `rpqueue.set_priority`."""
        await self.broker_for(conn).run(self.app.setting_priority(queue, qpri))

    async def known_queues(self, conn: Redis | None = None) -> list[str]:
        """The task queues, first those with a priority, lowest number first, then the others by name."""
        return await self.broker_for(conn).execute(self.app.task_queues())

    async def queue_sizes(self, conn: Redis | None = None) -> list[tuple[str, int, int]]:
        """``(queue, size, seen)`` of the task queues: messages that wait, and all that were ever put in."""
        return await self.broker_for(conn).run(self.app.sizing())

    async def clear_queue(
        self, queue: str | bytes, conn: Redis | None = None, delete: bool = False, is_data: bool = False
    ) -> int:
        """Delete the messages of a queue, and return how many. See `rpqueue.clear_queue`."""
        return await self.broker_for(conn).run(self.app.clearing(queue, delete=delete, is_data=is_data))

    async def delete_item(self, queue: str | bytes, taskid: str, conn: Redis | None = None) -> bool | int:
        """Remove one message that has not started. See `rpqueue.delete_item`."""
        return await self.broker_for(conn).run(self.app.deleting(queue, taskid))

    async def get_page(
        self, queue: str | bytes, page: int, per_page: int = 50, conn: Redis | None = None
    ) -> list[list[Any]]:
        """``[taskid, name, args, kwargs, scheduled time]`` of what waits in a task queue. See `rpqueue.get_page`."""
        return await self.broker_for(conn).run(self.app.paging(queue, page, per_page))

    async def read_deadletter(
        self, conn: Redis | None = None, delete: bool = False, limit: int = 100, is_data: bool = False
    ) -> list[list[Any]]:
        """The dead messages of all queues, oldest death first. See `rpqueue.read_deadletter`."""
        flow = self.app.dead_letters(delete=delete, limit=limit, is_data=is_data)
        undo: Callable[[Any], Flow[None]] | None = _bury_again if delete else None
        letters = await self.broker_for(conn).run(flow, undo=undo)
        rows = deadletter_rows(letters, self.app.signer, is_data)
        return rows if delete or is_data else await self.broker_for(conn).run(redacted(self.app, rows))

    async def redrive(
        self,
        queue: str | bytes | None = None,
        state: State | str = State.DEAD,
        *,
        name: str | None = None,
        error: str | None = None,
        rate: float | None = None,
        limit: int | None = None,
        is_data: bool = False,
    ) -> int:
        """
        Run again what was given up, and return how much that is. See `rpqueue.redrive`.

        Cancelled in between, it has moved the batches before, and the one that was under way.
        """
        flow = self.app.redriving(queue, state, name=name, error=error, rate=rate, limit=limit, is_data=is_data)
        return await self.broker.run(flow)

    async def purge_errored_tasks(
        self,
        queues: Iterable[str | bytes] | None = None,
        exclude_queues: Iterable[str | bytes] | None = None,
        limit: int | None = None,
        last_execution_before: datetime | timedelta | float | None = None,
    ) -> int:
        """Delete failed, dead and lost tasks for good, and return how many. See `rpqueue.purge_errored_tasks`."""
        flow = self.app.purging_errored(queues, exclude_queues, limit, last_execution_before)
        return await self.broker.run(flow)


def _bury_again(letters: Any) -> Flow[None]:
    return views.giving_back_buried(letters, State.DEAD)


def of(app: App | ModuleType) -> Aio:
    """The awaited verbs of an App, or of a module that `new_rpqueue` made."""
    owner = app if isinstance(app, App) else getattr(app, "app", None)
    if not isinstance(owner, App):
        raise WrongType(f"app: expected an App, or a module from new_rpqueue(), got {app!r}")
    if owner.aio is None:
        owner.aio = Aio(owner)
    return owner.aio


_default = of(rpqueue.app)

EnqueuedTask = _default.EnqueuedTask
Data = _default.Data
SimpleLock = _default.SimpleLock

execute = _default.execute
execute_many = _default.execute_many
retry = _default.retry
call_task = _default.call_task
current_task = _default.current_task
current_tasks = _default.current_tasks
pipeline = _default.pipeline
known_tasks = _default.known_tasks
result = _default.result
results = _default.results
flush_tasks = _default.flush_tasks
set_priority = _default.set_priority
known_queues = _default.known_queues
queue_sizes = _default.queue_sizes
clear_queue = _default.clear_queue
delete_item = _default.delete_item
get_page = _default.get_page
read_deadletter = _default.read_deadletter
redrive = _default.redrive
purge_errored_tasks = _default.purge_errored_tasks
close = _default.close
