"""The views of queues, workers and messages: what they say is so, and they change nothing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import redis

from rpqueue import App
from rpqueue.errors import RefusedInput, WrongType
from rpqueue.inspection import Inspection
from rpqueue.protocol import moves
from rpqueue.protocol.cycle import cycle
from rpqueue.protocol.workers import Beat, beat
from rpqueue.states import State
from rpqueue.tasks import Task

ERROR = b'{"exception":"ValueError","message":"no"}'


@pytest.fixture
def look(app: App) -> Inspection:
    return Inspection(app)


@pytest.fixture
def work(app: App) -> Task[..., Any]:
    @app.task(queue="mail", vis_timeout=60, attempts=2, use_dead=True, name="work")
    def work(*args: Any, **kwargs: Any) -> None: ...

    return work


def lease(app: App, queue: str, wanted: int = 1) -> list[tuple[str, int]]:
    keys = app.task_keys(queue)
    turn = cycle(
        *(app.keys.app, [keys], {}),
        indexed=not app.broker.is_cluster,
        lease_for=60,
        wanted=wanted,
        starting=wanted,
        limit=100,
        rules=app.task_rules,
    )
    return [(row[0].decode(), row[2].token) for some in app.broker.execute(turn).claimed for row in some.rows()]


def bury(app: App, queue: str, wanted: int, grave: str) -> list[str]:
    """Put the next messages into a grave, one after the other."""
    keys, ids = app.task_keys(queue), []
    for message_id, _ in lease(app, queue, wanted):
        now = int(time.time() * 1000)
        time.sleep(0.002)  # so that no other dies in this millisecond
        app.broker.client.zrem(keys.leased, message_id)
        app.broker.client.zadd(getattr(keys, grave), {message_id: now})
        app.broker.client.hset(keys.errors, message_id, b"%s %d|%s" % (grave.encode(), now, ERROR))
        ids.append(message_id)
    return ids


def test_queues_are_told_in_the_order_of_workers_and_then_data_queues(
    app: App, look: Inspection, work: Task[..., Any]
) -> None:
    for queue in ("b", "a"):
        work.execute(_queue=queue)
    app.set_priority("b", 1)
    app.Data("a").put_data([1, 2])
    rows = look.queues()
    assert [(row.name, row.kind, row.priority, row.ready) for row in rows] == [
        ("b", "tasks", 1.0, 1),
        ("a", "tasks", None, 1),
        ("a", "data", None, 2),
    ]


def test_a_queue_tells_how_many_messages_are_where(app: App, look: Inspection, work: Task[..., Any]) -> None:
    for _ in range(12):
        work.execute()
    work.execute(delay=60)
    bury(app, "mail", 1, "dead")
    bury(app, "mail", 2, "lost")
    bury(app, "mail", 3, "failed")
    [parked, finished, _] = lease(app, "mail", 3)
    app.broker.execute(moves.park(app.task_keys("mail"), [(*parked, "nobody")]))
    app.broker.execute(moves.ack(app.task_keys("mail"), [finished]))
    [row] = look.queues()
    assert (row.ready, row.scheduled, row.leased, row.parked) == (3, 1, 1, 1)
    assert (row.dead, row.lost, row.failed) == (1, 2, 3)
    assert (row.seen, row.done) == (13, 1)


def test_the_age_of_a_queue_is_that_of_its_next_message(app: App, look: Inspection, work: Task[..., Any]) -> None:
    assert look.queues() == []
    task = work.execute()
    work.execute()
    keys = app.task_keys("mail")
    header, _, body = app.broker.client.hget(keys.messages, task.taskid).partition(b"|")
    old = header.replace(header.split()[1], b"%d" % (int(header.split()[1]) - 90_000))
    app.broker.client.hset(keys.messages, task.taskid, old + b"|" + body)
    assert look.queues()[0].oldest_age == pytest.approx(90, abs=5)
    app.clear_queue("mail")
    assert look.queues()[0].oldest_age == 0


def test_workers_are_told_with_the_silent_last(app: App, look: Inspection, redis_client: redis.Redis) -> None:
    told = {"host": "here", "pid": 7, "queues": ["a"], "threads": 2, "supervisor": 6, "started_at": 1.5}
    beats = [Beat("here:7", json.dumps(told)), Beat("here:5", json.dumps({**told, "pid": 5, "queues": None}))]
    app.broker.execute(beat(app.keys.app, beats, forget_after=100))
    redis_client.zincrby(app.keys.app.beats, -20_000, "here:5")
    alive, silent = look.workers()
    assert (alive.id, alive.host, alive.pid, alive.queues, alive.threads) == ("here:7", "here", 7, ["a"], 2)
    assert (alive.started_at, alive.is_alive) == (1.5, True)
    assert (silent.pid, silent.queues, silent.is_alive) == (5, None, False)
    assert silent.silent_for == pytest.approx(20, abs=5)
    redis_client.hset(app.keys.app.workers, "here:7", b"broken")
    assert look.workers()[0].host == ""


def test_a_message_is_found_in_whichever_queue_it_is(app: App, look: Inspection, work: Task[..., Any]) -> None:
    work.execute(_queue="a")
    task = work.execute([], 2**63, key=0.1 + 0.2, _queue="b")
    found = look.message(task.taskid)
    assert found is not None
    assert (found.queue, found.kind, found.state, found.status) == ("b", "tasks", State.READY, "waiting")
    assert (found.name, found.args, found.kwargs) == ("work", [[], 2**63], {"key": 0.1 + 0.2})
    assert (found.vis_timeout, found.attempts, found.use_dead) == (60, 2, True)
    assert look.message(task.taskid, "b") == found
    assert look.message(task.taskid, "a") is None
    assert look.message("nobody") is None


def test_an_item_is_found_too(app: App, look: Inspection) -> None:
    [item_id] = app.Data("items").put_data([{"a": []}])
    found = look.message(item_id)
    assert found is not None
    assert (found.queue, found.kind, found.item, found.name, found.args) == ("items", "data", {"a": []}, "", [])
    assert look.message(item_id, b"items") == found


def test_a_message_tells_its_failures_and_the_last_error(app: App, look: Inspection, work: Task[..., Any]) -> None:
    work.execute()
    [held] = lease(app, "mail")
    app.broker.execute(moves.fail(app.task_keys("mail"), app.index, held, app.task_rules, delay=30, error=ERROR))
    found = look.message(held[0])
    assert found is not None
    assert (found.state, found.failures, found.reason) == (State.SCHEDULED, 1, "failed")
    assert found.error == {"exception": "ValueError", "message": "no"}


def test_a_finished_task_is_seen_as_long_as_its_outcome_is_kept(app: App, look: Inspection) -> None:
    app.broker.client.zadd(app.keys.app.queues, {"mail": 1})
    app.broker.client.set(app.task_keys("mail").outcome("x"), '{"state":"done","result":[1]}', ex=60)
    found = look.message("x")
    assert found is not None
    assert (found.state, found.status, found.outcome) == (State.DONE, "done", {"state": "done", "result": [1]})


def test_bytes_that_are_no_message_are_shown_as_text(app: App, look: Inspection, work: Task[..., Any]) -> None:
    task = work.execute()
    app.broker.client.hset(app.task_keys("mail").messages, task.taskid, b"\xffgarbage")
    found = look.message(task.taskid)
    assert found is not None
    assert (found.undecodable, found.state, found.status) == ("\\xffgarbage", State.READY, "ready")
    assert look.page("mail").messages == [found]


@pytest.mark.parametrize("state", ["ready", "scheduled", "leased", "dead", "lost", "failed"])
def test_pages_of_every_state_come_to_an_end_and_leave_nothing_out(
    app: App, look: Inspection, work: Task[..., Any], state: str
) -> None:
    ids = [work.execute(number, delay=60 + number if state == "scheduled" else None).taskid for number in range(7)]
    if state in ("dead", "lost", "failed"):
        ids = bury(app, "mail", 7, state)
    elif state == "leased":
        lease(app, "mail", 7)
        ids.sort()  # of leases that end at the same instant
    seen, after = [], None
    for _ in range(4):
        page = look.page("mail", state, after, limit=2)
        assert {message.state for message in page.messages} == {State(state)}
        seen += [message.id for message in page.messages]
        after = page.after
    assert after is None
    assert seen == ids if state != "leased" else sorted(seen) == ids
    assert look.page("mail", state, limit=7).after is None


def test_a_page_goes_on_rightly_after_the_message_last_seen_has_left(
    app: App, look: Inspection, work: Task[..., Any]
) -> None:
    ids = [work.execute(delay=60 + number).taskid for number in range(4)]
    first = look.page("mail", State.SCHEDULED, limit=2)
    for message in first.messages:
        app.delete_item("mail", message.id)
    assert [message.id for message in look.page("mail", State.SCHEDULED, first.after).messages] == ids[2:]


def test_parked_messages_are_paged_and_counted_by_task_name(app: App, look: Inspection, work: Task[..., Any]) -> None:
    for _ in range(1_200):
        work.execute()
    ids = []
    for number in range(12):
        leases = lease(app, "mail", 100)
        ids += [message_id for message_id, _ in leases]
        name = "rare" if number == 0 else "common"
        app.broker.execute(moves.park(app.task_keys("mail"), [(*held, name) for held in leases]))
    seen, after, pages = [], None, 0
    while pages == 0 or after is not None:
        page = look.page("mail", "parked", after, limit=100)
        seen += [message.id for message in page.messages]
        after, pages = page.after, pages + 1
    assert sorted(seen) == sorted(ids)
    assert pages > 3
    assert look.parked_names() == {"common": 1_100, "rare": 100}


@pytest.mark.parametrize("grave", ["dead", "lost", "failed"])
def test_what_was_buried_is_seen_over_all_queues(app: App, look: Inspection, work: Task[..., Any], grave: str) -> None:
    ids = []
    for queue in ("a", "b"):
        for _ in range(3):
            work.execute(_queue=queue)
        ids += bury(app, queue, 3, grave)
    assert [message.id for message in look.buried(grave)] == ids
    assert [message.id for message in look.buried(grave, "b")] == ids[3:]
    assert len(look.buried(grave, skip=4, limit=100)) == 2
    assert look.buried(grave, is_data=True) == []
    assert len(look.buried(grave, "DEADLETTER_QUEUE", limit=5)) == 5
    assert look.buried(grave)[0].error == {"exception": "ValueError", "message": "no"}


@pytest.mark.parametrize("after", ["x", "-1", "5", "5 ", "\u0663 a"])
def test_a_cursor_from_elsewhere_is_refused(app: App, look: Inspection, after: str) -> None:
    with pytest.raises(RefusedInput, match="after: expected what a page"):
        look.page("mail", "scheduled", after)


def test_words_that_are_no_state_are_refused(look: Inspection) -> None:
    with pytest.raises(RefusedInput, match="did you mean 'leased'"):
        look.page("mail", "lease")
    with pytest.raises(RefusedInput, match="grave: expected dead, lost or failed, got 'ready'"):
        look.buried("ready")
    with pytest.raises(WrongType, match="limit: expected a whole number"):
        look.page("mail", limit=2.5)  # type: ignore[arg-type]


def test_looking_changes_nothing(app: App, look: Inspection, work: Task[..., Any], redis_client: redis.Redis) -> None:
    task = work.execute()
    work.execute(delay=60)
    lease(app, "mail")
    app.Data("items").put_data([1])
    before = {key: redis_client.dump(key) for key in redis_client.scan_iter()}
    look.queues(), look.workers(), look.parked_names(), look.message(task.taskid), look.buried()
    for state in ("ready", "scheduled", "leased", "parked", "dead", "lost", "failed"):
        look.page("mail", state)
    assert {key: redis_client.dump(key) for key in redis_client.scan_iter()} == before
