"""taskiq with the list broker of taskiq-redis, its fastest."""

from __future__ import annotations

import sys
from typing import Any

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from benchmarks import jobs

broker = ListQueueBroker(jobs.URL, queue_name="bench")
if jobs.RESULTS:
    broker = broker.with_result_backend(RedisAsyncResultBackend(jobs.URL, result_ex_time=60))
TASKS = {name: broker.task(task_name=name)(body) for name, body in jobs.ASYNC.items()}


class Adapter:
    """See `peer.Peer`."""

    bulk = None

    async def open(self) -> None:
        """Connect."""
        await broker.startup()

    async def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return await TASKS[job].kiq(argument)

    async def roundtrip(self, argument: Any) -> Any:
        """Results are polled for."""
        task = await TASKS["echo"].kiq(argument)
        return (await task.wait_result(check_interval=0.002, timeout=10)).return_value

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """A hundred at a time is its default."""
        command = [sys.executable, "-m", "taskiq", "worker", f"{__name__}:broker", "--log-level", "WARNING"]
        return [[*command, "--workers", str(processes), "--max-async-tasks", str(slots or 100)]]
