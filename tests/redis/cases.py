"""Every script as the library calls it, on a queue with something in every place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import redis

from rpqueue.protocol import data, locks, mending, moves, runs, schedules, views, workers
from rpqueue.protocol.cycle import Finished, cycle
from rpqueue.protocol.moves import Rules
from rpqueue.protocol.operation import Operation, Stamp
from rpqueue.states import State
from tests.redis.harness import Queue

MINUTE = 60_000
RULES = Rules("tasks", 3, 100)
BOUNDS = mending.Bounds(mending.Bound(0.001, None), mending.Bound(0, 5), mending.Bound(0, None))

Make = Callable[[Queue], Operation[Any]]


class Case(NamedTuple):
    """How a script is called on a queue as `arrange` leaves it."""

    make: Make
    instants: bool = False  #: the second call writes later instants, and nothing else
    reply: bool = True  #: the second call answers as the first; False: its header says what it answers instead


class Ack(NamedTuple):
    """An ack as `cycle` takes it."""

    id: str
    token: int | str
    keep_for: float = 0.0
    outcome: bytes = b""


def round_(queue: Queue, *acks: Finished) -> Operation[Any]:
    return cycle(
        queue.app,
        [queue.keys],
        {queue.name: acks},
        indexed=bool(queue.index_keys),
        lease_for=60,
        wanted=1,
        starting=1,
        limit=100,
        rules=RULES,
    )


def enqueue(queue: Queue, **options: Any) -> Operation[Any]:
    return moves.enqueue(queue.keys, queue.index_keys, [("new", b"1"), ("newer", b"2")], **options)


#: By script, then what is special. A queue of tasks, see `arrange`.
CHANGES: dict[str, Case] = {
    "enqueue_ready": Case(enqueue),
    "enqueue": Case(lambda queue: enqueue(queue, delay=60)),
    "enqueue: chosen": Case(lambda queue: enqueue(queue, chosen=True)),
    "ack": Case(lambda queue: moves.ack(queue.keys, [("held", 1), ("again", 2), ("ready", 1)])),
    "cycle": Case(lambda queue: round_(queue, Ack("held", 1), Ack("again", 2, 60, b'"kept"'))),
    "cycle: stale": Case(lambda queue: round_(queue, Ack("again", 1))),
    "lease": Case(lambda queue: data.lease(queue.keys, queue.index_keys, RULES, 1, 60)),
    "lease: for good": Case(lambda queue: data.lease(queue.keys, queue.index_keys, RULES, 1, 0)),
    "extend": Case(lambda queue: moves.extend(queue.keys, [("held", 1, 0), ("again", 1, 0)], 60), instants=True),
    "fail": Case(lambda queue: moves.fail(queue.keys, queue.index_keys, ("held", 1), RULES, delay=60, error=b"{}")),
    "release": Case(
        lambda queue: moves.release(
            queue.keys, queue.index_keys, [("held", 1, "unstarted"), ("again", 2, "crashed")], RULES
        )
    ),
    "note": Case(
        lambda queue: runs.note(queue.keys, queue.keys.progress("held"), "held", 1, b"0.5", 60), instants=True
    ),
    "park": Case(lambda queue: moves.park(queue.keys, [("held", 1, "task")])),
    "unpark": Case(lambda queue: moves.unpark(queue.keys, queue.index_keys, ["parked"])),
    "cancel": Case(lambda queue: moves.cancel(queue.keys, "ready", 60)),
    "redrive": Case(lambda queue: moves.redrive(queue.keys, queue.index_keys, State.DEAD)),
    "redrive: at a rate": Case(lambda queue: moves.redrive(queue.keys, queue.index_keys, None, step=0.25)),
    "delete": Case(lambda queue: mending.delete(queue.keys, "ready", 60)),
    "delete: dead": Case(lambda queue: mending.delete(queue.keys, "dead", 60)),
    "reschedule": Case(lambda queue: mending.reschedule(queue.keys, queue.index_keys, "later", 120)),
    "reschedule: now": Case(lambda queue: mending.reschedule(queue.keys, queue.index_keys, "later", 0)),
    "retire": Case(lambda queue: mending.retire(queue.keys, BOUNDS, 100)),
    "put_back": Case(
        lambda queue: moves.put_back(
            queue.keys, queue.index_keys, State.DEAD, [moves.Taken("taken", b"1 5|1", "2 0 0 0", 1.5)]
        )
    ),
    "purge": Case(lambda queue: views.purge(queue.keys, State.DEAD, ["dead"])),
    "clear": Case(lambda queue: views.clear(queue.keys, queue.index_keys, 2, forget=False)),
    "priority": Case(lambda queue: views.set_priority(queue.app, queue.name, 3)),
    "fire": Case(
        lambda queue: schedules.fire(queue.keys, queue.index_keys, "daily", None, 5, body=b"[]", early=True),
        reply=False,
    ),
    "quarantine": Case(lambda queue: data.quarantine(queue.keys, queue.index_keys, [(b"held", 1, b"1 5|!", "{}")])),
    "beat": Case(lambda queue: workers.beat(queue.app, [workers.Beat("here:1", "{}")], 60), instants=True, reply=False),
    "recall": Case(lambda queue: workers.recall(queue.app, Stamp(b"dead", 3))),
    "lock_acquire": Case(lambda queue: locks.acquire(queue.app.stem + b"lock:mine", b"token", 60)),
    "lock_refresh": Case(lambda queue: locks.refresh(queue.app.stem + b"lock:held", b"holder", 60), instants=True),
    "lock_release": Case(lambda queue: locks.release(queue.app.stem + b"lock:held", b"holder")),
}
#: The same for items.
ITEM_CHANGES: dict[str, Case] = {
    "enqueue_ready: items": Case(enqueue),
    "lease: items": Case(lambda items: data.lease(items.keys, (), Rules("data"), 1, 60)),
    "lease: items for good": Case(lambda items: data.lease(items.keys, (), Rules("data"), 1, 0)),
    "bury_new": Case(lambda items: data.bury_new(items.keys, items.data_index, [("new", b"1")])),
    "measure": Case(lambda items: data.measure(items.keys, (), Rules("data"))),
}
#: Scripts that change nothing, however often they are sent.
QUESTIONS = {
    *{"audit", "census", "find", "kinds", "oldest", "page", "parked", "progress", "sizes", "states", "unfinished"},
    *{"noted", "asked_to_stop", "aging", "due"},
}
#: Why a script is not tried here.
ELSEWHERE = {
    "force": "moves the next ones when it is sent twice, and says so: see test_force.py",
    "adopt": "needs keys of 0.33: see test_migrate.py",
    "mend": "needs something to mend: see test_mend.py",
    "relist": "needs an index that is wrong: see test_relist.py",
}


def arrange(queue: Queue) -> Queue:
    """Something in every place."""
    queue.given(ready=["ready", "second", "third"], lease=60, attempts=5, scheduled={"later": MINUTE})
    queue.given(leased={"held": (MINUTE, 1), "again": (MINUTE, 2)}, lease=60, attempts=5)
    queue.given(parked={"parked": "task"}, dead={"dead": -5})
    queue.client.set(queue.app.stem + b"lock:held", b"holder", px=MINUTE)
    return queue


def send(client: redis.Redis, operation: Operation[Any]) -> Any:
    """As the Broker does it, always under the same stamp."""
    assert operation.script is not None
    return operation.read(client.eval(operation.script.source, *operation.words(Stamp(b"sender", 7))))
