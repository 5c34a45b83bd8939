"""Celery with its Redis transport."""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery

from benchmarks import jobs

app = Celery("bench", broker=jobs.URL, backend=jobs.URL if jobs.RESULTS else None)
app.conf.update(
    task_ignore_result=not jobs.RESULTS,
    task_default_queue="bench",
    worker_prefetch_multiplier=64,
    broker_connection_retry_on_startup=True,
)
TASKS = {name: app.task(name=name)(body) for name, body in jobs.PLAIN.items()}


class Adapter:
    """See `peer.Peer`."""

    bulk = None

    def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return TASKS[job].delay(argument)

    def roundtrip(self, argument: Any) -> Any:
        """Its Redis backend is told over a subscription."""
        return TASKS["echo"].delay(argument).get(timeout=10)

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """Without gossip, mingling and heartbeats between workers; the solo pool for one task at a time."""
        command = [sys.executable, "-m", "celery", "--app", f"{__name__}:app", "worker", "--loglevel", "WARNING"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        if processes > 1:
            return [[*command, "--pool", "prefork", "--concurrency", str(processes)]]
        if slots > 1:
            return [[*command, "--pool", "threads", "--concurrency", str(slots)]]
        return [[*command, "--pool", "solo"]]
