"""ardiq, whose worker loop runs in Rust on Redis streams; tasks are coroutines."""

from __future__ import annotations

import sys
from typing import Any

from ardiq import Ardiq

from benchmarks import jobs

app = Ardiq(
    redis_url=jobs.URL,
    queue_name="bench",
    concurrency=jobs.SLOTS or 128,
    result_ttl_ms=60_000 if jobs.RESULTS else 0,
)
TASKS = {name: app.task(name=name)(body) for name, body in jobs.ASYNC.items()}


class Adapter:
    """See `peer.Peer`."""

    async def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return await TASKS[job].enqueue(argument)

    async def bulk(self, job: str, arguments: Any) -> None:
        """Prepared calls, one trip."""
        prepare = TASKS[job].prepare
        await app.enqueue_many([prepare(argument) for argument in arguments])

    async def roundtrip(self, argument: Any) -> Any:
        """Wait for the result."""
        job = await TASKS["echo"].enqueue(argument)
        return (await job.result(timeout=10)).value

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """Concurrency is said in code."""
        return [[sys.executable, "-m", "ardiq", "run", f"{__name__}:app", "--quiet", "--workers", str(processes)]]
