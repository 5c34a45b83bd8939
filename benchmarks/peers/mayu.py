"""mayu, whose workers fetch and acknowledge in Rust."""

from __future__ import annotations

import sys
from typing import Any

from mayu import App

from benchmarks import jobs

app = App(broker=jobs.URL, result_ttl=60 if jobs.RESULTS else None)
TASKS = {name: app.task(body, name=name) for name, body in jobs.PLAIN.items()}


class Adapter:
    """See `peer.Peer`."""

    bulk = None

    def submit(self, job: str, argument: Any) -> Any:
        """One call."""
        return TASKS[job].send(argument)

    def roundtrip(self, argument: Any) -> Any:
        """Wait for the result."""
        return TASKS["echo"].send(argument).result(timeout=10)

    def worker(self, processes: int, slots: int) -> list[list[str]]:
        """
        Process mode on Pythons with a GIL, as it chooses by itself: one task at a time in each process.

        A prefetch-multiplier above its default of 2 trades fairness between workers for speed.
        """
        command = [sys.executable, "-m", "mayu", "worker", f"{__name__}:app", "--log-level", "WARNING"]
        command += ["--mode", "process", "--processes", str(processes * max(slots, 1))]
        return [command if slots else [*command, "--prefetch-multiplier", "64"]]
