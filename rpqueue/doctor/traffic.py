"""Checks of what goes on: workers, queues that nobody works on, what waits for long, what was given up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..inspection import Inspection, QueueView, WorkerView
from ..protocol.checkups import Census
from ..protocol.operation import as_is, command
from .access import clock
from .findings import Finding, note, ok, problem, some, warning

#: Seconds after which what is due should have been taken in hand by a worker.
OVERDUE = 30.0


@dataclass
class Traffic:
    """What there is to be judged."""

    queues: list[QueueView]
    workers: list[WorkerView]
    parked: dict[str, int]
    clocks: dict[str, float] = field(default_factory=dict)  #: host -> seconds that its clock is ahead of Redis's
    censuses: dict[tuple[str, str], Census] = field(default_factory=dict)  #: by kind and name


def look(inspection: Inspection) -> Traffic:
    """Ask for all of it but the censuses."""
    workers = inspection.workers()
    return Traffic(inspection.queues(), workers, inspection.parked_names(), _clocks(inspection))


def _clocks(inspection: Inspection) -> dict[str, float]:
    app = inspection.app.keys.app
    broker = inspection.app.broker
    told = broker.execute(command(as_is, "HGETALL", app.workers))
    beats = broker.execute(command(as_is, "ZRANGE", app.beats, 0, -1, "WITHSCORES"))
    heard = dict(_pairs(beats))
    ahead: dict[str, float] = {}
    for worker_id, info in told.items() if isinstance(told, dict) else _pairs(told):
        if worker_id not in heard:
            continue
        try:
            said = json.loads(info)
            gap = float(said["clock"]) - float(heard[worker_id]) / 1000
        except (ValueError, KeyError, TypeError):
            continue  # an older version, which does not tell its clock
        host = str(said.get("host", ""))
        if abs(gap) >= abs(ahead.get(host, 0.0)):
            ahead[host] = gap
    return ahead


def _pairs(reply: list[Any]) -> list[tuple[Any, Any]]:
    if reply and isinstance(reply[0], (list, tuple)):
        return [(one, other) for one, other in reply]
    return list(zip(reply[::2], reply[1::2], strict=True))


def checks(traffic: Traffic, max_age: float) -> Iterator[Finding]:
    """All of them. *max_age*: seconds for which the first ready message of a queue may have waited."""
    tasks = [queue for queue in traffic.queues if queue.kind == "tasks"]
    alive = [worker for worker in traffic.workers if worker.is_alive]
    yield from _workers(traffic.workers, alive, tasks)
    for host, ahead in sorted(traffic.clocks.items()):
        # What is told was written a moment before Redis had it.
        yield clock("workers.clock", f"workers on {host}", ahead, 1.0)
    yield from _unattended(tasks, alive)
    yield from _ages(traffic.queues, max_age)
    yield from _overdue(traffic)
    yield from _parked(traffic.parked)
    yield from _graves(traffic.queues)


def _workers(
    workers: Sequence[WorkerView], alive: Sequence[WorkerView], tasks: Sequence[QueueView]
) -> Iterator[Finding]:
    silent = [f"{worker.host}:{worker.pid}" for worker in workers if not worker.is_alive]
    waiting = sum(queue.ready + queue.scheduled for queue in tasks)
    if alive:
        yield ok("workers.alive", f"{len(alive)} worker processes are alive")
    elif waiting:
        yield problem(
            "workers.alive",
            f"no worker is alive, and {waiting:,} calls wait",
            "at least one",
            "start one: rpqueue worker --module YOUR.TASKS",
        )
    else:
        yield note("workers.alive", "no worker is alive, and nothing waits")
    if silent:
        yield warning(
            "workers.silent",
            f"{len(silent)} worker processes are not heard of any more: {some(silent)}",
            "a sign of life within WORKER_TTL",
            "they died with their machine, or cannot reach Redis; what they held is delivered again, or listed as lost",
        )


def _unattended(tasks: Sequence[QueueView], alive: Sequence[WorkerView]) -> Iterator[Finding]:
    if not alive or any(worker.queues is None for worker in alive):
        return
    attended = {name for worker in alive for name in worker.queues or ()}
    lonely = [queue.name for queue in tasks if queue.ready + queue.scheduled and queue.name not in attended]
    if lonely:
        yield warning(
            "queues.unattended",
            f"nobody works on {some(lonely)}, where calls wait",
            "a worker for each queue",
            "name them when you start a worker, or start one without names, which works on all",
        )


def _ages(queues: Sequence[QueueView], max_age: float) -> Iterator[Finding]:
    old = sorted((queue for queue in queues if queue.oldest_age > max_age), key=lambda queue: -queue.oldest_age)
    if old:
        shown = [f"{queue.name} ({queue.kind}, {queue.oldest_age:,.0f} s, {queue.ready:,} ready)" for queue in old]
        yield warning(
            "queues.age",
            f"what is next has waited for long: {some(shown)}",
            f"at most {max_age:g} s (--max-age)",
            "start more workers or consumers, or see what they are busy with",
        )
    elif queues:
        yield ok("queues.age", f"nothing that is ready has waited longer than {max_age:g} s")


def _overdue(traffic: Traffic) -> Iterator[Finding]:
    late: list[str] = []
    for (kind, name), census in traffic.censuses.items():
        firsts = [instant for instant in (census.first_due, census.first_expiry) if instant is not None]
        overdue = (census.now - min(firsts)) / 1000 if firsts else 0.0
        # Items are looked after by whoever gets some, which may be nobody for a while.
        if overdue > OVERDUE and kind == "tasks":
            late.append(f"{name} ({overdue:,.0f} s)")
    if late:
        yield warning(
            "queues.overdue",
            f"delayed calls that are due, or leases that have ended, lie there: {some(late)}",
            f"taken in hand within {OVERDUE:g} s",
            "only workers do that: see workers.alive and queues.unattended",
        )


def _parked(parked: dict[str, int]) -> Iterator[Finding]:
    if parked:
        shown = [f"{name} ({count:,})" for name, count in parked.items()]
        yield warning(
            "queues.parked",
            f"no worker knows these tasks: {some(shown)}",
            "workers that know every task that is called",
            "deploy workers that declare them, or rpqueue cancel them; they go on by themselves then",
        )


def _graves(queues: Sequence[QueueView]) -> Iterator[Finding]:
    dead, lost = (sum(getattr(queue, grave) for queue in queues) for grave in ("dead", "lost"))
    if lost:
        yield note(
            "queues.lost",
            f"{lost:,} calls that may run once only were with a worker that died",
            "",
            "look whether they ran: rpqueue ls --state lost; then rpqueue retry or redrive --state lost, or delete",
        )
    if dead:
        yield note(
            "queues.dead",
            f"{dead:,} messages were given up",
            "",
            "rpqueue ls --state dead; then rpqueue retry or redrive, or delete or purge",
        )
