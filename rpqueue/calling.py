"""Calling tasks by name, and fetching what they returned by id."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from . import tasks
from .enqueued import EnqueuedTask as Enqueued
from .enqueued import result_in
from .errors import UnknownTask, did_you_mean
from .keys import name_text, text_of
from .pipelines import Pipeline, alone, current
from .protocol.operation import Flow, as_is, command
from .system import System
from .together import run_together

if TYPE_CHECKING:
    from redis import Redis

    from .middleware import Departure

#: Seconds after which Redis's registry forgets a task that no worker announced again.
FORGET_AFTER = 7 * 86_400

#: What the registry tells of a task, so that a process that never imported it enqueues it rightly.
_TOLD = (
    "queue",
    "attempts",
    "retry_delay",
    "save_results",
    "vis_timeout",
    "use_dead",
    "durability",
    "redact",
    "recover",
    "max_queue_size",
)


class KnownTasks:
    """
    Tasks by name, of this process or of any worker: ``known_tasks["mail.send"].execute(...)``.

    Looking up a name that nobody knows raises UnknownTask, which is a KeyError.
    """

    def __init__(self, app: Calling) -> None:
        self._app = app

    def __getitem__(self, name: str) -> tasks.Task[..., Any]:
        return self._app.find_task(name)

    def __contains__(self, name: object) -> bool:
        return name in self._app.settings.registry or name in self._app.told_tasks()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._app.settings.registry, *self._app.told_tasks()}))

    def __len__(self) -> int:
        return len(list(iter(self)))


class Calling(System):
    """An App's verbs around calls by name and results by id."""

    Task: type[tasks.Task[..., Any]]
    EnqueuedTask: type[Enqueued]

    @property
    def known_tasks(self) -> KnownTasks:
        """Tasks by name, of this process or of any worker."""
        return KnownTasks(self)

    def get_task(self, name: str) -> tasks.Task[..., Any]:
        """The task of that name in this process. UnknownTask, a ValueError, when its module was not imported."""
        registry = self.settings.registry
        if name not in registry:
            raise UnknownTask(_unknown(name, registry) + " Import the module that declares it.")
        task: tasks.Task[..., Any] = registry[name]
        return task

    def find_task(self, name: str) -> tasks.Task[..., Any]:
        """The task of that name in this process, else as a worker told it to Redis. UnknownTask when nobody did."""
        return self.broker.run(self.finding_task(name))

    def finding_task(self, name: str) -> Flow[tasks.Task[..., Any]]:
        """What `find_task` says to Redis."""
        known: tasks.Task[..., Any] | None = self.settings.registry.get(name)
        if known is not None:
            return known
        told = yield from command(as_is, "HGET", self.keys.app.registry, name_text(name, "task name"))
        if told is None:
            names = yield from command(as_is, "HKEYS", self.keys.app.registry)
            raise UnknownTask(_unknown(name, {*self.settings.registry, *(text.decode() for text in names)}))
        return self._told_task(name, json.loads(told))

    def _told_task(self, name: str, told: dict[str, Any]) -> tasks.Task[..., Any]:
        options = {key: value for key, value in told.items() if key in _TOLD}
        return self.Task(options.pop("queue"), name, None, **options)

    def knowing_tasks(self) -> Flow[dict[str, tasks.Task[..., Any]]]:
        """All of `known_tasks`: those of this process, and the others as workers told of them."""
        told = yield from command(read_registry, "HGETALL", self.keys.app.registry)
        others = {name: options for name, options in told.items() if name not in self.settings.registry}
        return {**self.settings.registry, **{name: self._told_task(name, options) for name, options in others.items()}}

    def told_tasks(self) -> dict[str, dict[str, Any]]:
        """``{name: options}`` of the tasks that workers told to Redis."""
        return self.broker.execute(command(read_registry, "HGETALL", self.keys.app.registry))

    def pipeline(self) -> Pipeline:
        """
        A block of code whose calls and items go to Redis together, at its end: ``with pipeline(): ...``.

        Whatever `execute`, `retry`, `execute_many`, `call_task` and `Data.put_data` of this App make in the block, in
        this thread, is checked at once, and held. They return as ever; a call tells where it is when the block has
        ended, and raises NotEnqueued before. At the end all goes to Redis in batches of at most 1,000 messages, 4 MiB
        and 100 queues, a round trip each. What is in one batch comes in at the same moment, and none of it if the
        connection breaks. Order inside each queue is kept, and delays count from the end.

        A block that raises sends nothing. A block inside another joins it: what it holds goes when the outer one ends.
        Everything else in the block, such as ``get_data`` or `queue_sizes`, goes to Redis at once and sees nothing of
        what is held. So does what other threads make.

        Raises:
            IdTaken: at the end: a ``taskid`` is taken.
            RedisError: at the end: Redis could not do it. RedisUnavailable alone leaves open whether it did. The
                batch's error, of the first put that failed; later batches were not sent. `fates` of these errors
                says of each call and item whether it is in, not in, or in doubt.
        """
        return Pipeline(self)

    def call_task(self, name: str, queue: str | bytes | None = None, /, *args: Any, **kwargs: Any) -> Enqueued:
        """
        Enqueue a task by name; this process need not have imported it.

        Args:
            name: of the task.
            queue: to use when nobody knows the task's own; None: DEFAULT_QUEUE.
            args: for the function.
            kwargs: for the function, and the options of `Task.execute`. ``_verify_call=False`` enqueues even when no
                worker ever told of the task; it is parked then until one does.

        Raises:
            UnknownTask: a ValueError and KeyError; says what is known.
        """
        task = self.eager_task(name, kwargs)
        if task is not None:
            return task.execute(*args, **kwargs)  # type: ignore[return-value] # execute_inline_now has no type
        call: Enqueued = run_together(self.broker, self.calling(name, queue, args, kwargs))
        return call

    def eager_task(self, name: str, kwargs: dict[str, Any]) -> tasks.Task[..., Any] | None:
        """
        The task of a call that ALWAYS_EAGER has run now; None: it is to be enqueued.

        Takes ``_verify_call`` out of *kwargs* then, since there is nobody but this process to know the task.
        """
        if not self.settings.always_eager:
            return None
        task: tasks.Task[..., Any] | None = self.settings.registry.get(name)
        is_for_later = {"delay", "when"} & kwargs.keys() if task is None else not task.is_eager(kwargs)
        if is_for_later:
            return None
        kwargs.pop("_verify_call", None)
        return self.get_task(name)

    def calling(
        self,
        name: str,
        queue: str | bytes | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        show: Callable[[Enqueued], Any] = as_is,
    ) -> Flow[Any]:
        """What `call_task` says to Redis. *show* makes what users get to see of the call."""
        verify = kwargs.pop("_verify_call", True)
        pipeline = current(self)
        known = {} if pipeline is None else pipeline.known
        try:
            task = known[name] = known.get(name) or (yield from self.finding_task(name))
        except UnknownTask:
            if verify:
                raise
            task = self.Task(queue or self.settings.default_queue, name, None)
        with task.departing() as departure:
            return (yield from self._putting(task, args, kwargs, show, departure))

    def _putting(
        self,
        task: tasks.Task[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        show: Callable[[Enqueued], Any],
        departure: Departure | None,
    ) -> Flow[Any]:
        put, enqueued = task.put(args, kwargs, task.proof(kwargs), departure)
        shown = show(enqueued)
        put.shown = [shown]
        pipeline = current(self)  # the one of before may have ended meanwhile
        if pipeline is None and put.proof is None and departure is None:
            yield from put.operation()  # whose error is raised by who sends it, and seen by nothing in here
        elif pipeline is None:
            yield from alone(put)
        else:
            enqueued.fate = pipeline.add(put)
        return shown

    def result(self, taskid: str, conn: Redis | None = None) -> Any:
        """What the task with that id returned; None while it has not, or when it was not saved or has expired."""
        return self.results([taskid], conn)[0]

    def results(self, taskids: Iterable[str], conn: Redis | None = None) -> list[Any]:
        """What the tasks with these ids returned, in order, None where there is no result. Any queue is looked in."""
        return self.broker_for(conn).run(self.fetching(list(taskids)))

    def fetching(self, taskids: list[str]) -> Flow[list[Any]]:
        """What `results` says to Redis."""
        ids = [name_text(taskid, "taskid") for taskid in taskids]
        names = yield from command(as_is, "ZRANGE", self.keys.app.queues, 0, -1)
        queues = [self.keys.tasks(text_of(name)) for name in names]
        found: dict[str, Any] = {}
        abreast = 1 if self.broker.is_cluster else 100
        for first in range(0, len(queues), abreast):
            some = queues[first : first + abreast]
            missing = [taskid for taskid in ids if taskid not in found]
            places = [(taskid, queue.outcome(taskid)) for taskid in missing for queue in some]
            if places:
                outcomes = yield from command(as_is, "MGET", *(key for _, key in places))
                for (taskid, key), outcome in zip(places, outcomes, strict=True):
                    if outcome:
                        found[taskid] = result_in(outcome, key, self.signer)
        return [found.get(taskid) for taskid in ids]


def read_registry(reply: Any) -> dict[str, dict[str, Any]]:
    """The registry hash, as redis-py hands it over by either protocol."""
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(): json.loads(options) for name, options in pairs}


def _unknown(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "none"
    return f"no task is named {name!r}{did_you_mean(str(name), names) or '.'} Known: {listed}."


def told(task: tasks.Task[..., Any], now: float) -> str:
    """What a worker tells Redis's registry of a task."""
    options = {key: getattr(task, key) for key in _TOLD}
    if task.lease:  # as messages say it: who enqueues by name need not know why
        options["attempts"] = task.deliveries
    return json.dumps({**options, "told_at": now})
