"""SAQ, coroutines on Redis."""

from __future__ import annotations

import sys
from typing import Any

from saq import Queue

from benchmarks import jobs

#: Seconds that a job's record is kept; -1: not at all.
KEEP = 60 if jobs.RESULTS else -1


def _task(name: str) -> Any:
    body = jobs.ASYNC[name]

    async def run(context: Any, *, argument: Any) -> Any:
        return await body(argument)

    return name, run


queue = Queue.from_url(jobs.URL, name="bench")
settings = {"queue": queue, "functions": [_task(name) for name in jobs.ASYNC], "concurrency": jobs.SLOTS or 100}


class Adapter:
    """See `peer.Peer`."""

    bulk = None

    async def open(self) -> None:
        """Connect."""
        await queue.connect()

    async def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return await queue.enqueue(job, argument=argument, ttl=KEEP)

    async def roundtrip(self, argument: Any) -> Any:
        """It listens for the job's end."""
        job = await queue.enqueue("echo", argument=argument, ttl=KEEP)
        await job.refresh(until_complete=10)
        return job.result

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """Concurrency is said in the settings."""
        return [[sys.executable, "-m", "saq", f"{__name__}.settings", "--workers", str(processes), "--quiet"]]
