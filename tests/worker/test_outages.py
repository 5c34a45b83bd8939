"""Redis goes away, comes back, forgets scripts, drops connections: nothing is lost, and workers go on by themselves."""

from __future__ import annotations

import contextlib
import threading

import pytest
import redis

from tests.servers import wait_until
from tests.worker.harness import SOON, Bench
from tests.worker.load import buried, load, progress, runs


def test_after_a_restart_of_redis_everything_is_there_and_workers_go_on_by_themselves(own_bench: Bench) -> None:
    own_bench.task("count", "again", vis_timeout=60, attempts=9, retry_delay=0)
    worker = own_bench.start(processes=2, threads=2)
    pids = worker.children(2)
    with load(own_bench, "again") as threads:
        for _ in range(2):
            progress(own_bench, threads, 50)
            own_bench.server.restart()
        progress(own_bench, threads, 50)
    own_bench.until_empty(timeout=60)
    counts = runs(own_bench)
    assert set(counts) == set(threads[0].sent)
    # What ran while Redis went away has run; its note may not have got through, or its ack.
    assert worker.children(2) == pids
    assert not own_bench.ids("dead")
    assert not own_bench.ids("failed")


def test_after_a_crash_of_redis_nothing_that_it_had_confirmed_is_missing(own_bench: Bench) -> None:
    own_bench.task("count", "again", vis_timeout=60, attempts=9, retry_delay=0)
    own_bench.start()
    with load(own_bench, "again") as threads:
        progress(own_bench, threads, 50)
        own_bench.server.kill()
        own_bench.server.start()
        progress(own_bench, threads, 50)
    own_bench.until_empty(timeout=60)
    assert set(runs(own_bench)) == set(threads[0].sent)


def test_redis_may_stand_still_for_three_seconds(own_bench: Bench) -> None:
    echo = own_bench.task("echo", save_results=60)
    worker = own_bench.start()
    pid = worker.child()
    assert echo.execute(1).get(SOON) == 1
    own_bench.server.pause()
    resume = threading.Timer(3.0, own_bench.server.resume)
    resume.start()
    try:
        assert echo.execute(2).get(SOON) == 2
    finally:
        resume.join()
    assert worker.child() == pid
    assert own_bench.stats() == {"seen": 2, "claimed": 2, "done": 2}


def test_lost_scripts_and_connections_lose_and_double_nothing(own_bench: Bench) -> None:
    own_bench.task("count", "again", vis_timeout=60, attempts=9, retry_delay=0)
    own_bench.task("count", "once")
    own_bench.start(processes=2, threads=2)
    with load(own_bench, "again", "once") as threads:
        for _ in range(15):
            progress(own_bench, threads, 20)
            with contextlib.closing(redis.Redis(port=own_bench.server.port)) as client:
                client.script_flush()
                client.client_kill_filter(_type="normal", skipme=True)
    own_bench.until_empty(timeout=60)
    counts, sent = runs(own_bench), [label for thread in threads for label in thread.sent]
    # The jobs' own client loses its connection, too, and its task fails then.
    assert set(counts) | buried(own_bench) == set(sent)
    assert {label for label in sent if label.startswith("once") and counts[label] > 1} == set()
    assert own_bench.stats()["done"] + len(buried(own_bench)) == len(sent)
    assert own_bench.stats()["seen"] == len(sent)


@pytest.mark.stress
def test_connections_that_break_all_the_time_make_no_process_give_up(own_bench: Bench) -> None:
    own_bench.task("count", "again", vis_timeout=60, attempts=99, retry_delay=0)
    worker = own_bench.start(processes=2, threads=2, poison_crashes=0)
    pids = worker.children(2)
    with load(own_bench, "again") as threads:
        for _ in range(100):
            sent = len(threads[0].sent)
            wait_until(lambda sent=sent: len(threads[0].sent) > sent, 60)
            with contextlib.closing(redis.Redis(port=own_bench.server.port)) as client:
                client.client_kill_filter(_type="normal", skipme=True)
    own_bench.until_empty(timeout=60)
    assert set(runs(own_bench)) == set(threads[0].sent)
    assert worker.children(2) == pids


def test_a_worker_that_starts_before_redis_waits_for_it(own_bench: Bench) -> None:
    own_bench.task("count", "again", vis_timeout=60, attempts=9, retry_delay=0).execute("x")
    own_bench.server.stop()
    worker = own_bench.start(ready=False)
    wait_until(
        lambda: "Redis does not answer; trying until it is well again: Redis at" in worker.log, SOON, "it says so"
    )
    own_bench.server.start()
    wait_until(lambda: runs(own_bench) == {"x": 1}, SOON, "it runs")
    wait_until(lambda: "Redis is well again" in worker.log, SOON, "it says so")


def test_a_redis_that_refuses_is_asked_until_it_does_not(own_bench: Bench) -> None:
    own_bench.task("count", "again", vis_timeout=60, attempts=9, retry_delay=0)
    worker = own_bench.start()
    user = own_bench.server.user
    own_bench.client.acl_setuser(user, enabled=True, commands=["-evalsha", "-eval"])
    own_bench.client.rpush(own_bench.app.keys.app.wake, "")
    wait_until(lambda: "Redis refuses; trying until it is well again" in worker.log, SOON, "it says so")
    assert "the ACL user may not do this" in worker.log
    own_bench.client.acl_setuser(user, enabled=True, categories=["+@all"])
    own_bench.app.get_task("again").execute("x")
    wait_until(lambda: runs(own_bench) == {"x": 1}, SOON, "it runs")


# ---- Redis comes back with less than it had.


def until_it_beats(bench: Bench) -> None:
    def last() -> float:
        return max(score for _, score in bench.client.zrange(bench.app.keys.app.beats, 0, -1, withscores=True))

    before = last()
    wait_until(lambda: last() > before, SOON, "a heartbeat")


def test_a_redis_that_comes_back_empty_is_noticed_and_worked_with(own_bench: Bench) -> None:
    own_bench.task("count", "again", vis_timeout=60, attempts=9, retry_delay=0)
    own_bench.task("hold", "held", vis_timeout=60, attempts=9)
    worker = own_bench.start(threads=2, worker_ttl=1.0)
    pid = worker.child()
    own_bench.app.get_task("held").execute("over", taskid="over")
    own_bench.until_noted("start", "over")
    registry = own_bench.app.keys.app.registry
    wait_until(lambda: own_bench.client.hlen(registry) == 2, SOON, "its tasks are known")
    own_bench.server.restart_empty()
    wait_until(lambda: "Redis has lost its data: this worker's heartbeat is gone" in worker.log, SOON, "it says so")
    own_bench.go("over")  # its lease is gone, and with it whatever could be said of it
    own_bench.app.get_task("again").execute("x")
    wait_until(lambda: runs(own_bench) == {"x": 1}, SOON, "it runs")
    # Told anew, so that programs which have not the code can call it by name.
    wait_until(lambda: own_bench.client.hlen(registry) == 2, SOON, "the tasks are known again")
    assert "Redis has lost the registry of tasks; telling it anew" in worker.log
    own_bench.until_empty()
    assert own_bench.stats()["done"] == 1
    assert worker.child() == pid


@pytest.mark.any_server
def test_a_redis_that_has_gone_back_in_time_is_noticed_and_nothing_is_stuck(own_bench: Bench) -> None:
    again = own_bench.task("hold", "again", vis_timeout=60, attempts=9, retry_delay=0)
    worker = own_bench.start(worker_ttl=1.0)
    pid = worker.child()
    again.execute("old", taskid="old")
    own_bench.until_noted("start", "old")
    copy = own_bench.server.copy_data()
    again.execute("new", taskid="new")
    until_it_beats(own_bench)
    own_bench.server.go_back(copy)
    wait_until(lambda: "this worker's last heartbeat is gone" in worker.log, SOON, "it says so")
    own_bench.go("old")
    own_bench.until_empty()
    assert "has lost its data" not in worker.log
    assert worker.child() == pid


@pytest.mark.parametrize("restart", ["stop", "kill"])
def test_a_redis_that_comes_back_with_everything_is_not_suspected(own_bench: Bench, restart: str) -> None:
    worker = own_bench.start(processes=2, worker_ttl=1.0)
    pids = worker.children(2)
    for _ in range(3):
        getattr(own_bench.server, restart)()
        own_bench.server.start()
        until_it_beats(own_bench)
    assert worker.children(2) == pids
    assert worker.stop() == 0
    assert "has lost" not in worker.log
