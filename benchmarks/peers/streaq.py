"""streaq, on Redis streams."""

from __future__ import annotations

import sys
from typing import Any

from streaq import Worker

from benchmarks import jobs

KEEP = 60 if jobs.RESULTS else 0
worker = Worker(redis_url=jobs.URL, queue_name="bench", concurrency=jobs.SLOTS or 64)
TASKS = {name: worker.task(name=name, ttl=KEEP, silent=True)(body) for name, body in jobs.ASYNC.items()}


class Adapter:
    """See `peer.Peer`."""

    async def open(self) -> None:
        """Connect, for as long as this process lives."""
        await worker.__aenter__()

    async def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return await TASKS[job].enqueue(argument)

    async def bulk(self, job: str, arguments: Any) -> None:
        """Tasks that are not awaited, in one pipeline."""
        await worker.enqueue_many([TASKS[job].enqueue(argument) for argument in arguments])

    async def roundtrip(self, argument: Any) -> Any:
        """Wait for the result."""
        task = await TASKS["echo"].enqueue(argument)
        return (await task.result(timeout=10)).result

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """Concurrency is said in code."""
        return [[sys.executable, "-m", "streaq", "run", f"{__name__}:worker", "--workers", str(processes)]]
