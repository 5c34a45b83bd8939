"""Spinach, threads on Redis lists."""

from __future__ import annotations

import logging
import sys
from typing import Any

from redis import StrictRedis
from spinach import Batch, Engine, RedisBroker, Tasks

from benchmarks import jobs

tasks = Tasks()
for name, body in jobs.PLAIN.items():
    tasks.add(body, name=name, max_retries=3)
engine = Engine(RedisBroker(StrictRedis(jobs.HOST, jobs.PORT)), namespace="bench")
engine.attach_tasks(tasks)


class Adapter:
    """See `peer.Peer`."""

    roundtrip = None  # it keeps no results

    def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return engine.schedule(job, argument)

    def bulk(self, job: str, arguments: Any) -> None:
        """One batch."""
        batch = Batch()
        for argument in arguments:
            batch.schedule(job, argument)
        engine.schedule_batch(batch)

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """Fifty threads keep its one fetcher busy."""
        return [[sys.executable, "-m", __name__, str(slots or 50)] for _ in range(processes)]


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    engine.start_workers(number=int(sys.argv[1]))
