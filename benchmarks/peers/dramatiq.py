"""Dramatiq with its Redis broker."""

from __future__ import annotations

import sys
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks import jobs

broker = RedisBroker(url=jobs.URL)
if jobs.RESULTS:
    broker.add_middleware(Results(backend=RedisBackend(url=jobs.URL)))
dramatiq.set_broker(broker)
OPTIONS = {"store_results": True} if jobs.RESULTS else {}
ACTORS = {
    name: dramatiq.actor(body, actor_name=name, queue_name="bench", **OPTIONS) for name, body in jobs.PLAIN.items()
}


class Adapter:
    """See `peer.Peer`."""

    bulk = None

    def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return ACTORS[job].send(argument)

    def roundtrip(self, argument: Any) -> Any:
        """Its backend blocks on the result."""
        return ACTORS["echo"].send(argument).get_result(block=True, timeout=10_000)

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """Eight threads are its default."""
        command = [sys.executable, "-m", "dramatiq", __name__, "--skip-logging"]
        return [[*command, "--processes", str(processes), "--threads", str(slots or 8)]]
