"""RQ with its SimpleWorker, which does not fork for every job."""

from __future__ import annotations

import sys
from typing import Any

from redis import Redis
from rq import Queue, SimpleWorker

from benchmarks import jobs

KEEP = 60 if jobs.RESULTS else 0


class Adapter:
    """See `peer.Peer`."""

    def __init__(self) -> None:
        self.queue = Queue("bench", connection=Redis(jobs.HOST, jobs.PORT))

    def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return self.queue.enqueue(jobs.PLAIN[job], argument, result_ttl=KEEP)

    def bulk(self, job: str, arguments: Any) -> None:
        """Prepared data, one pipeline."""
        prepare, function = self.queue.prepare_data, jobs.PLAIN[job]
        self.queue.enqueue_many([prepare(function, [argument], result_ttl=KEEP) for argument in arguments])

    def roundtrip(self, argument: Any) -> Any:
        """Its results arrive in a stream that can be waited for."""
        return self.submit("echo", argument).latest_result(timeout=10).return_value

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """One job at a time in each process is all there is."""
        return [[sys.executable, "-m", __name__] for _ in range(processes * max(slots, 1))]


if __name__ == "__main__":
    SimpleWorker(["bench"], connection=Redis(jobs.HOST, jobs.PORT)).work(logging_level="WARNING")
