"""The classes of `aio`: calls of tasks, data queues and locks, whose verbs are awaited."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from . import current, eager, enqueued, pipelines
from .current import Seen, executions_in
from .protocol.data import Catch, Items

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType

    from redis.asyncio import Redis
    from typing_extensions import Self

    from .aio import Aio
    from .durability import Durability
    from .tasks import Task


class EnqueuedTask:
    """
    One call of a task, seen from outside. See `rpqueue.EnqueuedTask`.

    Args:
        name: of the task.
        taskid: id of the call.
        queue: that it was enqueued into.
        task: the Task, where this process has it.
    """

    face: ClassVar[Aio]

    def __init__(self, name: str, taskid: str, queue: str | bytes, task: Task[..., Any] | None = None) -> None:
        self._stand_for(self.face.app.EnqueuedTask(name, taskid, queue, task))

    def _stand_for(self, sync: enqueued.EnqueuedTask) -> None:
        #: The same call, for code that does not await.
        self.sync = sync
        self.name, self.taskid, self.queue, self.task = sync.name, sync.taskid, sync.queue, sync.task

    def __repr__(self) -> str:
        return repr(self.sync)

    async def status(self) -> str:
        """Where it is now: early, late, waiting, started, done, failed, dead, lost or cancelled."""
        return enqueued.status_of((await self.face.broker.execute(self.sync.whereabouts()))[0])

    async def args(self) -> list[Any] | None:
        """``[taskid, name, args, kwargs, available at]`` as long as it is in its queue; None afterwards."""
        return enqueued.args_of(self.sync, (await self.face.broker.execute(self.sync.whereabouts()))[0])

    async def result(self) -> Any:
        """What the task returned, if it is done and has save_results > 0; else None. See `get`."""
        return enqueued.result_of(self.sync, (await self.face.broker.execute(self.sync.whereabouts()))[0])

    async def progress(self) -> Any:
        """What its run said last of how far it is, in the last day; None: nothing."""
        return await self.face.broker.run(self.sync.asking_progress())

    async def wait(self, timeout: float = 30) -> bool:
        """Wait until it has at least started, or *timeout* seconds are over. Returns whether it has."""
        return await self.face.broker.run(self.sync.waiting(timeout))

    async def get(self, timeout: float | None = None, on_progress: Callable[[Any], object] | None = None) -> Any:
        """
        Wait until it is over and return what it returned.

        Args:
            timeout: seconds; None: for ever.
            on_progress: called with what its run says of how far it is. See `rpqueue.EnqueuedTask.get`.

        Raises:
            TaskFailed: it raised, or was given up; `.error` has exception, traceback, host and pid.
            TaskLost: its worker died, and it may be run at most once.
            TaskCancelled: it was cancelled.
            ResultTimeout: a TimeoutError; it may still end.
        """
        return await self.face.broker.run(self.sync.getting(timeout, on_progress))

    async def cancel(self, running: bool = False) -> bool | int:
        """Remove it if it has not started; with *running*, stop its run, too. See `rpqueue.EnqueuedTask.cancel`."""
        return await self.face.broker.run(self.sync.cancelling(running))

    async def executions(self) -> list[dict[str, Any]]:
        """Records of its runs that failed, oldest first. See `rpqueue.EnqueuedTask.executions`."""
        return executions_in((await self.face.broker.execute(self.sync.whereabouts()))[0])

    async def n_executions(self) -> int:
        """How many of its runs failed or crashed. See `rpqueue.EnqueuedTask.n_executions`."""
        return enqueued.n_executions_of((await self.face.broker.execute(self.sync.whereabouts()))[0])

    async def retry(self) -> bool:
        """Run it once more, if it was given up. Returns whether it is ready again."""
        return await self.face.broker.run(self.sync.reviving())

    async def delete(self) -> bool:
        """Delete it for good, unless it is running. Returns whether it is gone."""
        return await self.face.broker.run(self.sync.deleting())

    async def update_scheduled_time(self, when: datetime | timedelta | float) -> bool:
        """Let it start at another instant, if it is scheduled. See `rpqueue.EnqueuedTask.update_scheduled_time`."""
        return await self.face.broker.run(self.sync.rescheduling(when))

    async def run_now(self) -> bool:
        """Let it start at once, if it is scheduled. Returns whether it was."""
        return await self.update_scheduled_time(timedelta())


def awaiting(kind: type[EnqueuedTask], sync: enqueued.EnqueuedTask) -> EnqueuedTask:
    """That call, seen by code that awaits."""
    call = object.__new__(kind)
    call._stand_for(sync)
    return call


class InlineTask:
    """What ``execute(execute_inline_now=True)`` returns: a call that ran already. Has the face of an EnqueuedTask."""

    def __init__(self, task: Task[..., Any], value: Any, args: list[Any]) -> None:
        self._stand_for(enqueued.InlineTask(task, value, args))

    def _stand_for(self, sync: enqueued.InlineTask | eager.EagerTask) -> None:
        #: The same call, for code that does not await.
        self.sync = sync
        self.name, self.taskid, self.queue, self.task = sync.name, sync.taskid, sync.queue, sync.task

    def __repr__(self) -> str:
        return repr(self.sync)

    async def status(self) -> str:
        """How it ended."""
        return self.sync.status

    async def args(self) -> list[Any] | None:
        """As `sync` has it."""
        return self.sync.args

    async def result(self) -> Any:
        """What it returned."""
        return self.sync.result

    async def progress(self) -> Any:
        """Nothing."""
        return self.sync.progress

    async def wait(self, timeout: float = 30) -> bool:
        """It has run."""
        return self.sync.wait(timeout)

    async def get(self, timeout: float | None = None, on_progress: Callable[[Any], object] | None = None) -> Any:
        """What it returned. Raises as `sync` does."""
        return self.sync.get(timeout, on_progress)

    async def cancel(self, running: bool = False) -> bool | int:
        """Too late."""
        return self.sync.cancel(running)

    async def executions(self) -> list[dict[str, Any]]:
        """As `sync` has them."""
        return self.sync.executions

    async def n_executions(self) -> int:
        """How many of its runs failed."""
        return self.sync.n_executions()

    async def retry(self) -> bool:
        """It is in no queue."""
        return self.sync.retry()

    async def delete(self) -> bool:
        """It is in no queue."""
        return self.sync.delete()

    async def update_scheduled_time(self, when: datetime | timedelta | float) -> bool:
        """Too late."""
        return self.sync.update_scheduled_time(when)

    async def run_now(self) -> bool:
        """Too late."""
        return self.sync.run_now()


class EagerTask(InlineTask):
    """A call that ALWAYS_EAGER has run. `sync` tells more of it. See `rpqueue.eager.EagerTask`."""

    def __init__(self, sync: eager.EagerTask) -> None:
        self._stand_for(sync)


class RunningTask(Seen):
    """A run of a task, seen from inside, whose verbs are awaited. `aio.current_task` makes these."""

    def __init__(self, face: Aio, sync: current.RunningTask) -> None:
        super().__init__(sync._run, sync.task)
        self.face = face
        #: The same run, for code that does not await.
        self.sync = sync

    async def heartbeat(self) -> float:
        """Have the lease last for its whole time once more, counted from now. See `rpqueue.RunningTask.heartbeat`."""
        return await self.face.broker.run(self.sync.beating())

    async def progress(self, value: Any) -> None:
        """Tell how far it is: ``EnqueuedTask.progress`` has it, for a day. StaleLease once the lease is lost."""
        await self.face.broker.run(self.sync.telling(value))

    async def checkpoint(self, value: Any) -> None:
        """Keep what a later run of the same call begins with. See `rpqueue.RunningTask.checkpoint`."""
        await self.face.broker.run(self.sync.keeping(value))

    async def resumed(self) -> Any:
        """The last checkpoint of this call, left by this run or by an earlier one; None: there is none."""
        return await self.face.broker.run(self.sync.resuming())

    async def executions(self) -> list[dict[str, Any]]:
        """Records of earlier runs that failed, oldest first, at most KEEP_EXECUTIONS."""
        return await self.face.broker.run(self.sync.recounting())


class Data:
    """A queue of items, or a view of dead letters or of a task queue. The arguments are those of `rpqueue.Data`."""

    face: ClassVar[Aio]

    def __init__(
        self,
        queue: str | bytes,
        attempts: int = 1,
        vis_timeout: float | timedelta = 0,
        use_dead: bool | None = None,
        is_tasks: bool = False,
        is_dead: bool = False,
        *,
        max_queue_size: int = 0,
    ) -> None:
        #: The same queue, for code that does not await.
        self.sync = self.face.app.Data(
            queue, attempts, vis_timeout, use_dead, is_tasks, is_dead, max_queue_size=max_queue_size
        )

    def __repr__(self) -> str:
        return repr(self.sync)

    async def currently_available(self) -> tuple[int, int]:
        """``(available, invisible)``: how many `get_data` would find now, and how many are leased or delayed."""
        return await self.face.broker.run(self.sync.counting())

    async def delete_all(self) -> int:
        """Delete everything in the queue, and return how many that were; its dead letters stay."""
        return await self.face.broker.run(self.sync.deleting())

    async def put_data(
        self,
        data: Any,
        use_dead: bool | None = None,
        is_one: bool = False,
        chunksize: int = 512,
        delay: float | timedelta = 0,
        durability: Durability | None = None,
    ) -> list[str]:
        """
        Put items into the queue and return their ids. See `rpqueue.Data.put_data`.

        Cancelled in between, it has put the chunks before, and the one that was under way.
        """
        return await self.face.broker.run(self.sync.putting(data, use_dead, is_one, chunksize, delay, durability))

    async def get_data(
        self,
        items: int = 1,
        vis_timeout: float | timedelta | None = None,
        get_timeout: float | timedelta | None = None,
    ) -> Items:
        """
        Get items, oldest first, as ``{id: item}``. See `rpqueue.Data.get_data`.

        Cancelled, it has got nothing: what was on its way goes back to the head of the queue, with no delivery counted.
        """
        flow = self.sync.catching(items, vis_timeout, get_timeout)
        catch: Catch = await self.face.broker.run(flow, undo=self.sync.giving_back)
        return catch.items

    async def refresh_data(self, items: Any, vis_timeout: float | timedelta | None = None) -> list[str]:
        """Let leases end *vis_timeout* seconds from now. Returns the ids of those that were held."""
        return await self.face.broker.run(self.sync.refreshing(items, vis_timeout))

    async def done_data(self, items: Any) -> list[str]:
        """Say that leased items are done. Returns the ids of those that were held."""
        return await self.face.broker.run(self.sync.finishing(items))


class Pipeline:
    """A block of code whose calls and items go to Redis together, at its end. See `aio.pipeline`."""

    def __init__(self, face: Aio) -> None:
        self._face = face
        #: What it holds. Both faces put into it.
        self.sync = pipelines.Pipeline(face.app)

    def __repr__(self) -> str:
        return repr(self.sync)

    def __len__(self) -> int:
        """Calls and items that it holds."""
        return len(self.sync)

    def __bool__(self) -> bool:
        """True, also when it holds nothing."""
        return True

    async def __aenter__(self) -> Self:
        self.sync.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._face.broker.run(self.sync.closing(kind is None))


class SimpleLock:
    """
    A lock that fails fast when it is held: ``async with aio.SimpleLock(None, "reports", 30) as lock: ...``.

    The arguments are those of `rpqueue.SimpleLock`, but that *conn* is a client of redis.asyncio.
    """

    face: ClassVar[Aio]

    def __init__(self, conn: Redis | None = None, name: str | bytes = "", duration: float | timedelta = 1) -> None:
        self._conn = conn
        self._lock = self.face.app.SimpleLock(None, name, duration)
        self.name, self.duration = self._lock.name, self._lock.duration

    def __repr__(self) -> str:
        return repr(self._lock)

    async def acquire(self) -> None:
        """Take the lock. Raises NoLock when somebody holds it, be it this very object."""
        await self.face.broker_for(self._conn).run(self._lock.acquiring(), undo=lambda _: self._lock.releasing())

    async def refresh(self) -> None:
        """Hold the lock for another *duration*, counted from now. Raises NoLock when it is not held any more."""
        await self.face.broker_for(self._conn).run(self._lock.refreshing())

    async def release(self) -> bool:
        """Give the lock back. Returns whether it was still held; if not, nothing is done to who holds it now."""
        return await self.face.broker_for(self._conn).run(self._lock.releasing())

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            held = await self.release()
        except Exception as failure:
            if error is None:
                raise
            self._lock.warn_not_released(failure)
            return
        if not held:
            self._lock.warn_ended_early()
