"""Migration: what version 0.33.7 left in Redis goes on here, once."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

import rpqueue
from rpqueue import App
from rpqueue.cli import main
from rpqueue.errors import RefusedInput
from rpqueue.inspection import Inspection, MessageView
from rpqueue.migration import Migration, Moved
from rpqueue.protocol.schedules import next_slot
from rpqueue.states import State
from tests.servers import Server

pytestmark = pytest.mark.one_server("0.33 knew no cluster")

RECORDED = json.loads((Path(__file__).parent / "legacy_0_33_7.json").read_text())
PREFIX = b"test-old:"


@pytest.fixture
def old(redis_client: redis.Redis) -> Iterator[Callable[..., bytes]]:
    """What 0.33.7 left, under PREFIX and with its instants moved to now. old("nqueue:mail") is the name of a key."""
    seconds, micros = redis_client.time()
    now = seconds + micros / 1e6
    for name, key, *words in RECORDED["commands"]:
        at = PREFIX + base64.b64decode(key).removeprefix(b"old:")
        if name == "ZADD":
            score, is_instant, member = words
            redis_client.zadd(at, {base64.b64decode(member): score + now * is_instant})
        else:
            redis_client.execute_command(name, at, *map(base64.b64decode, words))
    yield lambda name: PREFIX + name.encode()
    for key in redis_client.scan_iter(PREFIX + b"*", count=1000):
        redis_client.delete(key)


def migrate(app: App, **options: Any) -> dict[tuple[str, str], Moved]:
    return {(moved.kind, moved.queue): moved for moved in Migration(app, PREFIX, **options).run()}


def messages_of(app: App, queue: str, state: State, *, is_data: bool = False) -> list[MessageView]:
    return Inspection(app).page(queue, state, limit=1000, is_data=is_data).messages


def counts(moved: Moved) -> tuple[int, int, int, int]:
    return moved.ready, moved.scheduled, moved.leased, moved.dead


def put_plain(client: redis.Redis, queue: str, number: int) -> list[str]:
    """As 0.33 enqueues: its message, and its id at the end of the list."""
    ids = [f"id-{at:05}" for at in range(number)]
    for at in range(0, number, 1000):
        some = ids[at : at + 1000]
        bodies = {one: json.dumps([one, "jobs.plain", [one], {}, time.time()]) for one in some}
        client.hset(PREFIX + b"messages:" + queue.encode(), mapping=bodies)  # type: ignore[arg-type]
        client.rpush(PREFIX + b"nqueue:" + queue.encode(), *some)
    return ids


def everything(client: redis.Redis) -> dict[bytes, Any]:
    """What each key holds."""
    found: dict[bytes, Any] = {}
    for key in client.keys("*"):
        read: Callable[[bytes], Any] = {
            b"hash": client.hgetall,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
            b"string": client.get,
        }[client.type(key)]
        found[key] = read(key)
    return found


# Tasks.


def test_ready_calls_keep_order_and_arguments(app: App, old: Callable[..., bytes]) -> None:
    moved = migrate(app)["tasks", "mail"]
    assert counts(moved) == (7, 2, 1, 0)
    rows = messages_of(app, "mail", State.READY)
    named = [row.id for row in rows if len(row.id) != 36]
    # What had been promoted goes first; what a dead worker had taken off the list comes last.
    assert named == ["1-again", "3-plain", "4-leased", "6-twice", "jobs.plain", "11-stranded"]
    by_id = {row.id: row for row in rows}
    plain = by_id["3-plain"]
    assert (plain.name, plain.args, plain.kwargs) == (
        "jobs.plain",
        [1, [], {}, "ünï", 2**70, 0.1 + 0.2],
        {"flag": None},
    )
    assert by_id["6-twice"].args == ["second"]
    assert by_id["jobs.plain"].args == ["called by its own name"]
    assert abs(plain.available_at - RECORDED["recorded_at"]) < 10


def test_declarations_come_along(app: App, old: Callable[..., bytes]) -> None:
    migrate(app)
    by_id = {row.id: row for row in messages_of(app, "mail", State.READY)}
    plain, leased, again = by_id["3-plain"], by_id["4-leased"], by_id["1-again"]
    assert (plain.vis_timeout, plain.attempts, plain.use_dead) == (0.0, 1, False)
    assert (leased.vis_timeout, leased.attempts, leased.use_dead, leased.kwargs) == (30.0, 3, True, {})
    # One of its two deliveries is used up.
    assert (again.vis_timeout, again.attempts, again.use_dead) == (0.05, 1, True)
    [manual] = messages_of(app, "manual", State.READY)
    assert (manual.vis_timeout, manual.kwargs) == (0.0, {"_attempts": 5})


def test_what_an_empty_list_of_arguments_became_is_read_as_one(app: App, redis_client: redis.Redis) -> None:
    redis_client.hset(PREFIX + b"messages:q", "x", '["x","jobs.plain",{},{"_attempts":1,"_vis_timeout":5},1.7e9]')
    redis_client.rpush(PREFIX + b"nqueue:q", "x")
    assert migrate(app)["tasks", "q"].ready == 1
    [row] = messages_of(app, "q", State.READY)
    assert row.args == []
    assert row.available_at == 1.7e9


def test_delayed_calls_keep_their_instant(app: App, old: Callable[..., bytes], redis_client: redis.Redis) -> None:
    due = dict(redis_client.zrange(old("queue:mail"), 0, -1, withscores=True))
    migrate(app)
    rows = messages_of(app, "mail", State.SCHEDULED)
    assert [row.id for row in rows] == ["7-later", "8-later"]
    for row in rows:
        assert abs(row.at - due[row.id.encode()]) < 0.01


def test_a_running_call_stays_leased_until_the_same_instant(
    app: App, old: Callable[..., bytes], redis_client: redis.Redis
) -> None:
    expiry = redis_client.zscore(old("invisible:mail"), "2-running")
    assert expiry is not None
    migrate(app)
    [row] = messages_of(app, "mail", State.LEASED)
    assert (row.id, row.attempts, row.vis_timeout) == ("2-running", 3, 30.0)
    assert abs(row.at - expiry) < 0.01


def test_a_dead_letter_goes_to_the_queue_of_its_task(app: App, old: Callable[..., bytes]) -> None:
    @app.task(queue="mail", name="jobs.once")
    def once() -> None: ...

    moved = migrate(app)
    assert moved["tasks", "mail"].dead == 1
    [row] = Inspection(app).buried(State.DEAD)
    assert (row.id, row.queue, row.name, row.args, row.reason) == ("0-dead", "mail", "jobs.once", ["spent"], "expired")
    assert row.vis_timeout == 0.05


def test_a_dead_letter_of_an_unknown_task_goes_to_the_default_queue(app: App, old: Callable[..., bytes]) -> None:
    assert migrate(app)["tasks", "default"].dead == 1
    assert [row[0] for row in app.read_deadletter()] == ["0-dead"]


def test_recurring_tasks_fire_next_when_they_would_have(
    app: App, old: Callable[..., bytes], redis_client: redis.Redis
) -> None:
    bodies = {
        name: json.loads(redis_client.hget(old("messages:mail"), name) or "") for name in ("jobs.periodic", "jobs.cron")
    }
    assert sorted(migrate(app)["tasks", "mail"].recurring) == ["jobs.cron", "jobs.periodic"]
    for name, body in bodies.items():
        assert app.broker.execute(next_slot(app.task_keys("mail"), name)) == round(body[4] * 1000)


def test_a_slot_that_this_version_has_set_stands(
    app: App, old: Callable[..., bytes], redis_client: redis.Redis
) -> None:
    redis_client.hset(app.task_keys("mail").schedules, "jobs.cron", "123")
    migrate(app)
    assert app.broker.execute(next_slot(app.task_keys("mail"), "jobs.cron")) == 123


def test_a_call_under_the_name_of_a_task_that_does_not_recur_is_a_call(app: App, old: Callable[..., bytes]) -> None:
    @app.task(queue="mail", name="jobs.cron")
    def cron() -> None: ...

    assert migrate(app)["tasks", "mail"].recurring == ["jobs.periodic"]
    assert "jobs.cron" in [row.id for row in messages_of(app, "mail", State.SCHEDULED)]


def test_names_and_priorities_of_queues_come_along(app: App, old: Callable[..., bytes]) -> None:
    migrate(app)
    assert app.known_queues()[0] == "mail"
    assert {row.name: row.priority for row in Inspection(app).queues()}["mail"] == 3
    [row] = messages_of(app, "café {x}", State.READY)
    assert row.args == ["café"]


def test_a_priority_that_this_version_has_set_stands(app: App, old: Callable[..., bytes]) -> None:
    app.set_priority("mail", 7)
    migrate(app)
    assert {row.name: row.priority for row in Inspection(app).queues()}["mail"] == 7


def test_workers_run_what_came(app: App, old: Callable[..., bytes]) -> None:
    ran: list[Any] = []

    @app.task(queue="mail", name="jobs.plain")
    def plain(*args: Any, flag: Any = 0) -> None:
        ran.append(args)

    migrate(app)
    for name in ("jobs.leased", "jobs.brief"):
        app.task(queue="mail", name=name)(lambda *args, **kwargs: ran.append(args))

    def stop() -> None:
        app.settings.should_quit[0] = 1

    app.task(queue="mail", name="stop")(stop).execute()
    app.execute_task_threads(["mail"], threads=1)
    assert ran == [
        ({}, {"a": 1}),  # 0.33 made an empty object of the empty list when it delivered this again
        (1, [], {}, "ünï", 2**70, 0.1 + 0.2),
        ([[]],),
        ("second",),
        ("uuid",),
        ("called by its own name",),
        ("stranded",),
    ]


# Items.


def test_items_come_as_they_were(app: App, old: Callable[..., bytes]) -> None:
    assert counts(migrate(app)["data", "items"]) == (8, 0, 0, 0)
    got = app.Data("items").get_data(100)
    assert list(got.values()) == [1, [], {}, "ünï", 2**70, 0.1 + 0.2, None, {"a": [{}]}]


def test_leased_items_stay_leased_and_keep_their_tries(app: App, old: Callable[..., bytes]) -> None:
    assert counts(migrate(app)["data", "tries"]) == (2, 0, 1, 0)
    assert [(row.item, row.attempts, row.use_dead) for row in messages_of(app, "tries", State.READY, is_data=True)] == [
        ("t2", 3, True),
        ("t3", 3, True),
    ]
    [held] = messages_of(app, "tries", State.LEASED, is_data=True)
    # This lease, which is yet to end, and two more.
    assert (held.item, held.attempts) == ("t1", 3)
    assert app.Data("tries").done_data([held.id]) == [held.id]


def test_an_item_that_is_held_back_is_got_when_its_time_has_come(
    app: App, old: Callable[..., bytes], redis_client: redis.Redis
) -> None:
    redis_client.zadd(old("dataqv:delayed"), dict.fromkeys(redis_client.zrange(old("dataqv:delayed"), 0, -1), 1.0))
    migrate(app)
    assert list(app.Data("delayed").get_data().values()) == ["not yet"]


def test_an_item_without_a_delivery_left_becomes_a_dead_letter(app: App, old: Callable[..., bytes]) -> None:
    assert counts(migrate(app)["data", "again"]) == (0, 0, 0, 1)
    [row] = Inspection(app).buried(State.DEAD, "again", is_data=True)
    assert row.item == "twice"


def test_dead_items_are_seen_in_the_dead_letter_view(app: App, old: Callable[..., bytes]) -> None:
    migrate(app)
    rows = app.Data(app.settings.deadletter_queue).get_data(10, vis_timeout=-1)
    assert sorted(row[2] for row in rows.values()) == ["buried elsewhere", "dead item", "twice"]
    own = app.Data("own-graveyard", is_dead=True).currently_available()
    assert own[0] >= 1


# What stays, and what is there already.


def test_nothing_is_left_of_what_was_moved(app: App, old: Callable[..., bytes], redis_client: redis.Redis) -> None:
    migrate(app)
    left = {key.removeprefix(PREFIX).decode() for key in redis_client.keys(PREFIX + b"*")}
    assert left == {"queues:all", "seen:"}
    assert migrate(app) == {}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"no json", "expected JSON"),
        (b'{"a": 1}', "expected [id, name, args, kwargs, instant]"),
        (b'["other", "jobs.plain", [], {}, 1]', "expected a message whose id is"),
        (b'["x", "", "item", {}, 1]', "expected a task"),
        (b'["x", "jobs.plain", [NaN], {}, 1]', "expected JSON"),
        (b'["x", "jobs.plain", [], {"_vis_timeout": "soon"}, 1]', "expected a number"),
        (b'["x", "jobs.plain", ["' + b"y" * 2_000_000 + b'"], {}, 1]', "MAX_MESSAGE_BYTES"),
        (b"\xff\xfe", "expected JSON"),
    ],
)
def test_what_cannot_be_read_stays_and_is_named(app: App, redis_client: redis.Redis, body: bytes, why: str) -> None:
    redis_client.hset(PREFIX + b"messages:q", "x", body)
    redis_client.rpush(PREFIX + b"nqueue:q", "x")
    moved = migrate(app)["tasks", "q"]
    assert (moved.left, moved.moved) == (1, 0)
    [left] = moved.why
    assert (left.key, left.entry) == ("test-old:messages:q", "x")
    assert why in left.why
    assert redis_client.hgetall(PREFIX + b"messages:q") == {b"x": body}
    assert redis_client.lrange(PREFIX + b"nqueue:q", 0, -1) == [b"x"]
    redis_client.delete(PREFIX + b"messages:q", PREFIX + b"nqueue:q")


def test_keys_of_somebody_else_are_not_touched(app: App, redis_client: redis.Redis) -> None:
    redis_client.rpush(PREFIX + b"queue:theirs", "a", "b")
    redis_client.hset(PREFIX + b"messages:chat", "1", "hello")
    moved = migrate(app)
    assert "expected a zset, got a list" in moved["tasks", "theirs"].why[0].why
    assert moved["tasks", "chat"].left == 1
    assert redis_client.lrange(PREFIX + b"queue:theirs", 0, -1) == [b"a", b"b"]
    redis_client.delete(PREFIX + b"queue:theirs", PREFIX + b"messages:chat")


def test_a_call_that_was_enqueued_here_under_the_same_id_has_effect_once(app: App, old: Callable[..., bytes]) -> None:
    @app.task(queue="mail", name="jobs.plain")
    def plain(*args: Any) -> None: ...

    plain.execute("second", taskid="6-twice")
    plain.execute("another", taskid="11-stranded")
    moved = migrate(app)["tasks", "mail"]
    assert (moved.known, moved.left) == (1, 1)
    assert (moved.why[0].entry, "another message" in moved.why[0].why) == ("11-stranded", True)
    assert [row.args for row in messages_of(app, "mail", State.READY) if row.id == "6-twice"] == [["second"]]


def test_only_the_queues_that_were_asked_for_are_moved(app: App, old: Callable[..., bytes]) -> None:
    assert set(migrate(app, queues=["manual", "items"])) == {("tasks", "manual"), ("data", "items")}
    assert ("tasks", "mail") in migrate(app)


def test_a_dry_run_tells_the_same_and_does_nothing(
    app: App, old: Callable[..., bytes], redis_client: redis.Redis
) -> None:
    before = everything(redis_client)
    told = migrate(app, dry=True)
    assert everything(redis_client) == before
    assert migrate(app) == told


def test_a_cluster_is_refused(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.broker, "is_cluster", True)
    with pytest.raises(RefusedInput, match="Cluster"):
        Migration(app)


def test_the_prefix_is_no_pattern(app: App, redis_client: redis.Redis) -> None:
    redis_client.hset("test-?:messages:q", "x", json.dumps(["x", "jobs.plain", [], {}, 1]))
    redis_client.hset("test-a:messages:q", "x", json.dumps(["x", "jobs.plain", ["no"], {}, 1]))
    [moved] = Migration(app, "test-?:").run()
    assert moved.ready == 1
    assert redis_client.delete("test-a:messages:q") == 1


# Being killed.

KILLED = """
import os, signal, sys
from rpqueue import App
from rpqueue.migration import Migration
app = App(sys.argv[1], prefix="test")
sent, last = 0, int(sys.argv[2])
real = app.broker._send
def send(step, stamp, attempts):
    global sent
    is_move = step.script is not None and step.script.name == "adopt"
    sent += is_move
    if is_move and sent == last and sys.argv[3] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    reply = real(step, stamp, attempts)
    if is_move and sent == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return reply
app.broker._send = send
Migration(app, sys.argv[4]).run()
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", [1, 2, 4, 7])
def test_killed_and_run_again_nothing_is_lost_or_doubled(
    app: App, server: Server, redis_client: redis.Redis, old: Callable[..., bytes], call: int, moment: str
) -> None:
    ids = put_plain(redis_client, "many", 900)
    words = [sys.executable, "-c", KILLED, server.url, str(call), moment, PREFIX.decode()]
    died = subprocess.run(words, cwd=Path(rpqueue.__file__).parents[1])
    assert died.returncode == -signal.SIGKILL
    migrate(app)
    assert [row.id for row in messages_of(app, "many", State.READY)] == ids
    sizes = {(row.kind, row.name): row for row in Inspection(app).queues()}
    mail = sizes["tasks", "mail"]
    assert (mail.ready, mail.scheduled, mail.leased, mail.seen) == (7, 2, 1, 10)
    assert sizes["data", "items"].ready == 8
    assert migrate(app) == {}


def test_every_call_may_be_sent_twice(
    app: App, old: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, redis_client: redis.Redis
) -> None:
    real = app.broker._send

    def send(step: Any, stamp: Any, attempts: Any) -> Any:
        real(step, stamp, attempts)
        return real(step, stamp, attempts)

    ids = put_plain(redis_client, "many", 250)
    with monkeypatch.context() as patch:
        patch.setattr(app.broker, "_send", send)
        migrate(app)
    sizes = {(row.kind, row.name): row for row in Inspection(app).queues()}
    mail = sizes["tasks", "mail"]
    assert (mail.ready, mail.scheduled, mail.leased, mail.seen) == (7, 2, 1, 10)
    assert sizes["tasks", "default"].dead == 1
    assert [row.id for row in messages_of(app, "many", State.READY)] == ids
    assert migrate(app) == {}


def test_signed_messages_are_signed_for_where_they_go(app: App, old: Callable[..., bytes]) -> None:
    app.settings.signing_keys = {"one": "a secret of sufficient length"}
    app.settings.signing_required = True
    migrate(app)
    assert len(app.Data("items").get_data(100)) == 8
    ran: list[Any] = []
    app.task(queue="manual", name="jobs.manual")(lambda *args: ran.append(args))

    def stop() -> None:
        app.settings.should_quit[0] = 1

    app.task(queue="manual", name="stop")(stop).execute()
    app.execute_task_threads(["manual"], threads=1)
    assert ran == [("retries",)]


def test_calls_that_old_programs_enqueue_meanwhile_come_too(app: App, redis_client: redis.Redis) -> None:
    ids = put_plain(redis_client, "busy", 3000)

    def enqueue() -> None:
        for number in range(1000):
            one = f"new-{number:04}"
            pipe = redis_client.pipeline(True)
            pipe.hset(PREFIX + b"messages:busy", one, json.dumps([one, "jobs.plain", [], {}, time.time()]))
            pipe.rpush(PREFIX + b"nqueue:busy", one)
            pipe.execute()

    old_program = threading.Thread(target=enqueue)
    old_program.start()
    migrate(app)
    old_program.join()
    migrate(app)
    rows = Inspection(app)
    assert {row.name: row.ready for row in rows.queues()}["busy"] == 4000
    first = rows.page("busy", State.READY, limit=1000).messages
    assert [row.id for row in first] == ids[:1000]


# The command.


@pytest.fixture
def run(server: Server, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.delenv("RPQUEUE_URL", raising=False)

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(rpqueue, "app", App(prefix="test"))
        result = CliRunner().invoke(main, ["migrate", *arguments, "--url", server.url])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        rpqueue.app.broker.close()
        return result

    return run


def test_the_command_tells_what_it_moved(old: Callable[..., bytes], run: Callable[..., Result]) -> None:
    said = json.loads(run("--from-prefix", PREFIX.decode(), "--dry-run", "--json").output)
    assert said["dry_run"] is True
    mail = next(row for row in said["queues"] if (row["queue"], row["kind"]) == ("mail", "tasks"))
    assert (mail["ready"], mail["scheduled"], mail["leased"], mail["moved"]) == (7, 2, 1, 10)
    result = run("--from-prefix", PREFIX.decode())
    assert result.exit_code == 0
    assert "jobs.cron" in result.output
    assert run("--from-prefix", PREFIX.decode()).output == "Nothing of version 0.33 is there.\n"


def test_the_command_ends_with_1_when_something_had_to_stay(
    redis_client: redis.Redis, run: Callable[..., Result]
) -> None:
    redis_client.hset(PREFIX + b"messages:q", "x", b"no json")
    result = run("--from-prefix", PREFIX.decode())
    assert result.exit_code == 1
    assert "Left: test-old:messages:q x: message: expected JSON" in result.output
    redis_client.delete(PREFIX + b"messages:q")
