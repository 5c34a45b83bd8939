"""TaskTiger with its synchronous executor, which does not fork for every task."""

from __future__ import annotations

import sys
from typing import Any

from redis import Redis
from tasktiger import TaskTiger
from tasktiger.executor import SyncExecutor

from benchmarks import jobs

tiger = TaskTiger(connection=Redis(jobs.HOST, jobs.PORT, decode_responses=True), setup_structlog=True)


class Adapter:
    """See `peer.Peer`."""

    bulk = None
    roundtrip = None  # it keeps no results

    def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return tiger.delay(jobs.PLAIN[job], args=[argument], queue="bench")

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """One task at a time in each process is all there is."""
        return [[sys.executable, "-m", __name__] for _ in range(processes * max(slots, 1))]


if __name__ == "__main__":
    tiger.run_worker(queues="bench", executor_class=SyncExecutor)
