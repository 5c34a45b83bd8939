"""The master dies, stands still or is demoted: calls wait for the next one, and nothing stays with the old one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rpqueue import App, aio
from rpqueue.addresses import Endpoint
from rpqueue.tasks import Task
from tests.sentinel.deployment import SERVICE, Deployment, SentinelProcess, quick_client
from tests.servers import Server, wait_until
from tests.worker.harness import Bench
from tests.worker.load import load, progress, runs

#: Seconds after which calls are answered again once most sentinels name another master: on a busy machine, and far
#: below those for which a call waits for an answer.
SOON_AFTER = 2.0


@pytest.fixture
def app_at() -> Iterator[Callable[[str], App]]:
    """`app_at(url)`: an App whose connections are closed at the end."""
    with contextlib.ExitStack() as stack:

        def make(url: str) -> App:
            app = App(url, prefix="test")
            stack.callback(app.broker.close)
            return app

        yield make


def task_of(app: App) -> Task[..., Any]:
    @app.task(name="noop")
    def noop(number: int = 0) -> None:
        pass

    return noop


def ids_in(app: App, server: Server) -> set[str]:
    with contextlib.closing(server.client(decode_responses=True)) as client:
        return {one for queue in ("default", "other") for one in client.hkeys(app.task_keys(queue).messages)}


def piped(app: App, task: Task[..., Any]) -> list[Any]:
    """Two calls in one transaction."""
    with app.pipeline():
        return [task.execute(), task.execute(_queue="other")]


class Calls(threading.Thread):
    """Enqueues one call after the other until told to stop."""

    def __init__(self, task: Task[..., Any], name: str) -> None:
        super().__init__()
        self.task, self.name_of_ids = task, name
        self.stopping = threading.Event()
        self.answered: list[tuple[float, str]] = []  #: when, and the id
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                taskid = f"{self.name_of_ids} {len(self.answered)}"
                self.task.execute(taskid=taskid)
                self.answered.append((time.monotonic(), taskid))
        except Exception as error:
            self.error = error

    def last_before(self, instant: float) -> str:
        """The id that was answered last before *instant*, or just then."""
        return max((at, taskid) for at, taskid in self.answered if at < instant + 0.2)[1]

    def back_at(self, instant: float) -> float:
        """When the first answer came that was later than *instant*."""
        return min(at for at, _ in self.answered if at > instant + 0.2)


@contextlib.contextmanager
def calling(task: Task[..., Any], threads: int = 3) -> Iterator[list[Calls]]:
    all_of_them = [Calls(task, f"caller-{number}") for number in range(threads)]
    for one in all_of_them:
        one.start()
    try:
        wait_until(lambda: all(len(one.answered) > 20 for one in all_of_them), 10, "calls are answered")
        yield all_of_them
    finally:
        for one in all_of_them:
            one.stopping.set()
        for one in all_of_them:
            one.join(60)


@pytest.mark.parametrize("deployment", ["redis62", "valkey"], indirect=True)
@pytest.mark.parametrize("fate", ["kill", "pause"])
def test_calls_wait_for_the_next_master_and_none_is_lost_that_had_time_to_be_copied(
    deployment: Deployment, app_at: Callable[[str], App], fate: str
) -> None:
    app, old = app_at(deployment.url), deployment.master
    with calling(task_of(app)) as callers:
        getattr(old, fate)()
        struck_at = time.monotonic()
        promoted_at = deployment.until_promoted(old)
        wait_until(lambda: all(one.answered[-1][0] > struck_at + deployment.down_after for one in callers), 10)
    assert [one.error for one in callers] == [None] * len(callers)
    assert max(one.back_at(struck_at) for one in callers) < promoted_at + SOON_AFTER
    sent = {taskid for one in callers for _, taskid in one.answered}
    lost = sent - ids_in(app, deployment.master)
    # Redis tells its client before its replicas, and may have died in between.
    assert lost <= {one.last_before(struck_at) for one in callers}
    if fate == "pause":
        old.resume()  # it takes itself for the master for a while
        late = task_of(app).execute()
        assert late.taskid in ids_in(app, deployment.master)
        assert late.taskid not in ids_in(app, old)


def test_whoever_waits_goes_on_waiting_at_the_next_master(deployment: Deployment, app_at: Callable[[str], App]) -> None:
    app, old, got = app_at(deployment.url), deployment.master, []
    task = app.task(name="awaited", save_results=60)(lambda: None)
    call = task.execute()

    def get_item() -> None:
        got.append(next(iter(app.Data("box").get_data(get_timeout=30).values())))

    threads = [threading.Thread(target=get_item), threading.Thread(target=lambda: got.append(call.cancel()))]
    waiting = threading.Thread(target=lambda: got.append(call.wait(30)))
    for thread in (threads[0], waiting):
        thread.start()
    time.sleep(0.5)
    old.pause()
    deployment.until_promoted(old)
    threads[1].start()
    app.Data("box").put_data(["item"])
    for thread in (*threads, waiting):
        thread.join(20)
    assert sorted(map(str, got)) == ["True", "True", "item"]


def test_coroutines_wait_for_the_next_master_too(deployment: Deployment, app_at: Callable[[str], App]) -> None:
    app, old = app_at(deployment.url), deployment.master
    task, face = task_of(app), aio.of(app)

    async def main() -> set[str]:
        sent: set[str] = set()
        stopping = asyncio.Event()

        async def calls() -> None:
            while not stopping.is_set():
                sent.add((await face.execute(task)).taskid)

        getting = asyncio.create_task(face.Data("box").get_data(get_timeout=40))
        callers = [asyncio.create_task(calls()) for _ in range(5)]
        await asyncio.sleep(0.5)
        old.pause()
        struck_at = time.monotonic()
        before = set(sent)
        promoted_at = await asyncio.to_thread(deployment.until_promoted, old)
        while len(sent) < len(before) + 20:
            assert time.monotonic() < promoted_at + SOON_AFTER, time.monotonic() - struck_at
            await asyncio.sleep(0.01)
        stopping.set()
        await asyncio.gather(*callers)
        await face.Data("box").put_data([1])
        assert list((await getting).values()) == [1]
        return sent - before

    assert asyncio.run(main()) <= ids_in(app, deployment.master)


def test_workers_go_on_with_the_next_master(
    deployment: Deployment, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    bench, old = Bench(start_server(), tmp_path, url=deployment.url), deployment.master
    try:
        bench.task("count", "again", vis_timeout=60, attempts=9, retry_delay=0)
        worker = bench.start(processes=2, threads=2)
        pids = worker.children(2)
        with load(bench, "again") as threads:
            progress(bench, threads, 50)
            old.pause()
            promoted_at = deployment.until_promoted(old)
            ran = len(runs(bench))
            wait_until(lambda: len(runs(bench)) > ran, 20, "workers go on")
            assert time.monotonic() < promoted_at + SOON_AFTER
            old.resume()  # it takes itself for the master for some seconds
            progress(bench, threads, 50)
        bench.until_empty(timeout=60)
        assert set(runs(bench)) <= set(threads[0].sent)
        # What it had answered in the moment in which it froze, and not copied yet.
        assert len(set(threads[0].sent) - set(runs(bench))) <= 3
        assert worker.children(2) == pids
    finally:
        bench.close()


@pytest.fixture
def watched_pair(
    start_server: Callable[..., Server], request: pytest.FixtureRequest
) -> Iterator[tuple[Server, Server, SentinelProcess]]:
    """Two servers that know nothing of each other, and one sentinel, which names the first as the master."""
    first, second = start_server(request.param), start_server(request.param)
    sentinel = SentinelProcess(first.flavour, first.port, quorum=1, down_after=60)
    yield first, second, sentinel
    sentinel.close()


FLAVOURS = pytest.mark.parametrize("watched_pair", ["redis62", "redis", "valkey"], indirect=True)


def name_as_master(sentinel: SentinelProcess, server: Server) -> None:
    with contextlib.closing(quick_client(sentinel.port)) as client:
        pipe = client.pipeline(transaction=False)  # in one write: nobody asks in between
        pipe.execute_command("SENTINEL", "REMOVE", SERVICE)
        pipe.execute_command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", server.port, 1)
        pipe.execute()


@FLAVOURS
@pytest.mark.parametrize("face", ["blocking", "awaited", "together"])
def test_a_master_that_was_demoted_is_left_though_its_connections_live(
    watched_pair: tuple[Server, Server, SentinelProcess], app_at: Callable[[str], App], face: str
) -> None:
    first, second, sentinel = watched_pair
    app = app_at(f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}")
    task = task_of(app)
    calls = {
        "blocking": lambda: [task.execute()],
        "together": lambda: piped(app, task),
        "awaited": lambda: [asyncio.run(aio.of(app).execute(task))],
    }
    assert calls[face]()[0].taskid in ids_in(app, first)
    first.client().replicaof("127.0.0.1", str(second.port))
    wait_until(lambda: not ids_in(app, first), 10, "the first one follows")
    told = threading.Timer(1.0, name_as_master, (sentinel, second))
    told.start()
    made = calls[face]()  # the connection says READONLY, and for a second the sentinel names this master still
    told.join()
    assert {call.taskid for call in made} <= ids_in(app, second)


@FLAVOURS
def test_connections_to_a_master_that_was_given_up_are_cut_whoever_waits_on_them(
    watched_pair: tuple[Server, Server, SentinelProcess], app_at: Callable[[str], App]
) -> None:
    first, second, sentinel = watched_pair
    app = app_at(f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}")
    task = task_of(app)
    task.execute()
    first.pause()
    made: list[Any] = []
    caller = threading.Thread(target=lambda: made.append(task.execute()))
    caller.start()
    time.sleep(0.3)
    assert not made
    named_at = time.monotonic()
    name_as_master(sentinel, second)
    caller.join(20)
    assert time.monotonic() - named_at < 10  # while a call may wait for its answer for thirty seconds
    assert made[0].taskid in ids_in(app, second)


def test_a_forked_child_looks_for_the_master_itself_and_leaves_its_parents_connections_alone(
    start_server: Callable[..., Server], app_at: Callable[[str], App]
) -> None:
    first, second = start_server(), start_server()
    sentinel = SentinelProcess(first.flavour, first.port, quorum=1, down_after=60)
    try:
        app = app_at(f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}")
        task = task_of(app)
        task.execute()
        before = {one["id"] for one in first.client().client_list(_type="normal")}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 says that there are threads
            pid = os.fork()
        if pid == 0:
            try:
                task.execute(taskid="of the child")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert "of the child" in ids_in(app, first)
        assert before <= {one["id"] for one in first.client().client_list(_type="normal")}
        assert second.port != first.port
    finally:
        sentinel.close()


def test_endpoints_show_where_the_sentinels_are_and_no_password() -> None:
    endpoint = Endpoint(url="redis+sentinel://:hush@one:1,two:2/main?sentinel_password=shh")
    assert endpoint.label == "redis+sentinel://one:1,two:2/main"
