"""What failovers and partitions cost: calls are enqueued all the while, and counted afterwards."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rpqueue import App
from rpqueue.errors import DurabilityNotConfirmed, RpqueueError
from tests.sentinel.deployment import SERVICE, Deployment
from tests.servers import Server, wait_until

#: Options by which a master stops to take writes when it has no replica in step.
MIN_REPLICAS = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1")
#: Seconds of calls before and after what is done to the master.
BEFORE, AFTER = 1.0, 1.0
#: Seconds for which a partition lasts after another master was made.
PARTED_FOR = 3.0


#: Something that makes another server the master.
Harm = Callable[[Deployment, Server], None]


class Result(NamedTuple):
    """What came of a trial."""

    answered: int  #: calls that Redis said it has; of durable ones, those that it confirmed
    lost: int  #: of these, calls that are not there in the end
    twice: int  #: calls that are there twice
    refused: int  #: calls that failed with an error
    outage: float  #: longest time, in seconds, in which no caller got an answer

    @property
    def told(self) -> str:
        return (
            f"{self.answered:,} calls answered, {self.lost} lost, {self.twice} twice, {self.refused} refused, "
            f"longest outage {self.outage:.2f} s"
        )


class Caller(threading.Thread):
    """Enqueues one call after the other."""

    def __init__(self, app: App, stopping: threading.Event) -> None:
        super().__init__(daemon=True)
        self.app, self.stopping = app, stopping
        self.answered: list[tuple[float, str]] = []
        self.refused = 0

    def run(self) -> None:
        task = self.app.get_task("noop")
        while not self.stopping.is_set():
            try:
                call = task.execute()
            except DurabilityNotConfirmed:
                self.refused += 1
            except RpqueueError:
                self.refused += 1
                time.sleep(0.02)
            else:
                self.answered.append((time.monotonic(), call.taskid))


def kill(deployment: Deployment, master: Server) -> None:
    """SIGKILL."""
    master.kill()
    deployment.until_promoted(master)


def freeze(deployment: Deployment, master: Server) -> None:
    """SIGSTOP until another is the master, and SIGCONT."""
    master.pause()
    deployment.until_promoted(master)
    master.resume()


def fail_over(deployment: Deployment, master: Server) -> None:
    """SENTINEL FAILOVER, which asks nobody to hold still."""
    deployment.sentinels[0].ask("FAILOVER", SERVICE)
    deployment.until_promoted(master)


def part(deployment: Deployment, master: Server) -> None:
    """Only clients reach the master, until another has been one for a while."""
    entrance = deployment.entrance_of(master)
    entrance.part()
    deployment.until_promoted(master)
    time.sleep(PARTED_FOR)
    entrance.join()


def trial(
    flavour: str,
    harm: Harm,
    *,
    durability: str | None = None,
    replicas: int = 1,
    options: tuple[str, ...] = (),
    is_blind: bool = False,
    callers: int = 3,
    down_after: float = 1.0,
) -> Result:
    """
    Do something to a master while calls are enqueued.

    Args:
        flavour: of the servers.
        harm: what is done, until another is the master.
        durability: of the calls.
        replicas: DURABILITY_REPLICAS.
        options: of the servers.
        is_blind: whether callers know the first master's address only, and no sentinel.
        callers: how many.
        down_after: of the sentinels.
    """
    with _deployed(flavour, options, down_after, partable=harm is part) as deployment:
        master, apps = deployment.master, []
        url = f"redis://127.0.0.1:{deployment.port_of(master)}/0" if is_blind else deployment.url
        stopping = threading.Event()
        for _ in range(callers):
            app = App(url, prefix="test")
            app.settings.durability = durability
            app.settings.durability_replicas = replicas
            app.task(name="noop")(lambda: None)
            apps.append(app)
        threads = [Caller(app, stopping) for app in apps]
        for thread in threads:
            thread.start()
        wait_until(lambda: all(len(one.answered) > 20 for one in threads), 20, "calls are answered")
        time.sleep(BEFORE)
        harm(deployment, master)
        time.sleep(AFTER)
        if not is_blind:
            healed_at = time.monotonic()
            wait_until(lambda: all(one.answered[-1][0] > healed_at for one in threads), 30, "calls are answered again")
        stopping.set()
        for thread in threads:
            thread.join(60)
        if master.is_running:
            deployment.until_whole(60)
        result = _count(deployment, apps[0], threads)
        for app in apps:
            app.broker.close()
        return result


@contextlib.contextmanager
def _deployed(flavour: str, options: tuple[str, ...], down_after: float, *, partable: bool) -> Iterator[Deployment]:
    with contextlib.closing(
        Deployment(flavour, options=options, down_after=down_after, partable=partable)
    ) as deployment:
        yield deployment


def _count(deployment: Deployment, app: App, threads: list[Caller]) -> Result:
    answers = sorted(answer for one in threads for answer in one.answered)
    instants = [at for at, _ in answers]
    keys = app.keys.tasks("default")
    with contextlib.closing(deployment.client()) as client:
        there = {message_id.decode() for message_id in client.hkeys(keys.messages)}
        ready = [message_id.decode() for message_id in client.lrange(keys.ready, 0, -1)]
    return Result(
        len(answers),
        len({taskid for _, taskid in answers} - there),
        len(ready) - len(set(ready)),
        sum(one.refused for one in threads),
        max(later - earlier for earlier, later in itertools.pairwise(instants)),
    )
