"""The verbs about whole queues: order, sizes, clearing, pages and dead letters."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import redis

from rpqueue import App
from rpqueue.errors import RefusedInput, RefusedName, WrongType
from rpqueue.protocol import moves, views
from rpqueue.protocol.moves import Rules
from rpqueue.tasks import Task


@pytest.fixture
def work(app: App) -> Task[..., Any]:
    """A task that may be delivered once, and is dead-lettered after that."""

    @app.task(queue="mail", vis_timeout=60, use_dead=True, name="work")
    def work(*args: Any, **kwargs: Any) -> None: ...

    return work


def lease(app: App, queue: str, wanted: int = 1) -> list[tuple[str, int]]:
    """Lease messages as a worker does."""
    from rpqueue.protocol.cycle import cycle

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


def kill(app: App, queue: str, wanted: int = 1) -> list[str]:
    """Let messages die, one after the other."""
    ids = []
    for message_id, token in lease(app, queue, wanted):
        where = app.broker.execute(
            moves.fail(app.task_keys(queue), app.index, (message_id, token), app.task_rules, error=b'{"message":"no"}')
        )
        assert where == "dead"
        ids.append(message_id)
        time.sleep(0.002)  # dead letters are ordered by the millisecond
    return ids


def test_queues_with_a_priority_come_first_and_the_others_by_name(app: App, work: Task[..., Any]) -> None:
    for queue in ("b", "a", "last", "first"):
        work.execute(_queue=queue)
    app.set_priority("last", 2.5)
    app.set_priority(b"first", -1)
    assert app.known_queues() == ["first", "last", "a", "b"]
    app.set_priority("first", None)
    assert app.known_queues() == ["last", "a", "b", "first"]


@pytest.mark.one_server("there is no index")
def test_a_priority_is_used_by_workers_at_once(app: App, work: Task[..., Any]) -> None:
    for queue in ("a", "b"):
        work.execute(_queue=queue)
    app.set_priority("b", 7)
    ready = app.broker.client.zrange(app.keys.app.ready_queues, 0, -1, withscores=True)
    assert ready == [(b"b", 7.0), (b"a", math.inf)]


@pytest.mark.one_server("there is no index")
def test_a_queue_may_get_its_priority_before_its_first_message(app: App, work: Task[..., Any]) -> None:
    app.set_priority("early", 1)
    assert app.known_queues() == ["early"]
    assert app.queue_sizes() == [("early", 0, 0)]
    work.execute(_queue="early")
    assert app.broker.client.zscore(app.keys.app.ready_queues, "early") == 1


def test_removing_the_priority_of_an_unknown_queue_does_not_make_it_known(app: App) -> None:
    app.set_priority("nobody", None)
    assert app.known_queues() == []


@pytest.mark.parametrize(
    ("priority", "error"),
    [(True, WrongType), ("1", WrongType), (math.nan, RefusedInput), (math.inf, RefusedInput), (2**60, RefusedInput)],
)
def test_what_is_no_priority_is_refused(app: App, priority: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"priority of mail: expected a number"):
        app.set_priority("mail", priority)
    assert app.known_queues() == []


def test_the_dead_letter_view_has_no_priority(app: App) -> None:
    with pytest.raises(RefusedInput, match="dead-letter view"):
        app.set_priority("DEADLETTER_QUEUE", 1)


def test_sizes_count_what_waits_and_all_that_was_ever_put_in(app: App, work: Task[..., Any]) -> None:
    for number in range(4):
        work.execute(number)
    work.execute(delay=60)
    [(message_id, token)] = lease(app, "mail")
    assert app.queue_sizes() == [("mail", 4, 5)]  # what is leased does not wait
    app.broker.execute(moves.park(app.task_keys("mail"), [(message_id, token, "nobody")]))
    assert app.queue_sizes() == [("mail", 5, 5)]


@pytest.mark.one_server("a call there is about one queue")
def test_ten_thousand_queues_are_listed_in_forty_calls(app: App) -> None:
    client = app.broker.client
    client.zadd(app.keys.app.queues, {f"q{number:05}": math.inf for number in range(10_000)})
    app.queue_sizes()  # so that the server knows the script
    client.config_resetstat()
    sizes = app.queue_sizes()
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 10_000 / views.CHUNK
    assert (len(sizes), sizes[0], sizes[-1]) == (10_000, ("q00000", 0, 0), ("q09999", 0, 0))


@pytest.mark.one_server("an App there needs a client of the cluster")
def test_another_client_may_be_given(app: App, redis_client: redis.Redis, work: Task[..., Any]) -> None:
    nowhere = App("redis://127.0.0.1:1", prefix="test")
    work.execute()
    assert nowhere.known_queues(redis_client) == ["mail"]
    assert nowhere.queue_sizes(conn=redis_client) == [("mail", 1, 1)]
    assert len(nowhere.get_page("mail", 1, conn=redis_client)) == 1
    nowhere.set_priority("mail", 3, redis_client)
    assert nowhere.clear_queue("mail", redis_client, delete=True) == 1
    assert app.known_queues() == []


def test_clearing_deletes_what_waits_and_runs_and_nothing_that_was_buried(app: App, work: Task[..., Any]) -> None:
    for _ in range(6):
        work.execute()
    work.execute(delay=60)
    [died] = kill(app, "mail")
    [running] = lease(app, "mail")
    [parked] = lease(app, "mail")
    app.broker.execute(moves.park(app.task_keys("mail"), [(*parked, "nobody")]))
    assert app.clear_queue("mail") == 6
    assert app.queue_sizes() == [("mail", 0, 7)]
    assert [row[0] for row in app.read_deadletter()] == [died]
    assert app.broker.client.hkeys(app.task_keys("mail").messages) == [died.encode()]
    # A worker that still had one is told that its lease is stale.
    assert app.broker.execute(moves.ack(app.task_keys("mail"), [running])) == []


def test_long_queues_are_cleared_in_several_calls(app: App) -> None:
    data = app.Data("items", vis_timeout=60)
    data.put_data(range(2_500), chunksize=2_500)
    data.get_data(50)
    assert app.clear_queue("items", is_data=True) == 2_500
    assert data.currently_available() == (0, 0)
    assert app.clear_queue(b"items", is_data=True) == 0


def test_the_task_queue_and_the_data_queue_of_a_name_are_cleared_apart(app: App, work: Task[..., Any]) -> None:
    work.execute()
    app.Data("mail").put_data([1])
    assert app.clear_queue("mail", is_data=True) == 1
    assert app.queue_sizes() == [("mail", 1, 1)]


@pytest.mark.one_server("a deleted queue stays listed")
@pytest.mark.parametrize("is_data", [False, True])
def test_a_deleted_queue_leaves_no_key(
    app: App, redis_client: redis.Redis, work: Task[..., Any], is_data: bool
) -> None:
    if is_data:
        data = app.Data("mail", vis_timeout=60, use_dead=True)
        data.put_data(range(5))
        app.Data("DEADLETTER_QUEUE").put_data([1])
        app.clear_queue("DEADLETTER_QUEUE", is_data=True, delete=True)
    else:
        for _ in range(5):
            work.execute()
        kill(app, "mail")
        app.set_priority("mail", 1)
    assert app.clear_queue("mail", delete=True, is_data=is_data) == (5 if is_data else 4)
    assert app.known_queues() == []
    assert [key for key in redis_client.keys(b"test:*mail*") if b":memo:" not in key and b":wake" not in key] == []
    assert redis_client.zrange(app.keys.app.data_queues, 0, -1) == ([b"DEADLETTER_QUEUE"] if is_data else [])
    work.execute()
    assert app.queue_sizes() == [("mail", 1, 1)]


def test_clearing_the_dead_letter_queue_purges_the_dead_of_all_queues_of_its_kind(
    app: App, work: Task[..., Any]
) -> None:
    for queue in ("a", "b"):
        for _ in range(3):
            work.execute(_queue=queue)
        kill(app, queue, 2)
    app.Data("DEADLETTER_QUEUE").put_data([1])
    assert app.clear_queue("DEADLETTER_QUEUE") == 4
    assert app.read_deadletter() == []
    assert app.queue_sizes() == [("a", 1, 3), ("b", 1, 3)]
    assert app.clear_queue(b"DEADLETTER_QUEUE", is_data=True) == 1


def test_a_page_shows_ready_messages_in_order_and_then_scheduled_ones_by_due(app: App, work: Task[..., Any]) -> None:
    later, soon = work.execute("later", delay=60), work.execute("soon", delay=30)
    first, second = work.execute("first", key=[]), work.execute("second")
    rows = app.get_page("mail", 1)
    assert [row[0] for row in rows] == [task.taskid for task in (first, second, soon, later)]
    assert rows[0][1:4] == ["work", ["first"], {"key": []}]
    assert rows[2][4] - rows[0][4] == pytest.approx(30, abs=5)
    assert app.get_page("mail", 0) == rows
    assert app.get_page("mail", 1, per_page=3) + app.get_page("mail", 2, per_page=3) == rows
    assert app.get_page("mail", 3, per_page=3) == []
    assert app.get_page("nobody", 1) == []


@pytest.mark.parametrize(
    ("page", "per_page", "error"),
    [(-1, 50, RefusedInput), (1, 0, RefusedInput), (1, 1001, RefusedInput), ("1", 1, WrongType)],
)
def test_a_page_that_cannot_be_is_refused(app: App, page: Any, per_page: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="page: expected"):
        app.get_page("mail", page, per_page)


@pytest.mark.parametrize("stored", [b"garbage", b"1 5|{not json", b"9 5|[]", b"1 5|[1,2]", b"1 5|\xff\xfe"])
def test_bytes_that_are_no_task_are_shown_and_do_no_harm(app: App, work: Task[..., Any], stored: bytes) -> None:
    task = work.execute()
    app.broker.client.hset(app.task_keys("mail").messages, task.taskid, stored)
    other = work.execute(1)
    [row, good] = app.get_page("mail", 1)
    assert row == [task.taskid, "<undecodable>", [stored.decode("utf-8", "backslashreplace")], {}, 0.0]
    assert good[0] == other.taskid


def test_the_dead_letter_page_shows_the_dead_of_all_queues_oldest_first(app: App, work: Task[..., Any]) -> None:
    died = []
    for queue in ("a", "b", "a"):
        work.execute(queue, _queue=queue)
        died += kill(app, queue)
    assert [row[:4] for row in app.get_page("DEADLETTER_QUEUE", 1)] == [
        [message_id, "work", [queue], {}] for message_id, queue in zip(died, "aba", strict=True)
    ]
    assert [row[0] for row in app.get_page("DEADLETTER_QUEUE", 2, per_page=2)] == died[2:]


def test_reading_dead_letters_leaves_them_unless_told_to_delete_what_it_returns(app: App, work: Task[..., Any]) -> None:
    died = []
    for queue in ("a", "b", "a"):
        work.execute(queue, _queue=queue)
        died += kill(app, queue)
    assert [row[0] for row in app.read_deadletter()] == died
    assert [row[0] for row in app.read_deadletter(limit=2, delete=True)] == died[:2]
    assert [row[:4] for row in app.read_deadletter(delete=True)] == [[died[2], "work", ["a"], {}]]
    assert app.read_deadletter(delete=True) == []
    assert [size for _, size, _ in app.queue_sizes()] == [0, 0]


def test_dead_items_come_with_what_is_known_of_their_death(app: App) -> None:
    data = app.Data("items", vis_timeout=60, use_dead=True)
    data.put_data([{"a": []}])
    [(message_id, token)] = data.get_data().tokens.items()
    app.broker.execute(
        moves.fail(app.data_keys("items"), (), (message_id, token), Rules("data"), error=b'{"message":"no"}')
    )
    [row] = app.read_deadletter(is_data=True)
    assert row[:3] == [message_id, "", {"a": []}]
    assert row[3].items() >= {"queue": "items", "reason": "failed", "failures": 1, "error": {"message": "no"}}.items()
    assert app.read_deadletter() == []
    assert app.read_deadletter(is_data=True, delete=True) == [row]
    assert app.read_deadletter(is_data=True) == []


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_out_of_range_is_refused(app: App, limit: int) -> None:
    with pytest.raises(RefusedInput, match="limit: expected 1 to 1000"):
        app.read_deadletter(limit=limit)


def test_an_item_is_deleted_before_it_starts_and_not_afterwards(app: App, work: Task[..., Any]) -> None:
    running, ready, scheduled = work.execute(), work.execute(), work.execute(delay=60)
    lease(app, "mail")
    assert app.delete_item("mail", ready.taskid) is True
    assert app.delete_item(b"mail", scheduled.taskid) is True
    assert app.delete_item("mail", running.taskid) is False
    assert app.delete_item("mail", "nobody") is False
    assert [task.status for task in (running, ready, scheduled)] == ["started", "cancelled", "cancelled"]
    app.broker.client.set(app.task_keys("mail").outcome("old"), '{"state":"done","result":1}', ex=60)
    assert app.delete_item("mail", "old") == -1


def test_an_item_is_deleted_from_the_dead_letters_of_whichever_queue(app: App, work: Task[..., Any]) -> None:
    for queue in ("a", "b"):
        work.execute(_queue=queue)
    [kept], [dropped] = kill(app, "a"), kill(app, "b")
    assert app.delete_item("DEADLETTER_QUEUE", dropped) is True
    assert app.delete_item("DEADLETTER_QUEUE", dropped) is False
    assert [row[0] for row in app.read_deadletter()] == [kept]


@pytest.mark.parametrize("queue", ["", b"\xff", "x" * 600])
def test_names_that_no_queue_can_have_are_refused(app: App, queue: Any) -> None:
    for verb in (app.clear_queue, lambda name: app.get_page(name, 1), lambda name: app.set_priority(name, 1)):
        with pytest.raises(RefusedName):
            verb(queue)


@pytest.mark.parametrize("queue", ["a{b}c", "}x", "a:b*", "\x00", "größe", "100%"])
def test_hostile_names_work_everywhere(app: App, work: Task[..., Any], queue: str) -> None:
    work.execute(_queue=queue)
    work.execute(_queue=queue)
    app.set_priority(queue, 1)
    assert app.known_queues() == [queue]
    assert len(app.get_page(queue, 1)) == 2
    kill(app, queue)
    assert len(app.read_deadletter()) == 1
    assert app.clear_queue(queue, delete=True) == 1
    assert app.known_queues() == ([queue] if app.broker.is_cluster else [])


def test_a_loaded_script_runs_also_where_redis_forgot_it(app: App, redis_client: redis.Redis) -> None:
    call = app.script_load("return {KEYS[1], ARGV[1], ARGV[2]}")
    assert call(redis_client, keys=["test:key"], args=[1, "b"]) == [b"test:key", b"1", b"b"]
    redis_client.script_flush()
    assert call(redis_client, ["test:key"], [1, "b"]) == [b"test:key", b"1", b"b"]
    assert call(None, ["test:key"], ["x", "y"]) == [b"test:key", b"x", b"y"]


def test_a_loaded_script_rides_in_a_pipeline(app: App, redis_client: redis.Redis) -> None:
    call = app.script_load("return tonumber(ARGV[1]) + 1")
    with redis_client.pipeline() as pipe:
        for number in range(3):
            call(pipe, args=[number], force_eval=True)
        assert pipe.execute() == [1, 2, 3]


def test_errors_of_a_loaded_script_are_those_of_the_client(app: App, redis_client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match="mine"):
        app.script_load("return redis.error_reply('mine')")(redis_client)
    with pytest.raises(WrongType, match="script: expected Lua as str"):
        app.script_load(b"return 1")  # type: ignore[arg-type]
