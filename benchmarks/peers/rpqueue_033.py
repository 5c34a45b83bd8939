"""rpqueue 0.33.7, as published. Its run module cannot import a dotted name, so the worker calls what that calls."""

from __future__ import annotations

import sys
from typing import Any

import rpqueue
from benchmarks import jobs
from benchmarks.peers.items import Items

rpqueue.set_redis_connection_settings(jobs.HOST, jobs.PORT)
rpqueue.LOG_LEVEL = "WARNING"

KEEP = 60 if jobs.RESULTS else 0
TASKS = {name: rpqueue.task(queue=b"bench", name=name, save_results=KEEP)(body) for name, body in jobs.PLAIN.items()}


class Adapter(Items):
    """See `peer.Peer`."""

    bulk = None

    def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return TASKS[job].execute(argument)

    def roundtrip(self, argument: Any) -> Any:
        """`wait` polls every 10 ms, and sometimes takes a task for done that is about to start."""
        enqueued = TASKS["echo"].execute(argument)
        while True:
            enqueued.wait(10)
            try:
                value = enqueued.result
            except ValueError:
                continue
            if value is not None:
                return value

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """Four threads drain fastest."""
        return [[sys.executable, "-m", __name__, str(processes), str(slots or 4)]]


if __name__ == "__main__":
    rpqueue.execute_tasks(
        [b"bench"], threads_per_process=int(sys.argv[2]), processes=int(sys.argv[1]), module=__spec__.name
    )
