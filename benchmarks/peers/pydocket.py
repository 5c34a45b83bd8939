"""pydocket, coroutines on Redis streams."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

from docket import Docket

from benchmarks import jobs

#: A docket finds its tasks by the names of their functions.
tasks = list(jobs.ASYNC.values())


class Adapter:
    """See `peer.Peer`."""

    async def open(self) -> None:
        """Connect, for as long as this process lives."""
        keep = timedelta(seconds=60 if jobs.RESULTS else 0)
        self.docket = await Docket("bench", jobs.URL, execution_ttl=keep).__aenter__()
        for task in tasks:
            self.docket.register(task)

    async def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return await self.docket.add(jobs.ASYNC[job])(argument)

    async def bulk(self, job: str, arguments: Any) -> None:
        """Calls, in one pipeline."""
        call = self.docket.call
        await self.docket.add_many([call(jobs.ASYNC[job])(argument) for argument in arguments])

    async def roundtrip(self, argument: Any) -> Any:
        """It listens for the end."""
        execution = await self.docket.add(jobs.echo_async)(argument)
        return await execution.get_result(timeout=timedelta(seconds=10))

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """Its pool has too few connections for many more."""
        command = [sys.executable, "-m", "docket", "worker", "--tasks", f"{__name__}:tasks", "--docket", "bench"]
        command += ["--url", jobs.URL, "--concurrency", str(slots or 30), "--logging-level", "WARNING"]
        return [command for _ in range(processes)]
