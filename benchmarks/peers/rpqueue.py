"""
rpqueue itself, from this checkout.

What only it is asked for stands here too: depths, many queues, priorities, payloads, and the bare loops against Redis
that its figures are held against.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import redis

import rpqueue
from benchmarks import bare, jobs
from benchmarks.peers.items import Items

rpqueue.set_redis_connection_settings(jobs.HOST, jobs.PORT)

KEEP = 60 if jobs.RESULTS else 0
TASKS = {name: rpqueue.task(queue="bench", name=name, save_results=KEEP)(body) for name, body in jobs.PLAIN.items()}
TASKS["noop_leased"] = rpqueue.task(queue="bench", name="noop_leased", vis_timeout=30, attempts=3)(jobs.noop)
TASKS["noop_saved"] = rpqueue.task(queue="bench", name="noop_saved", save_results=60)(jobs.noop)


class Adapter(Items):
    """See `peer.Peer`."""

    def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return TASKS[job].execute(argument)

    def bulk(self, job: str, arguments: Sequence[Any]) -> None:
        """In one trip."""
        TASKS[job].execute_many([(argument,) for argument in arguments])

    def roundtrip(self, argument: Any) -> Any:
        """Wait for the result."""
        return TASKS["echo"].execute(argument).get(timeout=10)

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """One thread drains fastest."""
        command = [sys.executable, "-m", "rpqueue.run", "--host", jobs.HOST, "--port", str(jobs.PORT)]
        command += ["--module", __name__, "--loglevel", "warning"]
        return [[*command, "--processes", str(processes), "--threads", str(slots or 1)]]

    # What is only asked of rpqueue.

    def stock(
        self, number: int, job: str = "noop", argument: Any = None, queue: str = "bench", delay: float = 0
    ) -> None:
        """Have calls waiting in a queue, a thousand in one trip."""
        for first in range(0, number, 1000):
            some = range(first, min(first + 1000, number))
            calls = [(value if argument is None else argument,) for value in some]
            TASKS[job].execute_many(calls, delay=delay, _queue=queue)

    def lease(self, number: int) -> None:
        """Lease calls that are waiting, for longer than this takes."""
        view = rpqueue.Data("bench", is_tasks=True)
        while number > 0:
            number -= len(view.get_data(items=min(number, 1000), vis_timeout=86_400))

    def claim(self, rounds: int) -> float:
        """Claim and ack a hundred messages, again and again; returns seconds."""
        view = rpqueue.Data("bench", is_tasks=True)
        started = time.perf_counter()
        for _ in range(rounds):
            view.done_data(view.get_data(items=100, vis_timeout=60))
        return time.perf_counter() - started

    def prioritize(self, queue: str, priority: float) -> None:
        """Lower goes first."""
        rpqueue.set_priority(queue, priority)

    def arrivals(self, number: int, queue: str, pause: float) -> None:
        """Submit stamps into a queue from time to time."""
        for _ in range(number):
            TASKS["stamp"].execute(time.monotonic(), _queue=queue)
            time.sleep(pause)

    def neighbours(self, seconds: float, number: int) -> None:
        """One long task and, behind it, many that are stamped with this instant."""
        TASKS["nap"].execute(seconds)
        for _ in range(number):
            TASKS["stamp"].execute(time.monotonic())

    def known_queues(self, number: int) -> None:
        """Give so many queues one call each."""
        for n in range(number):
            TASKS["noop"].execute(n, _queue=f"known-{n}")

    def put_large(self, number: int, size: int) -> float:
        """Enqueue calls with payloads of *size* bytes; returns seconds."""
        payload, execute = "x" * size, TASKS["noop"].execute
        execute(payload)
        started = time.perf_counter()
        for _ in range(number):
            execute(payload)
        return time.perf_counter() - started

    def large_items(self, number: int, size: int) -> float:
        """Put, get and finish items of *size* bytes, ten at a time; returns seconds."""
        queue, items = self._queue(), ["x" * size] * 10
        started = time.perf_counter()
        for _ in range(number // 10):
            queue.put_data(items)
            queue.done_data(queue.get_data(items=10))
        return time.perf_counter() - started

    # Bare Redis, through the same client library.

    def bare(self, what: str, number: int, **options: int) -> float:
        """Seconds of one of the loops of `bare`."""
        seconds: float = getattr(bare, what)(redis.Redis(jobs.HOST, jobs.PORT), number, **options)
        return seconds
