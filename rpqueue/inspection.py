"""
Looking at a running system: its queues, its workers, single messages. Nothing here changes anything.

Every view is a plain value, true for the instant at which Redis was asked; a view of several queues takes more than one
call, so messages may move between two of its rows.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from . import messages
from .calling import redacting
from .enqueued import status_of
from .errors import BadSignature, RefusedInput, Undecodable, did_you_mean
from .keys import QueueKeys, name_text, text_of, wire
from .messages import Flags
from .protocol import moves, views
from .protocol.moves import Whereabouts
from .protocol.operation import Flow, as_is, command
from .queues import row_count
from .states import GRAVES, State

if TYPE_CHECKING:
    from .app import App

Kind = Literal["tasks", "data"]

#: States that messages can be paged through: those in which they are still there.
PLACES = (State.READY, State.SCHEDULED, State.LEASED, State.PARKED, *GRAVES)
#: Parked messages of one queue that are looked at for their task names.
_PARKED_LOOK = 10_000


@dataclass(frozen=True)
class QueueView:
    """One queue."""

    name: str
    kind: Kind
    priority: float | None  #: lower goes first; None: it has none, as data queues have
    ready: int
    scheduled: int
    leased: int
    parked: int
    dead: int
    lost: int
    failed: int
    seen: int  #: messages put in since the queue began
    done: int  #: messages finished since the queue began
    oldest_age: float  #: seconds for which the next message has been ready; 0 when none is


@dataclass(frozen=True)
class WorkerView:
    """One worker process, as it last told of itself."""

    id: str
    host: str
    pid: int
    queues: list[str] | None  #: None: all
    threads: int
    started_at: float  #: epoch seconds
    silent_for: float  #: seconds since its last sign of life
    is_alive: bool  #: it was heard of within WORKER_TTL


@dataclass(frozen=True)
class MessageView:
    """One message: where it is, what is in it, what happened to it."""

    id: str
    queue: str
    kind: Kind
    state: State
    status: str  #: the word of `EnqueuedTask.status`
    at: float  #: epoch seconds: when it is due, its lease ends or it was buried; 0 when it is ready or gone
    available_at: float  #: epoch seconds: when it became ready, or will; 0 when it is gone or cannot be read
    name: str  #: of the task; empty for an item and for what is gone or cannot be read
    args: list[Any]
    kwargs: dict[str, Any]
    item: Any  #: of a data queue; None for a task
    vis_timeout: float  #: seconds; 0: it is delivered at most once
    attempts: int  #: deliveries that it may have in all
    use_dead: bool
    failures: int
    crashes: int
    interruptions: int
    reason: str  #: why it was buried or failed last; empty when it never did
    error: dict[str, Any] | None  #: what its worker recorded of its last failure
    outcome: dict[str, Any] | None  #: what it ended with, as long as that is kept
    undecodable: str | None  #: its bytes as text, when they cannot be read
    raw: bytes | None  #: its bytes as they are, when they cannot be read; in JSON as base64


@dataclass(frozen=True)
class Page:
    """Some messages, and where to go on."""

    messages: list[MessageView]
    after: str | None  #: to be given for the next page; None: this was the last one


class Inspection:
    """
    Views of one App's queues, workers and messages.

    Args:
        app: whose.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    def queues(self) -> list[QueueView]:
        """All task queues, in the order in which workers turn to them, then all data queues by name."""
        return self.app.broker.run(self.viewing_queues())

    def viewing_queues(self) -> Flow[list[QueueView]]:
        """What `queues` says to Redis."""
        listed = yield from command(as_is, "ZRANGE", self.app.keys.app.queues, 0, -1, "WITHSCORES")
        scores = [float(score) for _, score in _pairs(listed)]
        priorities = [None if math.isinf(score) else score for score in scores]
        tasks = [self.app.keys.tasks(text_of(name)) for name, _ in _pairs(listed)]
        data: list[QueueKeys] = yield from self.app.queues_of(is_data=True)
        sizes: list[views.Sizes] = yield from views.sizing([*tasks, *data], self.app.queues_per_call)
        rows = zip([*tasks, *data], [*priorities, *(None for _ in data)], sizes, strict=True)
        return [
            QueueView(keys.name, "tasks" if number < len(tasks) else "data", priority, *size)
            for number, (keys, priority, size) in enumerate(rows)
        ]

    def workers(self) -> list[WorkerView]:
        """The worker processes that were heard of lately, the living first."""
        return self.app.broker.run(self.viewing_workers())

    def viewing_workers(self) -> Flow[list[WorkerView]]:
        """What `workers` says to Redis."""
        app = self.app.keys.app
        told = yield from command(as_is, "HGETALL", app.workers)
        beats = yield from command(as_is, "ZRANGE", app.beats, 0, -1, "WITHSCORES")
        seconds, micros = yield from command(as_is, "TIME")
        now = int(seconds) + int(micros) / 1_000_000
        heard = {worker_id: float(beat) / 1000 for worker_id, beat in _pairs(beats)}
        found = [
            self._worker(text_of(worker_id), info, now - heard[worker_id])
            for worker_id, info in (told.items() if isinstance(told, dict) else _pairs(told))
            if worker_id in heard  # else it has just left
        ]
        return sorted(found, key=lambda worker: (not worker.is_alive, worker.host, worker.pid))

    def _worker(self, worker_id: str, info: bytes, silent_for: float) -> WorkerView:
        told = _record(info) or {}
        queues = told.get("queues")
        return WorkerView(
            worker_id,
            str(told.get("host", "")),
            int(_number(told.get("pid"))),
            [str(queue) for queue in queues] if isinstance(queues, list) else None,
            int(_number(told.get("threads"))),
            _number(told.get("started_at")),
            max(silent_for, 0.0),
            silent_for <= self.app.settings.worker_ttl,
        )

    def message(self, message_id: str, queue: str | bytes | None = None) -> MessageView | None:
        """
        One message, wherever it is; None when no queue knows its id, or not any more.

        Args:
            message_id: of a task or an item.
            queue: name of its queue; None looks into all of them.
        """
        return self.app.broker.run(self.viewing_message(message_id, queue))

    def viewing_message(self, message_id: str, queue: str | bytes | None = None) -> Flow[MessageView | None]:
        """What `message` says to Redis."""
        wanted = name_text(message_id, "message id")
        found: list[QueueKeys]
        if queue is None:
            tasks, data = (yield from self.app.queues_of(is_data=False)), (yield from self.app.queues_of(is_data=True))
            found = yield from views.finding([*tasks, *data], wanted, self.app.queues_per_call)
        else:
            found = [self.app.task_keys(queue), self.app.data_keys(queue)]
        for keys in found:
            [where] = yield from moves.whereabouts(keys, [wanted])
            if where.state is not None:
                [view] = yield from self._redacted([self._message(keys, where)])
                return view
        return None

    def page(
        self,
        queue: str | bytes,
        state: State | str = State.READY,
        after: str | None = None,
        limit: int = 50,
        is_data: bool = False,
    ) -> Page:
        """
        The messages of one queue that are in one state, a page of them.

        Args:
            queue: its name.
            state: ready (next one first), scheduled and leased (earliest first), dead, lost and failed (oldest first),
                or parked (in no order, and a page may be a little longer).
            after: the `Page.after` of the page before; None begins. Messages that leave in between do not disturb it,
                but for ready ones, where those behind move up.
            limit: most messages of a page, 1 to 1,000.
            is_data: whether it is a data queue.
        """
        return self.app.broker.run(self.paging(queue, state, after, limit, is_data))

    def paging(
        self,
        queue: str | bytes,
        state: State | str = State.READY,
        after: str | None = None,
        limit: int = 50,
        is_data: bool = False,
    ) -> Flow[Page]:
        """What `page` says to Redis."""
        place, most = place_of(state), row_count(limit, "limit")
        keys = self.app.data_keys(queue) if is_data else self.app.task_keys(queue)
        skip = _cursor(after, place)
        # One more than asked for shows whether there is another page.
        found, cursor = yield from views.page(
            keys, (place,), most + (place is not State.PARKED), skip=skip, after="" if skip else after or ""
        )
        rows = yield from self._redacted([self._message(keys, where) for where in found])
        if place is State.PARKED:
            return Page(rows, None if cursor == "0" else cursor)
        if len(rows) <= most:
            return Page(rows, None)
        last = rows[most - 1]
        on = str(skip + most) if place is State.READY else f"{round(last.at * 1000)} {last.id}"
        return Page(rows[:most], on)

    def buried(
        self,
        grave: State | str = State.DEAD,
        queue: str | bytes | None = None,
        limit: int = 100,
        skip: int = 0,
        is_data: bool = False,
    ) -> list[MessageView]:
        """
        What was given up, oldest first.

        Args:
            grave: dead, lost or failed.
            queue: of this one; None: of all queues of the kind.
            limit: most messages to return, 1 to 1,000.
            skip: how many to pass over.
            is_data: whether to look into data queues instead of task queues.
        """
        return self.app.broker.run(self.viewing_buried(grave, queue, limit, skip, is_data))

    def viewing_buried(
        self,
        grave: State | str = State.DEAD,
        queue: str | bytes | None = None,
        limit: int = 100,
        skip: int = 0,
        is_data: bool = False,
    ) -> Flow[list[MessageView]]:
        """What `buried` says to Redis."""
        place, most, passed = place_of(grave), row_count(limit, "limit"), row_count(skip, "skip", least=0, most=2**31)
        if place not in GRAVES:
            raise RefusedInput(f"grave: expected dead, lost or failed, got {place.value!r}")
        queues = yield from self.app.queues_of(is_data)
        if queue is not None and name_text(queue, "queue") != self.app.settings.deadletter_queue:
            queues = [self.app.data_keys(queue) if is_data else self.app.task_keys(queue)]
        found = yield from views.reading_buried(queues, place, most, skip=passed, chunk=self.app.queues_per_call)
        return (yield from self._redacted([self._message(one.queue, one.where) for one in found]))

    def parked_names(self) -> dict[str, int]:
        """The task names that no worker knew, and how many messages wait for one that does; most messages first."""
        return self.app.broker.run(self.viewing_parked())

    def viewing_parked(self) -> Flow[dict[str, int]]:
        """What `parked_names` says to Redis."""
        queues: list[QueueKeys] = yield from self.app.queues_of(is_data=False)
        counts: Counter[str] = Counter()
        for some in views.chunks(queues, self.app.queues_per_call):
            for _, parked in (yield from moves.parked(some, _PARKED_LOOK)):
                counts.update(parked.values())
        return dict(counts.most_common())

    def _message(self, keys: QueueKeys, where: Whereabouts) -> MessageView:
        kind: Kind = "tasks" if keys == self.app.keys.tasks(keys.name) else "data"
        available_at, lease, attempts, flags = 0.0, 0.0, 1, Flags(0)
        name, args, kwargs, item, undecodable = "", list[Any](), dict[str, Any](), None, None
        if where.message:
            header = where.message.partition(b"|")[0]
            try:
                available_at, lease, attempts, flags = messages.parse_header(header)
                messages.check_version(header)
                body = self.app.signer.body_of(keys.stem, wire(where.id), where.message)
                if kind == "tasks":
                    name, args, kwargs = messages.decode_task(body)
                else:
                    item = messages.decode(body, "item")
            except Undecodable:
                undecodable = where.message.decode("utf-8", "backslashreplace")
        assert where.state is not None
        return MessageView(
            id=where.id,
            queue=keys.name,
            kind=kind,
            state=where.state,
            status=where.state.value if undecodable is not None else status_of(where),
            at=where.at,
            available_at=available_at,
            name=name,
            args=args,
            kwargs=kwargs,
            item=item,
            vis_timeout=lease,
            attempts=attempts,
            use_dead=Flags.USE_DEAD in flags,
            failures=where.failures,
            crashes=where.crashes,
            interruptions=where.interruptions,
            reason=where.reason,
            error=_record(where.error),
            outcome=self._outcome(keys, where),
            undecodable=undecodable,
            raw=None if undecodable is None else where.message,
        )

    def _redacted(self, views: list[MessageView]) -> Flow[list[MessageView]]:
        """*views* without the arguments that `task` was told to redact."""
        hidden = yield from redacting(self.app, [view.name for view in views if view.name])
        shown = []
        for view in views:
            redaction = hidden.get(view.name)
            args, kwargs = (
                (view.args, view.kwargs) if redaction is None else redaction.arguments(view.args, view.kwargs)
            )
            shown.append(replace(view, args=args, kwargs=kwargs))
        return shown

    def _outcome(self, keys: QueueKeys, where: Whereabouts) -> dict[str, Any] | None:
        if where.outcome in (b"", moves.CANCELLED):
            return _record(where.outcome)
        try:
            return _record(self.app.signer.opened(keys.outcome(where.id), b"", b"", where.outcome))
        except BadSignature:
            return _unread(where.outcome)


def place_of(state: State | str) -> State:
    """A state that messages can be paged through, from its word."""
    for place in PLACES:
        if state in (place, place.value):
            return place
    names = [place.value for place in PLACES]
    raise RefusedInput(f"state: expected {', '.join(names)}, got {str(state)!r}{did_you_mean(str(state), names)}")


def _cursor(after: str | None, place: State) -> int:
    """How many messages to skip, of ready ones; RefusedInput when *after* came from no page of that state."""
    if not after:
        return 0
    if place in (State.READY, State.PARKED):
        good = after.isascii() and after.isdigit()
    else:
        score, _, message_id = after.partition(" ")
        good = bool(message_id) and score.isascii() and score.isdigit()
    if not good:
        raise RefusedInput(f"after: expected what a page of {place.value} messages said, got {after!r}")
    return int(after) if place is State.READY else 0


def _record(stored: bytes) -> dict[str, Any] | None:
    """A JSON object that a worker stored; what cannot be read is shown as text."""
    if not stored:
        return None
    try:
        value = messages.decode(stored, "record")
    except Undecodable:
        value = None
    return value if isinstance(value, dict) else _unread(stored)


def _number(value: Any) -> float:
    """*value*, or 0 when it is none."""
    return value if isinstance(value, (int, float)) else 0


def _unread(stored: bytes) -> dict[str, Any]:
    return {"undecodable": stored.decode("utf-8", "backslashreplace")}


def _pairs(reply: list[Any]) -> list[tuple[Any, Any]]:
    """Pairs out of a flat list, or out of the nested one that RESP3 has."""
    if reply and isinstance(reply[0], (list, tuple)):
        return [(one, other) for one, other in reply]
    return list(zip(reply[::2], reply[1::2], strict=True))
