"""Huey: RedisHuey, which blocks on its list, and thread workers."""

from __future__ import annotations

import sys
from typing import Any

from huey import RedisHuey

from benchmarks import jobs

huey = RedisHuey("bench", host=jobs.HOST, port=jobs.PORT, results=jobs.RESULTS)
TASKS = {name: huey.task(name=name)(body) for name, body in jobs.PLAIN.items()}


class Adapter:
    """See `peer.Peer`."""

    bulk = None

    def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return TASKS[job](argument)

    def roundtrip(self, argument: Any) -> Any:
        """A blocking get, at its quickest polling."""
        return TASKS["echo"](argument).get(blocking=True, timeout=10, backoff=1, max_delay=0.001)

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """Four threads drain fastest; without the scheduler for periodic tasks and without log lines per task."""
        command = [sys.executable, "-m", "huey.bin.huey_consumer", f"{__name__}.huey"]
        return [[*command, "-k", "thread", "-w", str(slots or 4), "-n", "-q"] for _ in range(processes)]
