"""arq, whose workers poll."""

from __future__ import annotations

import sys
from typing import Any

from arq import create_pool, func
from arq.connections import RedisSettings

from benchmarks import jobs

KEEP = 60 if jobs.RESULTS else 0


def _task(name: str) -> Any:
    body = jobs.ASYNC[name]

    async def run(context: Any, argument: Any) -> Any:
        return await body(argument)

    return func(run, name=name, keep_result=KEEP)


class WorkerSettings:
    """Read by ``arq``: a hundred at a time, polled for every 50 ms."""

    functions = tuple(_task(name) for name in jobs.ASYNC)
    redis_settings = RedisSettings(jobs.HOST, jobs.PORT)
    max_jobs = jobs.SLOTS or 100
    poll_delay = 0.05


class Adapter:
    """See `peer.Peer`."""

    bulk = None

    async def open(self) -> None:
        """Connect."""
        self.pool = await create_pool(RedisSettings(jobs.HOST, jobs.PORT))

    async def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return await self.pool.enqueue_job(job, argument)

    async def roundtrip(self, argument: Any) -> Any:
        """Results are polled for, too."""
        job = await self.pool.enqueue_job("echo", argument)
        return await job.result(timeout=10, poll_delay=0.002)

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """The rest is said in WorkerSettings."""
        return [[sys.executable, "-m", "arq", f"{__name__}.WorkerSettings"] for _ in range(processes)]
