"""Views of queues and workers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..keys import QueueKeys, text_of
from ..protocol import moves, views
from ..protocol.operation import Flow, as_is, command
from ..seen import Kind, record_in

if TYPE_CHECKING:
    from ..app import App

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
    retired: int  #: given up messages that were deleted since the queue began, being too old or too many
    oldest_age: float  #: seconds for which the next message has been ready; 0 when none is


@dataclass(frozen=True)
class WorkerView:
    """One worker process, as it last told of itself."""

    id: str
    host: str
    pid: int
    queues: list[str] | None  #: None: all
    threads: int
    pool: str  #: where tasks run there that do not say; empty: an older version did not tell
    started_at: float  #: epoch seconds
    silent_for: float  #: seconds since its last sign of life
    is_alive: bool  #: it was heard of within WORKER_TTL


def viewing_queues(app: App) -> Flow[list[QueueView]]:
    """What `Inspection.queues` says to Redis."""
    listed = yield from command(as_is, "ZRANGE", app.keys.app.queues, 0, -1, "WITHSCORES")
    scores = [float(score) for _, score in _pairs(listed)]
    priorities = [None if math.isinf(score) else score for score in scores]
    tasks = [app.keys.tasks(text_of(name)) for name, _ in _pairs(listed)]
    data: list[QueueKeys] = yield from app.queues_of(is_data=True)
    sizes: list[views.Sizes] = yield from views.sizing([*tasks, *data], app.queues_per_call)
    rows = zip([*tasks, *data], [*priorities, *(None for _ in data)], sizes, strict=True)
    return [
        QueueView(keys.name, "tasks" if number < len(tasks) else "data", priority, *size)
        for number, (keys, priority, size) in enumerate(rows)
    ]


def viewing_workers(app: App) -> Flow[list[WorkerView]]:
    """What `Inspection.workers` says to Redis."""
    told = yield from command(as_is, "HGETALL", app.keys.app.workers)
    beats = yield from command(as_is, "ZRANGE", app.keys.app.beats, 0, -1, "WITHSCORES")
    seconds, micros = yield from command(as_is, "TIME")
    now = int(seconds) + int(micros) / 1_000_000
    heard = {worker_id: float(beat) / 1000 for worker_id, beat in _pairs(beats)}
    found = [
        _worker(app, text_of(worker_id), info, now - heard[worker_id])
        for worker_id, info in (told.items() if isinstance(told, dict) else _pairs(told))
        if worker_id in heard  # else it has just left
    ]
    return sorted(found, key=lambda worker: (not worker.is_alive, worker.host, worker.pid))


def viewing_parked(app: App) -> Flow[dict[str, int]]:
    """What `Inspection.parked_names` says to Redis."""
    queues: list[QueueKeys] = yield from app.queues_of(is_data=False)
    counts: Counter[str] = Counter()
    for some in views.chunks(queues, app.queues_per_call):
        for _, parked in (yield from moves.parked(some, _PARKED_LOOK)):
            counts.update(parked.values())
    return dict(counts.most_common())


def _worker(app: App, worker_id: str, info: bytes, silent_for: float) -> WorkerView:
    told = record_in(info) or {}
    queues = told.get("queues")
    return WorkerView(
        worker_id,
        str(told.get("host", "")),
        int(_number(told.get("pid"))),
        [str(queue) for queue in queues] if isinstance(queues, list) else None,
        int(_number(told.get("threads"))),
        str(told.get("pool", "")),
        _number(told.get("started_at")),
        max(silent_for, 0.0),
        silent_for <= app.settings.worker_ttl,
    )


def _number(value: Any) -> float:
    """*value*, or 0 when it is none."""
    return value if isinstance(value, (int, float)) else 0


def _pairs(reply: list[Any]) -> list[tuple[Any, Any]]:
    """Pairs out of a flat list, or out of the nested one that RESP3 has."""
    if reply and isinstance(reply[0], (list, tuple)):
        return [(one, other) for one, other in reply]
    return list(zip(reply[::2], reply[1::2], strict=True))
