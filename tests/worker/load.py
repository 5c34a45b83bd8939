"""Calls that come all the time, and a count of what ran."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

from rpqueue.errors import RedisError
from tests.servers import wait_until
from tests.worker.harness import Bench


class Load(threading.Thread):
    """Enqueues calls under known ids until told to stop; each is sent until Redis says that it has it."""

    def __init__(self, bench: Bench, name: str) -> None:
        super().__init__()
        self.bench, self.task_name = bench, name
        self.stopping = threading.Event()
        self.sent: list[str] = []

    def run(self) -> None:
        task = self.bench.app.get_task(self.task_name)
        number = 0
        while not self.stopping.is_set():
            label = f"{self.task_name} {number}"
            while True:
                try:
                    task.execute(label, taskid=label)
                    break
                except RedisError:
                    self.stopping.wait(0.02)
            self.sent.append(label)
            number += 1


@contextlib.contextmanager
def load(bench: Bench, *names: str) -> Iterator[list[Load]]:
    threads = [Load(bench, name) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.stopping.set()
        for thread in threads:
            thread.join(60)


def runs(bench: Bench) -> Counter[str]:
    """How often each call ran, by label."""
    return Counter({label.decode(): int(number) for label, number in bench.client.hgetall("test-counts").items()})


def progress(bench: Bench, threads: list[Load], number: int) -> None:
    """Wait until that many more were sent, and that many more ran."""
    sent, ran = sum(len(thread.sent) for thread in threads), len(runs(bench))
    wait_until(lambda: sum(len(thread.sent) for thread in threads) >= sent + number, 60, "more is sent")
    wait_until(lambda: len(runs(bench)) >= ran + number, 60, "more runs")


def buried(bench: Bench) -> set[str]:
    return {*bench.ids("failed"), *bench.ids("lost"), *bench.ids("dead")}
