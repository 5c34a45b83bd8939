"""BullMQ for Python, with the Lua scripts of the one for Node."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

from bullmq import Queue, Worker

from benchmarks import jobs

OPTIONS = {"removeOnComplete": True}


class Adapter:
    """See `peer.Peer`."""

    roundtrip = None  # waiting for a result is there in Node only

    async def open(self) -> None:
        """Connect."""
        self.queue = Queue("bench", {"connection": jobs.URL})

    async def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return await self.queue.add(job, {"argument": argument}, OPTIONS)

    async def bulk(self, job: str, arguments: Any) -> None:
        """One trip."""
        await self.queue.addBulk(
            [{"name": job, "data": {"argument": argument}, "opts": OPTIONS} for argument in arguments]
        )

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """Concurrency is said in code."""
        return [[sys.executable, "-m", __name__] for _ in range(processes)]


async def main() -> None:
    """Run jobs until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def process(job: Any, token: str) -> Any:
        return await jobs.ASYNC[job.name](job.data["argument"])

    worker = Worker("bench", process, {"connection": jobs.URL, "concurrency": jobs.SLOTS or 50})
    await stop.wait()
    await worker.close()


if __name__ == "__main__":
    asyncio.run(main())
