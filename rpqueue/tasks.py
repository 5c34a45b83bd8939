"""Task: a function that can be run later by a worker."""

from __future__ import annotations

import contextlib
import inspect
import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from . import bulk, eager, messages
from .bulk import Arguments
from .declared import Declared
from .durability import Durability, Proof, durability_of
from .enqueued import EnqueuedTask, InlineTask, calls_of
from .errors import RefusedInput, UnserializableValue, WrongType
from .instants import instant
from .keys import QueueKeys, name_text
from .loops import run_to_end
from .middleware import Departure, Outgoing, announce
from .options import attempts_number
from .pipelines import alone, current, sending
from .protocol import moves
from .protocol.moves import Due
from .protocol.operation import Flow, Operation
from .protocol.schedules import slot_id
from .puts import Batches, Put
from .running import current_run
from .snapshots import Snapshots
from .together import run_together

log = logging.getLogger("rpqueue.task")

P = ParamSpec("P")
R = TypeVar("R")


class Task(Snapshots, Declared[P, R]):
    """
    A function that can be run later by a worker. The decorators of an App make these, with the arguments of `Declared`.

    Calling it runs the function here and now; `execute` enqueues it.
    """

    def execute(self, /, *args: Any, **kwargs: Any) -> EnqueuedTask | InlineTask:
        """
        Enqueue a call of this task.

        Args:
            args: for the function; values that JSON carries.
            kwargs: for the function, but for these:
                delay: seconds, or a timedelta, until it may start.
                when: the instant at which it may start, instead of *delay*: a datetime, which is UTC when it has no
                    time zone, or epoch seconds, by Redis's clock; or a timedelta from now. One that is past means now.
                    A task whose function has a parameter of this name gets it as an argument, and not this option.
                taskid: an id of your own instead of a random one. Enqueueing the same call under the same id twice
                    has effect once, while the first is in the queue.
                _queue: another queue for this call.
                execute_inline_now: True runs it here, without Redis.
                _attempts: attempts of this call.
                durability: "replicated": return when DURABILITY_REPLICAS replicas have it; "fsync": when it is on the
                    master's disk; False: when Redis has answered. None: as it is declared.

        Raises:
            RefusedInput: something cannot be used; nothing was sent.
            QueueFull: the queue holds *max_queue_size* messages.
            RedisError: Redis could not do it. RedisUnavailable alone leaves open whether it did.
            DurabilityNotConfirmed: it is in its queue, and not as safe as *durability* asks, or not in time. `call` of
                this error is what would have been returned.
        """
        if kwargs.pop("execute_inline_now", False):
            return self._inline(args, kwargs)
        if self.app.settings.always_eager and self.is_eager(kwargs):
            return eager.execute(self, args, kwargs)
        if not self.app.settings.is_watched:
            return self._enqueue(args, kwargs, None)
        with self.departing() as departure:
            return self._enqueue(args, kwargs, departure)

    delay = execute

    def _enqueue(self, args: tuple[Any, ...], kwargs: dict[str, Any], departure: Departure | None) -> EnqueuedTask:
        pipeline, proof = current(self.app), self.proof(kwargs)
        if pipeline is None and proof is None:
            operation, enqueued = self.call(args, kwargs, departure)
            self.app.broker.execute(operation)
            return enqueued
        put, enqueued = self.put(args, kwargs, proof, departure)
        if pipeline is None:
            run_together(self.app.broker, alone(put))
        else:
            enqueued.fate = pipeline.add(put)
        return enqueued

    def departing(self) -> contextlib.AbstractContextManager[Departure | None]:
        """What to enter around the making and the sending of calls; gives None where there is no middleware."""
        settings = self.app.settings
        return Departure(settings.middleware) if settings.is_watched else contextlib.nullcontext()

    def is_eager(self, kwargs: dict[str, Any]) -> bool:
        """Whether a call with these keyword arguments and options runs when it is made, as ALWAYS_EAGER says."""
        return self.starts_eagerly(kwargs.get("delay"), None if self.takes_when else kwargs.get("when"))

    def starts_eagerly(self, delay: Any, when: Any) -> bool:
        """Whether a call that is due then runs when it is made. An instant is looked at by this machine's clock."""
        if not self.app.settings.always_eager:
            return False
        due = self._seconds(delay, when)
        return due <= (time.time() if isinstance(due, Due) else 0)

    def call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], departure: Departure | None = None
    ) -> tuple[Operation[float], EnqueuedTask]:
        """What `execute` sends, and what it returns then. Takes its own options out of *kwargs*."""
        keys, pair, seconds, tail, chosen = self._message(args, kwargs, departure)
        operation = moves.enqueue(
            keys, self.app.index, (pair,), delay=seconds, tail=tail, chosen=chosen, most=self.max_queue_size
        )
        return operation, calls_of(self, keys.name, (pair[0],))[0]

    def proof(self, kwargs: dict[str, Any]) -> Proof | None:
        """What Redis has to confirm of a call. Takes that option out of *kwargs*."""
        asked = kwargs.pop("durability", None) if kwargs else None
        if asked is not None:
            asked = durability_of(asked, f"durability of {self.name}")
        return self.app.proof(asked, self.durability)

    def message(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[QueueKeys, str, bytes]:
        """Queue, id and message of a call that starts at once, as a worker would get them. As `call` in all else."""
        with self.departing() as departure:
            keys, (message_id, body), _, tail, _ = self._message(args, kwargs, departure)
            return keys, message_id, messages.whole(tail, body)

    def put(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        proof: Proof | None = None,
        departure: Departure | None = None,
    ) -> tuple[Put, EnqueuedTask]:
        """What a pipeline holds of a call, and what `execute` returns then. Takes its own options out of *kwargs*."""
        keys, pair, seconds, tail, chosen = self._message(args, kwargs, departure)
        calls = calls_of(self, keys.name, (pair[0],))
        return self._put(keys, [pair], calls, seconds, tail, chosen, proof), calls[0]

    def _put(
        self,
        keys: QueueKeys,
        pairs: list[tuple[str, bytes]],
        shown: list[Any],
        delay: float,
        tail: str,
        chosen: bool,
        proof: Proof | None,
    ) -> Put:
        most = self.max_queue_size
        return Put(keys, self.app.index, pairs, shown, delay=delay, tail=tail, chosen=chosen, proof=proof, most=most)

    def _message(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], departure: Departure | None
    ) -> tuple[QueueKeys, tuple[str, bytes], float | Due, str, bool]:
        """Its queue, id and body, its delay, the tail of its header, and whether its id was chosen by the user."""
        seconds: float | Due = 0.0
        keys, chosen = None, None
        if kwargs:
            seconds = self._seconds(kwargs.pop("delay", None), None if self.takes_when else kwargs.pop("when", None))
            keys = self._keys(kwargs.pop("_queue", None))
            chosen = kwargs.pop("taskid", None)
        if keys is None:
            keys = self._keys(None)
        message_id = messages.new_id() if chosen is None else name_text(chosen, f"taskid of {self.name}")
        attempts = None
        if "_attempts" in kwargs:
            attempts = attempts_number(kwargs["_attempts"], f"_attempts of {self.name}")
            if self._goes_without_saying(attempts):
                del kwargs["_attempts"]
        try:
            body = messages.encode_task(self.name, args, kwargs, self.app.settings.max_message_bytes)
        except UnserializableValue:
            if self.redaction is None:
                raise
            raise self._discreet() from None
        if departure is not None:
            call = Outgoing(message_id, self.name, keys.name, {}, args, kwargs, _due_at(seconds))
            departure.announce([call])
            body = self._with_meta(body, call)
        tail = self.header_tail(attempts, delayed=seconds > 0)
        signer = self.app.signer
        if signer:
            body = signer.signed(keys.stem, message_id.encode(), tail.encode(), body)
        return keys, (message_id, body), seconds, tail, chosen is not None

    def _goes_without_saying(self, attempts: int) -> bool:
        """Whether calls with so many attempts need not say so. 1 is what tasks have whose retry method alone counts."""
        return attempts == self.attempts and (attempts > 1 or self.retrying is None)

    def _with_meta(self, body: bytes, call: Outgoing) -> bytes:
        return messages.with_meta(body, call.meta, self.name, self.app.settings.max_message_bytes)

    def slot_body(self, keys: QueueKeys, slot: int) -> bytes:
        """The body of the message for one slot (ms) of a recurring task; empty when middleware refuses it."""
        message_id, signer = slot_id(self.name, slot), self.app.signer
        body = messages.encode_task(self.name, [], {}, 0)
        if self.app.settings.is_watched:
            call = Outgoing(message_id, self.name, keys.name, {})
            try:
                announce(self.app.settings.middleware, [call])
                body = self._with_meta(body, call)
            except RefusedInput as error:
                log.error("a slot is left out: %s", error, extra={"task": self.name, "queue": keys.name})
                return b""
        if not signer:
            return body
        return signer.signed(keys.stem, message_id.encode(), self.header_tail().encode(), body)

    def _discreet(self) -> UnserializableValue:
        return UnserializableValue(
            f"arguments of {self.name}: expected values that JSON can carry, got others, which are not shown, since "
            "the task redacts arguments; nothing was sent"
        )

    def _seconds(self, delay: Any, when: Any = None) -> float | Due:
        """The delay of calls, or the instant at which they are due."""
        if when is None:
            return 0.0 if delay is None else messages.seconds(delay, f"delay of {self.name}")
        if delay is not None:
            raise RefusedInput(f"delay and when of {self.name}: expected one of them, got {delay!r} and {when!r}")
        if isinstance(when, timedelta):
            return messages.seconds(when, f"when of {self.name}")
        return Due(instant(when, f"when of {self.name}"))

    def _keys(self, queue: Any) -> QueueKeys:
        app = self.app
        keys = app.keys.tasks(self.queue) if queue is None else app.task_keys(queue)
        if keys.name == self.app.settings.deadletter_queue:
            raise RefusedInput(f"_queue of {self.name}: {keys.name!r} is the dead-letter view; choose another queue")
        return keys

    def execute_many(
        self,
        calls: Iterable[Arguments],
        *,
        delay: float | timedelta | None = None,
        when: datetime | timedelta | float | None = None,
        taskids: Iterable[str | bytes] | None = None,
        _queue: str | bytes | None = None,
        _attempts: int | None = None,
        durability: Durability | None = None,
    ) -> list[EnqueuedTask]:
        """
        Enqueue many calls of this task, a thousand in one round trip.

        All of them are checked before the first one is sent, so a generator is read to its end first. They are sent in
        batches of at most 1,000 calls and, unless one call has more, 4 MiB. Of a batch, all calls are in or none. When
        a batch fails, those before it are in and those after it are not sent. Inside a `pipeline` block nothing is sent
        before its end.

        Args:
            calls: each a tuple or list of positional arguments, or a dict of keyword arguments.
            delay: seconds, or a timedelta, until they may start.
            when: see `execute`.
            taskids: ids of your own, one for each call, as `taskid` of `execute`: with them it is safe to enqueue the
                same calls once more. An id that another call has refuses its whole batch. None: random ones.
            _queue: another queue for these calls.
            _attempts: attempts of these calls.
            durability: see `execute`; each batch is confirmed before the next one is sent.

        Returns:
            The calls, in order.

        Raises:
            RefusedInput, WrongType: a call cannot be used, and the error says which by its number; nothing was sent.
            IdTaken: a ValueError; another call has that id.
            QueueFull: there is no room in the queue for a batch.
            RedisError: Redis could not do it. RedisUnavailable alone leaves open whether it did. `fates` of this error
                and of IdTaken says of each call whether it is in, not in, or in doubt.
            DurabilityNotConfirmed: a batch is in its queue, and not as safe as *durability* asks, or not in time. Those
                after it are not sent; `fates` says which are in.
        """
        if self.starts_eagerly(delay, when):
            self.proof({"durability": durability})
            return eager.execute_many(self, self.messages(calls, taskids, _queue, _attempts))
        made: list[EnqueuedTask] = run_together(
            self.app.broker, self.enqueuing(calls, delay, taskids, _queue, _attempts, durability=durability, when=when)
        )
        return made

    def enqueuing(
        self,
        many: Iterable[Arguments],
        delay: Any = None,
        taskids: Iterable[str | bytes] | None = None,
        queue: Any = None,
        attempts: Any = None,
        show: Callable[[list[EnqueuedTask]], list[Any]] = list,
        durability: Any = None,
        when: Any = None,
    ) -> Flow[Any]:
        """What `execute_many` says to Redis. *show* makes what users get to see of calls."""
        with self.departing() as departure:
            flow = self._enqueuing(many, delay, taskids, queue, attempts, show, durability, when, departure)
            return (yield from flow)

    def _enqueuing(
        self,
        many: Iterable[Arguments],
        delay: Any,
        taskids: Iterable[str | bytes] | None,
        queue: Any,
        attempts: Any,
        show: Callable[[list[EnqueuedTask]], list[Any]],
        durability: Any,
        when: Any,
        departure: Departure | None,
    ) -> Flow[Any]:
        seconds, keys = self._seconds(delay, when), self._keys(queue)
        proof = self.proof({"durability": durability})
        made, tail = self._messages(many, taskids, keys, attempts, seconds, departure)
        pipeline, own = current(self.app), Batches()
        hold = own.add if pipeline is None else pipeline.add
        shown: list[Any] = []
        for pairs in bulk.cut(made):
            calls = calls_of(self, keys.name, [message_id for message_id, _ in pairs])
            seen = show(calls)
            shown += seen
            fate = hold(self._put(keys, pairs, seen, seconds, tail, taskids is not None, proof))
            for call in calls:
                call.fate = fate
        if pipeline is None:
            yield from sending(own)
        return shown

    def messages(
        self,
        many: Iterable[Arguments],
        taskids: Iterable[str | bytes] | None = None,
        queue: Any = None,
        attempts: Any = None,
    ) -> list[tuple[QueueKeys, str, bytes]]:
        """What `message` gives, for each of many calls that start at once. All are checked."""
        keys = self._keys(queue)
        with self.departing() as departure:
            made, tail = self._messages(many, taskids, keys, attempts, 0.0, departure)
            return [(keys, message_id, messages.whole(tail, body)) for message_id, body in made]

    def _messages(
        self,
        many: Iterable[Arguments],
        taskids: Iterable[str | bytes] | None,
        keys: QueueKeys,
        attempts: Any,
        delay: float | Due,
        departure: Departure | None,
    ) -> tuple[list[tuple[str, bytes]], str]:
        """Ids and bodies of many calls, and the tail of their headers."""
        deliveries = None if attempts is None else attempts_number(attempts, f"_attempts of {self.name}")
        more = {} if deliveries is None or self._goes_without_saying(deliveries) else {"_attempts": deliveries}
        if departure is not None:
            many = list(many) if hasattr(type(many), "__iter__") and not isinstance(many, (str, bytes, dict)) else many
        try:
            bodies = bulk.bodies(self.name, many, more, self.app.settings.max_message_bytes)
        except (UnserializableValue, WrongType):
            if self.redaction is None:
                raise
            raise self._discreet() from None
        ids = messages.new_ids(len(bodies)) if taskids is None else self._chosen(taskids, len(bodies))
        if departure is not None:
            due_at, parts = _due_at(delay), bulk.parts(many, more)
            departing = [
                Outgoing(one, self.name, keys.name, {}, *some, due_at) for one, some in zip(ids, parts, strict=True)
            ]
            departure.announce(departing)
            bodies = list(map(self._with_meta, bodies, departing))
        tail, signer = self.header_tail(deliveries, delayed=delay > 0), self.app.signer
        made = list(zip(ids, bodies, strict=True))
        return signer.sign(keys.stem, tail, made) if signer else made, tail

    def _chosen(self, taskids: Iterable[str | bytes], number: int) -> list[str]:
        if isinstance(taskids, (str, bytes)) or not hasattr(type(taskids), "__iter__"):
            raise WrongType(f"taskids of {self.name}: expected an id for each call, got {taskids!r}; nothing was sent")
        ids = [name_text(one, f"taskids of {self.name}") for one in taskids]
        if len(ids) != number:
            raise RefusedInput(
                f"taskids of {self.name}: expected {number}, one for each call, got {len(ids)}; nothing was sent"
            )
        return ids

    def _inline(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> InlineTask:
        value = self.start_inline(args, kwargs)
        if inspect.isawaitable(value):
            made: Any = value
            value = run_to_end(lambda: made)
        return InlineTask(self, value, [list(args), kwargs])

    def start_inline(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function as ``execute_inline_now`` does. Takes the other options of `execute` out of *kwargs*."""
        for option in ("delay", "taskid", "_queue", "durability"):
            kwargs.pop(option, None)
        if not self.takes_when:
            kwargs.pop("when", None)
        if not self.takes_attempts:
            kwargs.pop("_attempts", None)
        function: Callable[..., Any] = self.__call__
        return function(*args, **kwargs)

    def retry(self, /, *args: Any, **kwargs: Any) -> EnqueuedTask | InlineTask | None:
        """
        Enqueue this task once more, after its retry_delay, unless its attempts are used up.

        The number of runs left is ``_attempts`` in *kwargs*, which a task that accepts it gets; else that of the run in
        which this is called.

        Returns:
            The new call, or None when no attempt is left.
        """
        return self.execute(*args, **kwargs) if self.use_attempt(kwargs) else None

    def use_attempt(self, kwargs: dict[str, Any]) -> bool:
        """Put into *kwargs* what makes them those of the next try. Returns whether there is one."""
        left = kwargs.pop("_attempts", None)
        if left is None:
            run = current_run()
            left = self.attempts if run is None or run.task is not self else run.attempts_left
        left = attempts_number(left, f"_attempts of {self.name}") - 1
        if left < 1:
            return False
        kwargs["_attempts"] = left
        if not self.app.settings.always_eager:
            kwargs.setdefault("delay", self.retry_delay)
        return True


def _due_at(delay: float | Due) -> float:
    """For middleware: when a call is due, as far as this machine knows; 0: at once."""
    return float(delay) if isinstance(delay, Due) else delay and time.time() + delay
