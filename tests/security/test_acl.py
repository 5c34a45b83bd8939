"""``rpqueue acl``: each role has what it needs, and nothing else, on every kind of server."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import redis
from click.testing import CliRunner, Result

import rpqueue
from rpqueue import App, acl, aio
from rpqueue.acl import ROLES, Role
from rpqueue.cli import main
from rpqueue.errors import RedisDenied, RefusedName
from rpqueue.inspection import Inspection
from rpqueue.protocol import scripts
from rpqueue.states import State
from tests.servers import Server, wait_until

PASSWORD = "marked-password-of-a-user"
#: Files that speak to a server of their own, as its owner; that know words which are commands, too; or that read keys
#: of 0.33, which no role may.
NOT_UNDER_ACL = {"embedded.py", "logs.py", "acl.py", "adoption.py"}
#: Words that stand for something else than a command: an error, the keys of a script. Or what rpqueue doctor asks, and
#: does without when it is refused.
OTHER_MEANINGS = {"READONLY", "KEYS", "CONFIG", "GET", "ACL", "COMMAND"}


@pytest.fixture
def users(server: Server, redis_client: redis.Redis) -> Iterator[dict[Role, str]]:
    """``{role: URL}`` of users that the printed lines have made."""
    urls: dict[Role, str] = {}
    for role in ROLES:
        line = f"test-{role} reset on >{PASSWORD}".split() + acl.rules(role, "test")
        redis_client.execute_command("ACL", "SETUSER", *line)
        urls[role] = f"redis://test-{role}:{PASSWORD}@{server.host}:{server.port}/0"
    redis_client.execute_command("ACL", "LOG", "RESET")
    yield urls
    for role in ROLES:
        redis_client.execute_command("ACL", "DELUSER", f"test-{role}")


@pytest.fixture
def app_of(users: dict[Role, str]) -> Iterator[Callable[..., App]]:
    made: list[App] = []

    def app_of(role: Role, prefix: str = "test") -> App:
        made.append(App(users[role], prefix=prefix))
        return made[-1]

    yield app_of
    for app in made:
        app.broker.close()


def denied(client: redis.Redis) -> list[Any]:
    """What the server refused since the log was emptied; redis-py tries CLIENT SETINFO, and lives without."""
    rows = [{str(key): value for key, value in row.items()} for row in client.acl_log()]
    objects = [row["object"] for row in rows]
    return [name for name in objects if not str(name).lower().startswith("client")]


# The lists are those of the code.


def test_every_command_of_every_script_is_seen() -> None:
    for name in scripts.names():
        source = re.sub(r"--.*", "", scripts.load(name).source)
        calls = re.findall(r"\bredis\.p?call\b.[^,)]*", source)
        unseen = [call for call in calls if not acl.commands_in(call)]
        assert not unseen, f"{name} has a call whose command is no plain text"


def test_the_roles_name_scripts_that_there_are() -> None:
    assert set(scripts.names()) >= acl._OF_PRODUCERS | acl._OF_ADMINS
    assert not acl._OF_PRODUCERS & acl._OF_ADMINS


def words_in(file: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch("[A-Z]{3,}", node.value):
            yield node.value, node.lineno


def test_every_command_that_the_code_holds_is_listed(redis_client: redis.Redis) -> None:
    reply: Any = redis_client.execute_command("COMMAND")
    known = {str(name).upper() for name in reply}
    assert {"EVALSHA", "GET"} <= known
    package = Path(rpqueue.__file__).parent
    files = [file for file in package.rglob("*.py") if file.name not in NOT_UNDER_ACL]
    held = {(word, f"{file.relative_to(package)}:{line}") for file in files for word, line in words_in(file)}
    unlisted = {place for word, place in held if word in known and word not in {*acl.SENT, *acl.FSYNC, *OTHER_MEANINGS}}
    assert not unlisted, "sent, and in no list of rpqueue/acl.py"
    assert set(acl.SENT) - {"SELECT"} <= {word for word, _ in held}, "listed, and sent nowhere"


def test_a_worker_may_what_a_producer_may_and_an_admin_what_a_worker_may() -> None:
    producer, worker, admin = (set(acl.commands(role)) for role in ROLES)
    assert producer < worker < admin
    assert not producer & {"LPOP", "LRANGE", "BLPOP", "LTRIM", "UNLINK"}
    assert not admin & {
        "KEYS",
        "FLUSHALL",
        "FLUSHDB",
        "CONFIG",
        "SHUTDOWN",
        "DEBUG",
        "MODULE",
        "SCRIPT",
        "ACL",
        "MONITOR",
    }


# The whole life under these users.


@pytest.mark.any_server
def test_a_producer_and_a_worker_live_their_whole_lives(
    app_of: Callable[..., App], start_worker: Any, redis_client: redis.Redis
) -> None:
    producer, worker = app_of("producer"), app_of("worker")
    ran: list[Any] = []

    def job(value: Any, fail: bool = False) -> Any:
        ran.append(value)
        if fail:
            raise ValueError("meant")
        return value

    options: dict[str, Any] = {"name": "job", "save_results": 30, "use_dead": True, "vis_timeout": 5, "attempts": 1}
    call = producer.task(**options)(job)
    worker.task(**options)(job)
    worker.periodic_task(0.1, low_delay_okay=True, name="tick", queue="ticks")(lambda: ran.append("tick"))
    measurements = worker.Data("measurements", vis_timeout=5, attempts=2, use_dead=True)

    assert call.execute("early", delay=600).cancel() is True
    start_worker(app=worker)
    assert call.execute(1).get(timeout=20) == 1
    assert call.execute(2, taskid="chosen", delay=0.01).wait(timeout=20)
    assert [one.get(timeout=20) for one in call.execute_many([(3,), (4,)])] == [3, 4]
    with producer.pipeline():
        inside = call.execute(5)
        producer.Data("measurements", vis_timeout=5, attempts=2, use_dead=True).put_data([1, 2, 3])
    assert inside.get(timeout=20) == 5
    wait_until(lambda: "job" in producer.known_tasks)
    by_name = App(producer.broker.endpoint.url, prefix="test")
    assert by_name.call_task("job", None, 6).get(timeout=20) == 6
    by_name.broker.close()
    assert producer.result(inside.taskid) == 5
    failed = call.execute(7, fail=True)
    wait_until(lambda: failed.status == "dead")
    wait_until(lambda: "tick" in ran)
    with producer.SimpleLock(None, "lock"):
        pass
    leased = measurements.get_data(2, get_timeout=5)
    assert list(leased.values()) == [1, 2]
    measurements.refresh_data(leased, 10)
    assert len(measurements.done_data(leased)) == 2
    assert measurements.currently_available() == (1, 0)
    assert list(measurements.get_data(vis_timeout=0).values()) == [3]

    async def awaited() -> Any:
        verbs = aio.of(producer)
        one = await verbs.execute(call, 8)
        many = await verbs.execute_many(call, [(9,)])
        return [await one.get(timeout=20), await many[0].get(timeout=20), await verbs.result(one.taskid)]

    assert asyncio.run(awaited()) == [8, 9, 8]
    assert not denied(redis_client)


@pytest.mark.any_server
def test_an_admin_has_every_command_of_the_command_line(
    users: dict[Role, str], app_of: Callable[..., App], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpqueue, "KEY_PREFIX", "test")

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(main, [*arguments, "--url", users["admin"], "--prefix", "test"])
        assert result.exit_code == 0, (arguments, result.output)
        assert PASSWORD not in result.output
        return result

    app = app_of("admin")
    job = app.task(name="job", use_dead=True, vis_timeout=5)(lambda: None)
    calls = [job.execute() for _ in range(4)]
    app.Data("items").put_data([1, 2])
    app.Data("items", is_dead=True).put_data([3])
    for _ in range(2):
        [(message_id, _)] = app.Data("default", is_tasks=True).get_data(vis_timeout=5).items()
        bury(app, message_id)
    run("status")
    run("page", "default")
    run("task", "show", calls[3].taskid)
    run("task", "cancel", calls[3].taskid)
    run("dead", "ls")
    run("dead", "redrive", calls[0].taskid)
    run("dead", "purge", calls[1].taskid, "--yes")
    run("priority", "default", "3")
    run("clear", "items", "--data", "--yes")
    run("clear", "default", "--delete", "--yes")
    app.flush_tasks(timeout=0.01)
    app.queue_sizes()
    app.read_deadletter(is_data=True, delete=True)
    assert not denied(redis_client)
    rpqueue.set_redis_connection_settings()


def bury(app: App, message_id: str) -> None:
    from rpqueue.protocol import moves

    keys = app.task_keys("default")
    assert (
        app.broker.execute(moves.fail(keys, app.index, (message_id, 1), app.task_rules, reason="undecodable")) == "dead"
    )


@pytest.mark.any_server
def test_what_a_role_does_not_need_is_denied(users: dict[Role, str], redis_client: redis.Redis) -> None:
    redis_client.set("other:secret", 1, px=60_000)
    for role in ROLES:
        with redis.Redis.from_url(users[role]) as client:
            for words in (
                ("KEYS", "*"),
                ("FLUSHALL",),
                ("CONFIG", "GET", "requirepass"),
                ("SCRIPT", "FLUSH"),
                ("GET", "other:secret"),
                ("GET", "testother:{app}:queues"),
                ("SUBSCRIBE", "other:{tasks:q}:events:"),
                ("PUBLISH", "other:{tasks:q}:events:", "x"),
                ("EVAL", "return redis.call('GET', KEYS[1])", "1", "other:secret"),
                ("EVAL", "return redis.call('KEYS', '*')", "0"),
            ):
                with pytest.raises(redis.ResponseError, match=r"(?i)NOPERM|no permission|can't run"):
                    client.execute_command(*words)
    redis_client.delete("other:secret")
    with redis.Redis.from_url(users["producer"]) as client:
        for words in (
            ("LPOP", "test:{tasks:default}:ready"),
            ("HSET", "test:{app}:workers", "a", "b"),
            ("LRANGE", "test:{tasks:default}:ready", "0", "-1"),
        ):
            with pytest.raises(redis.ResponseError, match=r"(?i)NOPERM|no permission"):
                client.execute_command(*words)


def test_a_producer_that_wants_more_is_told(app_of: Callable[..., App]) -> None:
    with pytest.raises(RedisDenied, match=r"(?i)permission") as refused:
        app_of("producer").Data("items").get_data()
    assert PASSWORD not in str(refused.value)
    with pytest.raises(RedisDenied):
        app_of("admin", prefix="elsewhere").queue_sizes()
    with pytest.raises(RedisDenied):
        Inspection(app_of("producer")).page("default", State.READY)


@pytest.mark.any_server
@pytest.mark.parametrize("prefix", ["my app", "a*b?c[d]", "back\\slash", "br{a}ce", "ünï"])
def test_odd_prefixes_are_matched_as_they_are(redis_client: redis.Redis, server: Server, prefix: str) -> None:
    line = f"odd reset on >{PASSWORD}".split() + acl.rules("worker", prefix)
    redis_client.execute_command("ACL", "SETUSER", *line)
    try:
        app = App(f"redis://odd:{PASSWORD}@{server.host}:{server.port}/0", prefix=prefix)
        app.Data("q").put_data([1])
        assert list(app.Data("q").get_data().values()) == [1]
        app.broker.close()
        other = App(f"redis://odd:{PASSWORD}@{server.host}:{server.port}/0", prefix="aXbYcd")
        with pytest.raises(RedisDenied):
            other.Data("q").put_data([1])
        other.broker.close()
    finally:
        redis_client.execute_command("ACL", "DELUSER", "odd")
        redis_client.flushall()


def test_a_prefix_with_quotes_is_refused() -> None:
    with pytest.raises(RefusedName, match="prefix: expected one without quotes"):
        acl.rules("worker", 'a"b')


# What is printed.


def printed(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(main, ["acl", *arguments], **options)


def test_the_line_is_for_one_user_and_prefix() -> None:
    result = printed("producer", "--user", "shop", "--prefix", "shop")
    assert result.exit_code == 0
    assert result.stdout.startswith("ACL SETUSER shop reset on resetkeys resetchannels ~shop:{tasks:* ")
    assert " &shop:* -@all " in result.stdout
    assert "nobody can log in as shop" in result.stderr


@pytest.mark.any_server
@pytest.mark.parametrize("role", ROLES)
def test_a_printed_line_makes_a_user_who_can_log_in(redis_client: redis.Redis, server: Server, role: Role) -> None:
    result = printed(role, "--user", "printed", "--new-password", "--prefix", "test", input=f"{PASSWORD}\n{PASSWORD}\n")
    assert PASSWORD not in result.output
    assert hashlib.sha256(PASSWORD.encode()).hexdigest() in result.stdout
    redis_client.execute_command(*result.stdout.split())
    try:
        with redis.Redis(host=server.host, port=server.port, username="printed", password=PASSWORD) as client:
            assert client.ping()
    finally:
        redis_client.execute_command("ACL", "DELUSER", "printed")


def test_an_acl_file_takes_the_line(start_server: Callable[..., Server], tmp_path: Path) -> None:
    lines = "".join(
        printed(role, "--file", "--new-password", "--prefix", "test", input=f"{PASSWORD}\n{PASSWORD}\n").stdout
        for role in ROLES
    )
    acl_file = tmp_path / "users.acl"
    acl_file.write_text(f"user default on nopass ~* &* +@all\n{lines}")
    server = start_server(options=["--aclfile", str(acl_file)])
    with server.client(username="rpqueue-worker", password=PASSWORD) as client:
        assert client.ping()


def test_a_cluster_needs_more(redis_client: redis.Redis) -> None:
    assert "+cluster|slots" in printed("worker", "--cluster").stdout.split()
    assert "cluster" not in printed("worker").stdout
    redis_client.execute_command(*printed("worker", "--cluster", "--user", "printed").stdout.split())
    redis_client.execute_command("ACL", "DELUSER", "printed")


def test_enqueueing_with_fsync_needs_more(redis_client: redis.Redis, server: Server) -> None:
    if server.flavour == "redis62":
        pytest.skip("Redis 6.2 knows no WAITAOF")
    assert "waitaof" not in printed("admin").stdout
    line = printed("producer", "--fsync", "--user", "printed").stdout.split()
    assert "+waitaof" in line
    redis_client.execute_command(*line)
    redis_client.execute_command("ACL", "DELUSER", "printed")


@pytest.mark.parametrize("arguments", [["boss"], ["worker", "--user", "two words"], ["worker", "--prefix", "a'b"], []])
def test_what_cannot_be_is_refused(arguments: list[str]) -> None:
    result = printed(*arguments)
    assert result.exit_code in (1, 2)
    assert not result.stdout
    assert isinstance(main, click.Group)
