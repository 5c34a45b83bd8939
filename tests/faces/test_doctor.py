"""The doctor: what it finds, what it says, and what it mends."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

import rpqueue
from rpqueue import App, acl, keys
from rpqueue.cli import main
from rpqueue.doctor import Doctor, Finding, Level, access, advisories, keyspace, server
from rpqueue.doctor.asking import Node, info_of
from rpqueue.inspection import Inspection
from rpqueue.protocol import views
from rpqueue.protocol.workers import Beat, beat
from rpqueue.tasks import Task
from tests.servers import Server

Found = dict[str, list[Finding]]


def examine(app: App, **options: Any) -> Found:
    found: Found = {}
    for one in Doctor(app, **options).examine():
        found.setdefault(one.check, []).append(one)
    return found


def levels(found: Found) -> dict[str, Level]:
    """The worst of each check, of those that are worse than a note."""
    worst = {check: max(one.level for one in ones) for check, ones in found.items()}
    return {check: level for check, level in worst.items() if level > Level.NOTE}


#: What a test server is told for, having no append-only file.
OF_THE_SERVER = {"persistence.aof", "server.security"}


def of_queues(found: Found) -> dict[str, Level]:
    """As `levels`, without what is about the server."""
    return {check: level for check, level in levels(found).items() if check not in OF_THE_SERVER}


@pytest.fixture
def work(app: App) -> Task[..., Any]:
    @app.task(queue="mail", name="work")
    def work(*args: Any) -> None: ...

    return work


@pytest.fixture
def again(app: App) -> Task[..., Any]:
    @app.task(queue="mail", name="again", vis_timeout=60, attempts=3)
    def again(*args: Any) -> None: ...

    return again


@pytest.fixture
def own_app(own_server: Server) -> Iterator[App]:
    app = App(own_server.url, prefix="test")
    yield app
    app.broker.close()


def tell(app: App, *, queues: list[str] | None = None, clock: float = 0.0, pid: int = 7) -> None:
    """As a worker says that it is alive."""
    info = {"host": "here", "pid": pid, "queues": queues, "threads": 1, "started_at": 1.0, "clock": time.time() + clock}
    app.broker.execute(beat(app.keys.app, [Beat(f"here:{pid}", json.dumps(info))], 600))


# The server.


def test_a_server_that_is_set_up_well(own_app: App) -> None:
    found = examine(own_app)
    assert set(levels(found)) <= {"server.security"}
    assert found["persistence.aof"][0].seen == "append-only file, nothing acknowledged is lost"
    assert found["keys"][0].level is Level.OK


@pytest.mark.parametrize(
    ("settings", "check", "level"),
    [
        ({"maxmemory-policy": "allkeys-lru"}, "memory.policy", Level.PROBLEM),
        ({"maxmemory-policy": "volatile-ttl"}, "memory.policy", Level.PROBLEM),
        ({"appendonly": "no"}, "persistence.aof", Level.PROBLEM),
        ({"appendonly": "no", "save": "60 1"}, "persistence.aof", Level.WARNING),
        ({"appendfsync": "no"}, "persistence.aof", Level.WARNING),
        ({"maxmemory": "3mb"}, "memory.limit", None),
    ],
)
def test_settings_that_lose_messages(
    own_app: App, own_server: Server, settings: dict[str, str], check: str, level: Level | None
) -> None:
    client = own_server.client()
    for name, value in settings.items():
        client.config_set(name, value)
    if level is None:
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", int(used / 0.95))
        level = Level.WARNING
    [found] = examine(own_app)[check]
    assert found.level is level
    assert found.expected
    assert found.advice


def test_few_connections_left(own_app: App, own_server: Server) -> None:
    clients = [own_server.client() for _ in range(3)]
    for client in clients:
        client.ping()
    clients[0].config_set("maxclients", 5)
    assert examine(own_app)["server.clients"][0].level is Level.WARNING


def test_replicas_and_a_replica(start_server: Callable[..., Server], wait_until: Callable[..., Any]) -> None:
    master, replica = start_server(appendonly=True), start_server(appendonly=True)
    replica.client().execute_command("REPLICAOF", master.host, master.port)
    wait_until(lambda: replica.client().info("replication")["master_link_status"] == "up", timeout=20)
    wait_until(lambda: "state=online" in str(info_of(master.client().info("replication")).get("slave0")), timeout=20)
    app, other = App(master.url, prefix="test"), App(replica.url, prefix="test")
    found = examine(app)
    assert found["replication.durability"][0].level is Level.WARNING
    assert "replication.replicas" not in found
    master.client().config_set("min-replicas-to-write", 1)
    assert examine(app)["replication.durability"][0].level is Level.OK
    [role] = examine(other)["replication.role"]
    assert (role.level, "is a replica" in role.seen) == (Level.PROBLEM, True)
    app.broker.close()
    other.broker.close()


def node(**info: str) -> Node:
    def ask(*words: str) -> Any:
        return []

    return Node("here", ask, info)


@pytest.mark.parametrize(
    ("info", "check", "level"),
    [
        ({"redis_version": "6.0.16"}, "server.version", Level.PROBLEM),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.13"}, "server.version", Level.OK),
        ({"redis_version": "8.2.1"}, "server.security", Level.WARNING),
        ({"redis_version": "8.8.2"}, "server.security", Level.OK),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.1", "server_name": "valkey"}, "server.security", Level.OK),
        ({"redis_version": "8.8.2", "rdb_last_bgsave_status": "err"}, "persistence.rdb", Level.PROBLEM),
        ({"redis_version": "8.8.2", "aof_last_write_status": "err"}, "persistence.aof", Level.PROBLEM),
        (
            {"redis_version": "8.8.2", "slave0": "ip=1.2.3.4,port=1,state=wait_bgsave"},
            "replication.replicas",
            Level.WARNING,
        ),
        ({"redis_version": "8.8.2", "role": "slave", "master_link_status": "down"}, "replication.role", Level.PROBLEM),
    ],
)
def test_what_info_says(info: dict[str, str], check: str, level: Level) -> None:
    found = [one for one in server.checks(node(**info)) if one.check == check]
    assert max(one.level for one in found) is level


@pytest.mark.parametrize(
    ("kind", "version", "count"),
    [
        ("redis", (6, 2, 14), 1),
        ("redis", (6, 2, 20), 0),
        ("redis", (7, 0, 15), 2),
        ("redis", (8, 2, 2), 2),
        ("redis", (8, 2, 6), 0),
        ("redis", (8, 10, 0), 0),
        ("valkey", (7, 2, 10), 4),
        ("valkey", (8, 1, 9), 0),
        ("valkey", (9, 0, 2), 5),
        ("valkey", (9, 1, 2), 0),
    ],
)
def test_holes_of_versions(kind: advisories.Server, version: advisories.Version, count: int) -> None:
    found = advisories.affecting(kind, version)
    assert len(found) == count
    assert all(one.remedy(kind, version) for one in found)


@pytest.mark.any_server
def test_the_server_under_test_is_recognised(app: App, server: Server) -> None:
    found = examine(app)
    assert found["server.version"][0].level is Level.OK
    assert found["server.version"][0].seen.split()[0] == ("Valkey" if server.flavour == "valkey" else "Redis")


# The way there.


def test_a_client_of_the_users_own_is_looked_at(app: App, server: Server) -> None:
    bad = redis.Redis(host=server.host, port=server.port, decode_responses=True, retry=None, socket_timeout=None)
    app.set_redis_connection(bad)
    found = examine(app)
    assert found["client.timeout"][0].level is Level.WARNING
    assert found["client.decoding"][0].level is Level.NOTE
    good = redis.Redis(host=server.host, port=server.port, socket_timeout=30)
    app.set_redis_connection(good)
    assert examine(app)["client.timeout"][0].level is Level.OK
    bad.close()
    good.close()


def test_our_own_client_needs_no_look(app: App) -> None:
    assert not [check for check in examine(app) if check.startswith("client.")]


@pytest.mark.parametrize(
    ("ahead", "doubt", "level"),
    [(0.0, 0.1, Level.OK), (0.9, 0.0, Level.OK), (-3.0, 0.0, Level.NOTE), (3.0, 2.5, Level.OK), (90, 1, Level.WARNING)],
)
def test_clocks(ahead: float, doubt: float, level: Level) -> None:
    found = access.clock("clock", "this machine", ahead, doubt)
    assert found.level is level
    assert level is Level.OK or ("behind" if ahead < 0 else "ahead") in found.seen


@pytest.mark.parametrize(
    ("role", "level"), [("admin", Level.OK), ("worker", Level.OK), ("producer", Level.NOTE), (None, Level.PROBLEM)]
)
def test_what_the_user_may_do(app: App, server: Server, role: acl.Role | None, level: Level) -> None:
    client = server.client()
    rules = acl.rules(role, "test") if role else ["~other:*", "+@all"]
    client.execute_command("ACL", "SETUSER", "test-doctor", "reset", "on", ">pw", *rules, "+acl|dryrun", "+acl|whoami")
    client.execute_command("ACL", "SETUSER", "test-doctor", "+command|info", "+info", "+time")
    try:
        theirs = App(f"redis://test-doctor:pw@{server.host}:{server.port}/0", prefix="test")
        [asked] = [one for one in Doctor(theirs).findings_of_access() if one.check == "acl"]
        assert asked.level is level, asked
        theirs.broker.close()
    finally:
        client.execute_command("ACL", "DELUSER", "test-doctor")


def test_a_user_who_may_not_even_ask(app: App, server: Server) -> None:
    client = server.client()
    client.execute_command("ACL", "SETUSER", "test-doctor", "reset", "on", ">pw", *acl.rules("admin", "test"))
    try:
        theirs = App(f"redis://test-doctor:pw@{server.host}:{server.port}/0", prefix="test")
        found = examine(theirs)
        assert found["acl"][0].level is Level.NOTE
        assert found["keys"][0].level is Level.OK
        theirs.broker.close()
    finally:
        client.execute_command("ACL", "DELUSER", "test-doctor")


# What goes on.


def test_calls_that_no_worker_waits_for(app: App, work: Task[..., Any]) -> None:
    assert examine(app)["workers.alive"][0].level is Level.NOTE
    work.execute()
    assert examine(app)["workers.alive"][0].level is Level.PROBLEM
    tell(app)
    assert examine(app)["workers.alive"][0].level is Level.OK


def test_workers_that_are_silent(app: App) -> None:
    tell(app)
    assert "workers.silent" not in examine(app)
    app.broker.client.zadd(app.keys.app.beats, {"here:7": (time.time() - 60) * 1000})
    [found] = examine(app)["workers.silent"]
    assert (found.level, "here:7" in found.seen) == (Level.WARNING, True)


@pytest.mark.parametrize(("ahead", "level"), [(0, Level.OK), (10, Level.NOTE), (-3600, Level.WARNING)])
def test_clocks_of_workers(app: App, ahead: float, level: Level) -> None:
    tell(app, clock=ahead)
    assert examine(app)["workers.clock"][0].level is level


def test_a_queue_that_nobody_works_on(app: App, work: Task[..., Any]) -> None:
    work.execute()
    tell(app, queues=["other"])
    [found] = examine(app)["queues.unattended"]
    assert "mail" in found.seen
    tell(app, queues=["mail"], pid=8)
    assert "queues.unattended" not in examine(app)


def test_what_has_waited_for_long(app: App, work: Task[..., Any]) -> None:
    work.execute()
    tell(app)
    assert examine(app)["queues.age"][0].level is Level.OK
    time.sleep(0.05)
    assert examine(app, max_age=0.01)["queues.age"][0].level is Level.WARNING


def test_what_is_overdue(app: App, work: Task[..., Any], redis_client: redis.Redis) -> None:
    work.execute(delay=60, taskid="late")
    tell(app)
    assert "queues.overdue" not in examine(app)
    redis_client.zadd(app.task_keys("mail").scheduled, {"late": (time.time() - 60) * 1000})
    assert examine(app)["queues.overdue"][0].level is Level.WARNING


def test_parked_lost_and_dead_ones(app: App, work: Task[..., Any], redis_client: redis.Redis) -> None:
    for number in range(3):
        work.execute(taskid=f"id-{number}")
    queue = app.task_keys("mail")
    redis_client.delete(queue.ready)
    redis_client.hset(queue.parked, "id-0", "not.known")
    redis_client.zadd(queue.lost, {"id-1": 1})
    redis_client.zadd(queue.dead, {"id-2": 1})
    found = examine(app)
    assert "not.known (1)" in found["queues.parked"][0].seen
    assert found["queues.lost"][0].level is found["queues.dead"][0].level is Level.NOTE


# Keys.


def test_types_are_those_of_the_table_of_keys() -> None:
    rows = [line.split() for line in (keys.__doc__ or "").splitlines() if line[:1].isalpha()]
    tables = [row for row in rows if len(row) > 2 and row[1] in {"hash", "list", "zset", "string"}]
    told: list[dict[str, str]] = [{}, {}]
    for row in tables:
        kind = row[0].partition(":")[0]
        number = 1 if told[1] or kind == "queues" else 0
        told[number][kind] = row[1]
    assert told[0] == {**keyspace.QUEUE_TYPES, **keyspace.LOCK_TYPES}
    assert told[1] == keyspace.APP_TYPES


def test_a_live_system_has_keys_of_our_types_only(app: App, start_worker: Callable[..., None]) -> None:
    @app.task(queue="mail", name="kept", save_results=60)
    def kept() -> int:
        return 1

    @app.periodic_task(1, queue="mail", name="tick")
    def tick() -> None: ...

    start_worker()
    assert kept.execute().get(20) == 1
    items = app.Data("items", vis_timeout=5)
    items.put_data([1, 2])
    items.get_data()
    with app.SimpleLock(None, "a lock: {x}", 5):
        found = examine(app)
    assert not [check for check in found if check.startswith("keys.")]
    # Its worker has told its clock.
    assert found["workers.clock"][0].level is Level.OK


def test_keys_of_others_and_of_other_types(app: App, work: Task[..., Any], redis_client: redis.Redis) -> None:
    work.execute()
    queue = app.task_keys("broken")
    redis_client.set(queue.ready, "x")
    redis_client.set("test:{tasks:mail}:unheard", "x", px=60_000)
    redis_client.set("test:cache", "x", px=60_000)
    redis_client.set(queue.memo(b"s"), "x")
    found = examine(app)
    assert "{tasks:broken}:ready is a string, not a list" in found["keys.types"][0].seen
    assert found["keys.types"][0].level is Level.PROBLEM
    assert "2 keys are none of this version's" in found["keys.unknown"][0].seen
    assert "1 memo" in found["keys.ttl"][0].seen
    redis_client.delete(queue.ready, queue.memo(b"s"))


def test_names_of_queues_are_read_out_of_keys(app: App) -> None:
    name = "caf\u00e9 {x}:%\n"

    @app.task(queue=name, name="odd")
    def odd() -> None: ...

    odd.execute()
    app.broker.client.delete(app.keys.app.queues, app.keys.app.ready_queues)
    [found] = examine(app)["queue.index"]
    assert repr(name) in found.seen


# Bookkeeping.


def breakage(app: App, client: redis.Redis, work: Task[..., Any], again: Task[..., Any]) -> None:
    """One of each that can be mended."""
    for number in range(3):
        work.execute(taskid=f"once-{number}")
        again.execute(taskid=f"more-{number}")
    queue = app.task_keys("mail")
    client.lrem(queue.ready, 0, "once-0")  # in no place
    client.lrem(queue.ready, 0, "more-0")
    client.rpush(queue.ready, "gone", "more-1")  # without message; twice
    client.zadd(queue.leased, {"once-1": (time.time() + 60) * 1000})  # twice
    client.zadd(app.keys.app.due_queues, {"mail": 1})
    client.hset(queue.counts, "left", "2 1 0 0")  # of nothing
    client.hset(queue.errors, "left", "failed 1|")


def places(app: App) -> dict[str, list[str]]:
    queue, client = app.task_keys("mail"), app.broker.client
    zsets = {name: client.zrange(getattr(queue, name), 0, -1) for name in ("scheduled", "leased", "dead", "lost")}
    found = {"ready": client.lrange(queue.ready, 0, -1), **zsets}
    return {name: [one.decode() for one in ids] for name, ids in found.items() if ids}


def test_what_is_wrong_is_told_and_left(
    app: App, redis_client: redis.Redis, work: Task[..., Any], again: Task[..., Any]
) -> None:
    breakage(app, redis_client, work, again)
    before = places(app)
    found = examine(app)
    assert {check: [one.level for one in found[check]] for check in found if check.startswith("queue.")} == {
        "queue.no-message": [Level.WARNING],
        "queue.twice": [Level.PROBLEM],
        "queue.nowhere": [Level.PROBLEM],
    }
    assert "2 ids without a message" in found["queue.no-message"][0].seen
    assert "2 messages in two places" in found["queue.twice"][0].seen
    assert "2 messages in no place" in found["queue.nowhere"][0].seen
    assert all("--repair" in one.advice for check in found if check.startswith("queue.") for one in found[check])
    assert places(app) == before
    assert examine(app, quick=True)["queue.conservation"][0].level is Level.PROBLEM


def test_what_is_wrong_is_mended_once(
    app: App, redis_client: redis.Redis, work: Task[..., Any], again: Task[..., Any]
) -> None:
    breakage(app, redis_client, work, again)
    assert not [check for check in of_queues(examine(app, mends=True)) if check.startswith("queue.")]
    # What may run again is behind the others; what may not is lost; who holds one goes on.
    assert places(app) == {
        "ready": ["more-1", "once-2", "more-2", "more-0"],
        "leased": ["once-1"],
        "lost": ["once-0"],
    }
    after = places(app)
    found = examine(app, mends=True)
    assert found["queues"][0].level is Level.OK
    assert places(app) == after
    assert Inspection(app).buried("lost")[0].reason == "orphaned"


def test_a_lost_list_of_a_whole_queue_comes_back(app: App, redis_client: redis.Redis, again: Task[..., Any]) -> None:
    ids = sorted(again.execute(number).taskid for number in range(2500))
    queue = app.task_keys("mail")
    redis_client.delete(queue.ready)
    found = examine(app)
    assert "1,000 messages in no place" in found["queue.nowhere"][0].seen
    assert "1,500 more look wrong" in found["queue.more"][0].seen
    examine(app, mends=True)
    assert sorted(places(app)["ready"]) == ids
    assert "queues" in examine(app)


def test_items_are_mended_too(app: App, redis_client: redis.Redis) -> None:
    data = app.Data("items", vis_timeout=5, attempts=2)
    data.put_data(["a", "b"])
    redis_client.lpop(app.data_keys("items").ready)
    assert "queue.nowhere" in examine(app)
    examine(app, mends=True)
    assert list(data.get_data(5).values()) == ["b", "a"]


NO_INDEX = pytest.mark.one_server(
    "no script of a queue reaches an index there, so there is none but the list of queues"
)


@pytest.mark.parametrize(
    "lost", ["queues", *(pytest.param(name, marks=NO_INDEX) for name in ("ready_queues", "due_queues"))]
)
def test_an_index_that_hides_work_is_made_true(
    app: App, redis_client: redis.Redis, work: Task[..., Any], lost: str
) -> None:
    work.execute()
    work.execute(delay=60)
    before = redis_client.zrange(getattr(app.keys.app, lost), 0, -1, withscores=True)
    redis_client.delete(getattr(app.keys.app, lost))
    found = examine(app)
    assert found["queue.index"][0].level is Level.PROBLEM
    assert examine(app, mends=True)["queue.index"][0].level is Level.NOTE
    assert redis_client.zrange(getattr(app.keys.app, lost), 0, -1, withscores=True) == before
    assert "queue.index" not in examine(app)


def test_a_data_queue_that_is_not_listed_is_listed(app: App, redis_client: redis.Redis) -> None:
    app.Data("items").put_data([1])
    redis_client.delete(app.keys.app.data_queues)
    assert examine(app)["queue.index"][0].level is Level.PROBLEM
    examine(app, mends=True)
    assert [row.name for row in Inspection(app).queues()] == ["items"]


@pytest.mark.parametrize("mends", [False, True])
def test_what_looked_wrong_and_is_not_any_more_is_left_alone(
    app: App, redis_client: redis.Redis, work: Task[..., Any], monkeypatch: pytest.MonkeyPatch, mends: bool
) -> None:
    work.execute(taskid="moving")
    queue = app.task_keys("mail")
    redis_client.delete(queue.ready)
    real, looks = app.broker.execute, 0

    def execute(step: Any, *rest: Any) -> Any:
        nonlocal looks
        if getattr(step, "script", None) and step.script.name == "mend":
            looks += 1
            redis_client.zadd(queue.leased, {"moving": (time.time() + 60) * 1000})  # somebody has it by now
        return real(step, *rest)

    monkeypatch.setattr(app.broker, "execute", execute)
    found = examine(app, mends=mends)
    assert looks == 1
    assert "queue.nowhere" not in found
    assert places(app) == {"leased": ["moving"]}


def test_a_busy_system_is_never_called_wrong_and_never_made_so(
    app: App, server: Server, start_worker: Callable[..., None], wait_until: Callable[..., Any]
) -> None:
    runs: Counter[int] = Counter()

    @app.task(queue="mail", name="count")
    def count(number: int) -> None:
        runs[number] += 1

    @app.task(queue="mail", name="fails", vis_timeout=60, attempts=3, retry_delay=0)
    def fails(number: int) -> None:
        runs[number] += 1
        raise ValueError(number)

    calls = 6000

    def enqueue(first: int, last: int) -> None:
        for at in range(first, last, 200):
            count.execute_many([(number,) for number in range(at, at + 200)])
            fails.execute_many([(calls + at // 10 + number,) for number in range(20)])
            time.sleep(0.01)

    def looks_while(first: int, last: int, **options: Any) -> list[list[str]]:
        """What is said of queues while so many calls come in and run."""
        producer = threading.Thread(target=enqueue, args=(first, last))
        producer.start()
        told = []
        while producer.is_alive():
            found = Doctor(theirs, **options).examine()
            told.append([one.seen.partition(", which")[0] for one in found if one.check.startswith("queue.")])
        producer.join()
        return told

    theirs = App(server.url, prefix="test")
    start_worker(threads=2)
    # One that really is in no place, so that everything that moves is suspected, too.
    orphan = count.execute(calls * 2, delay=60)
    theirs.broker.client.zrem(app.task_keys("mail").scheduled, orphan.taskid)
    told = looks_while(0, calls // 2)
    assert told == [["task queue 'mail': 1 messages in no place"]] * len(told)
    first, *others = looks_while(calls // 2, calls, mends=True)
    assert len(first) == 1
    assert others == [[]] * len(others)
    assert orphan.status == "lost"
    theirs.broker.close()
    mail = app.task_keys("mail")
    wait_until(lambda: not any(app.broker.execute(views.sizes([mail]))[0][:3]), timeout=40)
    assert not [number for number in range(calls) if runs[number] != 1]
    assert not [number for number in range(calls, calls + calls // 10) if runs[number] != 3]


# The command.


@pytest.fixture
def run(server: Server, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.delenv("RPQUEUE_URL", raising=False)

    def run(*arguments: str, url: str = server.url) -> Result:
        monkeypatch.setattr(rpqueue, "app", App(prefix="test"))
        result = CliRunner().invoke(main, ["doctor", *arguments, "--url", url])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        rpqueue.app.broker.close()
        return result

    return run


def test_the_command_repairs_and_its_exit_code_tells_how_bad_it_is(
    own_server: Server, run: Callable[..., Result]
) -> None:
    app = App(own_server.url, prefix="test")
    work = app.task(queue="mail", name="work")(lambda: None)
    client = own_server.client()
    assert run(url=own_server.url).exit_code == 0
    client.config_set("appendfsync", "no")
    assert run(url=own_server.url).exit_code == 1
    client.config_set("appendfsync", "always")
    work.execute()
    tell(app)
    client.delete(app.task_keys("mail").ready)
    result = run(url=own_server.url)
    assert result.exit_code == 2
    assert "problem  queue.nowhere: task queue 'mail': 1 messages in no place" in result.output
    assert "do: rpqueue doctor --repair" in result.output
    assert run("--repair", "--dry-run", url=own_server.url).exit_code == 2
    result = run("--repair", url=own_server.url)
    assert "mended: now lost" in result.output
    assert result.exit_code == 0
    assert app.broker.run(views.sizing([app.task_keys("mail")]))[0].lost == 1
    assert run(url=own_server.url).exit_code == 0
    app.broker.close()


def test_json_has_every_finding(run: Callable[..., Result]) -> None:
    result = run("--json")
    said = json.loads(result.output)
    assert set(said) == {"level", "findings"}
    assert all(set(one) == {"check", "level", "seen", "expected", "advice"} for one in said["findings"])
    assert said["level"] == "problem"  # the shared server keeps nothing on disk
    assert result.exit_code == 2


def test_a_dry_run_goes_with_a_repair(run: Callable[..., Result]) -> None:
    result = run("--dry-run")
    assert (result.exit_code, "together with --repair" in result.output) == (2, True)


def test_a_redis_that_is_not_there(run: Callable[..., Result]) -> None:
    assert run("--timeout", "1", url="redis://127.0.0.1:1/0").exit_code == 3


def test_the_exit_codes_are_in_the_help() -> None:
    output = CliRunner().invoke(main, ["doctor", "--help"]).output
    assert "1 there are warnings; 2 there are problems" in " ".join(output.split())
