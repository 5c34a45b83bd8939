"""What was given up long ago, or is too much of it, is deleted: a bit at a time, by whichever worker has its turn."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from rpqueue import App
from rpqueue.inspection import Inspection
from rpqueue.protocol import moves
from rpqueue.protocol.moves import Taken
from rpqueue.states import State
from rpqueue.worker.janitor import Janitor
from tests.servers import wait_until
from tests.worker.harness import Bench

DAY = 86_400.0


def bury(app: App, queue: str, grave: str, count: int, *, age: float = 0.0, data: bool = False) -> None:
    keys = app.data_keys(queue) if data else app.task_keys(queue)
    app.broker.client.zadd(keys.listed_in, {queue: 0 if data else "inf"})
    at = time.time() - age
    for first in range(0, count, 500):
        ids = [f"{grave}{age}-{n}" for n in range(first, min(first + 500, count))]
        app.broker.execute(moves.put_back(keys, (), State(grave), [Taken(id, b"1 5|1", "", at) for id in ids]))


def left(app: App, queue: str) -> dict[str, int]:
    row = next(row for row in Inspection(app).queues() if row.name == queue)
    found = {place: getattr(row, place) for place in ("dead", "lost", "failed", "retired")}
    return {place: count for place, count in found.items() if count}


def clean(app: App) -> Janitor:
    """A whole turn."""
    app.broker.client.delete(app.keys.app.janitor)
    janitor = Janitor(app, app.broker)
    while janitor.tick() < janitor.INTERVAL:
        pass
    return janitor


def test_what_is_older_than_its_time_goes_from_queues_of_both_kinds(app: App) -> None:
    for grave, days in (("dead", 181), ("lost", 181), ("failed", 31)):
        bury(app, "mail", grave, 3, age=days * DAY)
        bury(app, "mail", grave, 2, age=(days - 2) * DAY)
    bury(app, "items", "dead", 1, age=181 * DAY, data=True)
    clean(app)
    assert left(app, "mail") == {"dead": 2, "lost": 2, "failed": 2, "retired": 9}
    assert left(app, "items") == {"retired": 1}


def test_what_is_too_much_goes_and_the_newest_stay(app: App) -> None:
    app.settings.keep_dead = app.settings.keep_lost = app.settings.keep_failed = 2
    for grave in ("dead", "lost", "failed"):
        bury(app, "mail", grave, 2, age=5)
        bury(app, "mail", grave, 2, age=1)
    clean(app)
    assert left(app, "mail") == {"dead": 2, "lost": 2, "failed": 2, "retired": 6}
    assert [view.id[:7] for view in Inspection(app).buried("dead")] == ["dead1-0", "dead1-1"]


def test_what_is_kept_for_ever_stays(app: App) -> None:
    app.settings.dead_ttl, app.settings.keep_dead = 0, None
    bury(app, "mail", "dead", 3, age=10_000 * DAY)
    clean(app)
    assert left(app, "mail") == {"dead": 3}
    app.settings.failed_ttl = app.settings.lost_ttl = 0
    app.settings.keep_lost = None
    assert app.bounds.are_any, "KEEP_FAILED is one"


def test_it_is_logged_with_queue_and_count(app: App, caplog: pytest.LogCaptureFixture) -> None:
    bury(app, "mail", "dead", 600, age=181 * DAY)
    bury(app, "mail", "lost", 1, age=181 * DAY)
    with caplog.at_level(logging.WARNING, "rpqueue.worker"):
        clean(app)
    [record] = caplog.records
    told: Any = record.__dict__
    assert (told["queue"], told["kind"], told["dead"], told["lost"], told["failed"]) == ("mail", "tasks", 600, 1, 0)


def test_a_tick_makes_a_few_calls_of_a_few_messages(app: App) -> None:
    bury(app, "mail", "dead", 3000, age=181 * DAY)
    janitor = Janitor(app, app.broker)
    assert janitor.tick() == janitor.SOON
    gone = left(app, "mail")["retired"]
    assert 0 < gone <= janitor.CALLS * janitor.BATCH
    assert janitor.tick() == janitor.SOON
    assert left(app, "mail")["retired"] - gone == janitor.CALLS * janitor.BATCH


def test_one_worker_has_its_turn_in_a_minute(app: App) -> None:
    clean(app)
    bury(app, "mail", "dead", 1, age=181 * DAY)
    other = Janitor(app, app.broker)
    assert other.tick() == other.INTERVAL
    assert left(app, "mail") == {"dead": 1}
    assert 0 < app.broker.client.pttl(app.keys.app.janitor) <= 60_000
    clean(app)
    assert left(app, "mail") == {"retired": 1}


def test_two_at_the_same_time_delete_and_count_each_once(app: App) -> None:
    bury(app, "mail", "dead", 2500, age=181 * DAY)
    bury(app, "mail", "dead", 7)
    janitors = []
    for _ in range(2):
        app.broker.client.delete(app.keys.app.janitor)
        janitors.append(Janitor(app, app.broker))
        janitors[-1].tick()
    while janitors:
        janitors = [janitor for janitor in janitors if janitor.tick() < janitor.INTERVAL]
    assert left(app, "mail") == {"dead": 7, "retired": 2500}


def test_a_queue_with_somebody_elses_key_keeps_the_others_from_nothing(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    for queue in ("a", "b", "c"):
        bury(app, queue, "dead", 1, age=181 * DAY)
    for key in (app.task_keys("b").dead, app.task_keys("c").errors):
        app.broker.client.delete(key)
        app.broker.client.set(key, "theirs", ex=60)
    with caplog.at_level(logging.WARNING, "rpqueue.worker"):
        clean(app)
    assert app.broker.client.zcard(app.task_keys("a").dead) == 0
    assert sorted(record.__dict__["queue"] for record in caplog.records) == ["a", "b", "c"]


def test_workers_do_it(bench: Bench) -> None:
    bury(bench.app, "default", "lost", 3, age=181 * DAY)
    worker = bench.start()
    wait_until(lambda: left(bench.app, "default") == {"retired": 3}, 20)
    wait_until(lambda: "given up are deleted" in worker.log, 20)


@pytest.mark.stress
def test_very_many_dead_letters_do_not_hold_redis_up(app: App) -> None:
    keys = app.task_keys("mail")
    app.broker.client.zadd(keys.listed_in, {"mail": "inf"})
    fill = """
    for first = tonumber(ARGV[1]), ARGV[1] + 49999, 2000 do
      local scored = {}
      for n = first, first + 1999 do
        scored[#scored + 1] = n
        scored[#scored + 1] = string.format('%07d', n)
      end
      redis.call('ZADD', KEYS[1], unpack(scored))
    end
    """
    for first in range(0, 200_000, 50_000):
        app.broker.client.eval(fill, 1, keys.dead, first)
    janitor = Janitor(app, app.broker)
    taken = []
    for _ in range(20):
        begun = time.perf_counter()
        assert janitor.tick() == janitor.SOON
        taken.append(time.perf_counter() - begun)
    print(f"a tick took {sorted(taken)[10] * 1000:.1f} ms, {max(taken) * 1000:.1f} ms at most")
    assert sorted(taken)[10] < 0.25  # some milliseconds; the machine may be busy
    assert 18_000 < left(app, "mail")["retired"] <= 20_000
