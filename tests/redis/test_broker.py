"""What goes wrong between here and Redis, and what the Broker makes of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from rpqueue import App, errors
from rpqueue.addresses import Endpoint
from rpqueue.broker import Broker, Sessions, translate
from rpqueue.protocol import moves
from rpqueue.protocol.operation import Stamp, as_is, command
from tests.redis.proxy import Proxy, proxy_to
from tests.servers import Server, free_port, wait_until
from tests.worker.here import working

SOON = 20.0


def add(x: int, y: int = 1) -> int:
    return x + y


@pytest.fixture
def own_app(own_server: Server) -> Iterator[App]:
    """An App on a private server, with a task named add."""
    app = App(own_server.url, prefix="test")
    app.task(name="add", save_results=60)(add)
    yield app
    app.broker.close()


# ---- Errors, on real servers.


def test_a_server_that_is_down_is_unavailable() -> None:
    app = App(f"redis://127.0.0.1:{free_port()}/0", prefix="test")
    with pytest.raises(errors.RedisUnavailable, match=r"is it running, and is the address right\?") as caught:
        app.task(add).execute(1)
    assert isinstance(caught.value, ConnectionError)
    assert isinstance(caught.value.__cause__, redis.ConnectionError)


def test_a_socket_that_is_not_there_is_unavailable() -> None:
    app = App("unix:///nowhere/at/all.sock", prefix="test")
    with pytest.raises(errors.RedisUnavailable, match=r"unix:///nowhere/at/all\.sock"):
        app.known_queues()


def test_a_server_that_hangs_is_unavailable_after_the_timeout(own_server: Server) -> None:
    app = App(prefix="test")
    app.set_redis_connection_settings(own_server.host, own_server.port, socket_timeout=0.2)
    app.known_queues()
    own_server.pause()
    started = time.monotonic()
    try:
        with pytest.raises(errors.RedisUnavailable):
            app.known_queues()
    finally:
        own_server.resume()
        app.broker.close()
    assert time.monotonic() - started < SOON


@pytest.mark.any_server
def test_a_missing_or_wrong_password_is_denied_and_never_shown(own_server: Server) -> None:
    own_server.client().config_set("requirepass", "s3cret")
    for password in (None, "wr0ng"):
        app = App(prefix="test")
        app.set_redis_connection_settings(own_server.host, own_server.port, password=password)
        with pytest.raises(errors.RedisDenied) as caught:
            app.task(add).execute(1)
        assert "wr0ng" not in f"{caught.value} {caught.value!r} {app!r} {app.broker.endpoint!r}"
        app.broker.close()
    app = App(f"redis://:s3cret@{own_server.host}:{own_server.port}/0", prefix="test")
    app.task(add).execute(1)
    assert "s3cret" not in f"{app!r} {app.broker.endpoint!r} {app.broker.label}"
    app.broker.close()


@pytest.mark.any_server
def test_what_an_acl_user_may_not_do_is_denied(own_server: Server) -> None:
    own_server.client().acl_setuser("reader", enabled=True, nopass=True, categories=["+@read"], keys=["*"])
    app = App(prefix="test")
    app.set_redis_connection_settings(own_server.host, own_server.port, username="reader", password="any")
    with pytest.raises(errors.RedisDenied, match="the ACL user may not do this"):
        app.task(add).execute(1)
    app.broker.close()


@pytest.mark.any_server
def test_keys_that_an_acl_user_may_not_touch_are_denied(own_server: Server) -> None:
    own_server.client().acl_setuser(
        "other", enabled=True, nopass=True, categories=["+@all"], keys=["elsewhere*"], channels=["*"]
    )
    app = App(prefix="test")
    app.set_redis_connection_settings(own_server.host, own_server.port, username="other", password="any")
    with pytest.raises(errors.RedisDenied, match="the ACL user may not do this"):
        app.task(add).execute(1)
    app.broker.close()


@pytest.mark.any_server
def test_a_replica_is_read_only(own_server: Server, start_server: Callable[..., Server]) -> None:
    own_server.client().config_set("repl-diskless-sync-delay", 0)
    replica = start_server(own_server.flavour)
    client = replica.client()
    client.replicaof(own_server.host, own_server.port)
    wait_until(lambda: client.info("replication")["role"] == "slave")
    wait_until(lambda: client.info("replication")["master_link_status"] == "up")
    app = App(replica.url, prefix="test")
    assert app.known_queues() == []
    with pytest.raises(errors.RedisReadOnly, match="connect to the master"):
        app.task(add).execute(1)
    app.broker.close()


@pytest.mark.any_server
def test_too_few_replicas_are_read_only(own_app: App) -> None:
    own_app.broker.client.config_set("min-replicas-to-write", 1)
    with pytest.raises(errors.RedisReadOnly, match="too few replicas"):
        own_app.get_task("add").execute(1)


@pytest.mark.undeclared_scripts
@pytest.mark.any_server
def test_at_maxmemory_nothing_is_written_and_what_is_there_can_be_worked_off(own_app: App) -> None:
    task, client = own_app.get_task("add"), own_app.broker.client
    call = task.execute(1)
    client.config_set("maxmemory", 1)
    before = sorted(client.keys())
    with pytest.raises(errors.RedisOutOfMemory, match="maxmemory is reached; nothing was written"):
        task.execute(2)
    assert sorted(client.keys()) == before
    assert call.cancel() is True
    client.config_set("maxmemory", 0)
    task.execute(3)


@pytest.mark.any_server
def test_a_server_that_loads_its_data_is_not_ready(own_app: App) -> None:
    client = own_app.broker.client
    for number in range(60):  # a server that loads looks for calls every 2 MB
        client.set(f"test-{number}", os.urandom(200_000), ex=600)
    client.config_set("key-load-delay", 20_000)  # microseconds for each key
    # Others send a call again for so long that they may not notice.
    broker = own_app.broker.prompt()
    reloading = threading.Thread(target=lambda: redis.Redis(port=client_port(own_app)).execute_command("DEBUG RELOAD"))
    reloading.start()
    try:
        caught = wait_until(lambda: error_of(lambda: broker.execute(own_app.task_queues())), SOON, "an error")
    finally:
        reloading.join(SOON)
        broker.close()
    assert isinstance(caught, errors.RedisNotReady)
    assert "it is loading its data; try again in a moment" in str(caught)


@pytest.mark.any_server
def test_a_server_that_is_busy_with_a_script_is_not_ready(own_app: App) -> None:
    client = own_app.broker.client
    client.config_set("lua-time-limit", 1)
    endless = threading.Thread(
        target=lambda: error_of(lambda: redis.Redis(port=client_port(own_app)).eval("while true do end", 0))
    )
    endless.start()
    try:
        caught = wait_until(lambda: error_of(lambda: own_app.get_task("add").execute(1)), SOON, "an error while busy")
    finally:
        client.script_kill()
        endless.join(SOON)
    assert isinstance(caught, errors.RedisNotReady)
    assert "it is busy with a script" in str(caught)


@pytest.mark.any_server
@pytest.mark.parametrize(("kind", "delay"), [("messages", 0), ("ready", 0), ("scheduled", 1)])
def test_a_key_of_a_wrong_type_is_unsuitable_and_named(own_app: App, kind: str, delay: int) -> None:
    own_app.broker.client.set(getattr(own_app.task_keys("default"), kind), "mine")
    with pytest.raises(errors.RedisUnsuitable, match="holds what rpqueue did not write"):
        own_app.get_task("add").execute(1, delay=delay)


def test_scripts_that_redis_has_forgotten_are_sent_again(own_app: App) -> None:
    task, client = own_app.get_task("add"), own_app.broker.client
    for number in range(3):
        client.script_flush()
        task.execute(number)
    assert own_app.queue_sizes() == [("default", 3, 3)]


def client_port(app: App) -> int:
    return int(app.broker.client.connection_pool.connection_kwargs["port"])


def error_of(call: Callable[[], Any]) -> Exception | None:
    try:
        call()
    except Exception as error:
        return error
    return None


# ---- Errors, by their words: those of servers that no test can start.


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (redis.ResponseError("MASTERDOWN Link with MASTER is down"), errors.RedisNotReady),
        (redis.ResponseError("CLUSTERDOWN The cluster is down"), errors.RedisNotReady),
        (redis.exceptions.ClusterDownError("The cluster is down"), errors.RedisUnavailable),
        (redis.exceptions.ClusterError("TTL exhausted."), errors.RedisUnavailable),
        (redis.exceptions.SlotNotCoveredError('Slot "5" is not covered by the cluster.'), errors.RedisUnavailable),
        (redis.exceptions.RedisClusterException("Redis Cluster cannot be connected."), errors.RedisUnavailable),
        (redis.ResponseError("TRYAGAIN Multiple keys request during rehashing of slot"), errors.RedisNotReady),
        (redis.ResponseError("Error running script: -READONLY You can't write"), errors.RedisReadOnly),
        (redis.ResponseError("ERR Error running script: -OOM command not allowed"), errors.RedisOutOfMemory),
        (
            redis.ResponseError("@user_script: 12: Unknown Redis command called from Lua script"),
            errors.RedisUnsuitable,
        ),
        (redis.exceptions.AuthenticationError("something new"), errors.RedisDenied),
        (redis.ResponseError("something new"), errors.RedisError),
        (redis.TimeoutError("Timeout reading from socket"), errors.RedisUnavailable),
        (ConnectionResetError("by peer"), errors.RedisUnavailable),
    ],
    ids=str,
)
def test_an_error_means_what_its_words_say(error: Exception, kind: type[Exception]) -> None:
    meant = translate(error, "somewhere")
    assert type(meant) is kind
    assert "somewhere" in str(meant)


@pytest.mark.parametrize("error", [KeyError("x"), errors.IdTaken("x"), ValueError("OOM")])
def test_errors_that_are_not_about_redis_stay_as_they_are(error: Exception) -> None:
    assert translate(error, "somewhere") is error


# ---- Replies that are lost.


def test_an_enqueue_whose_reply_is_lost_happens_once(proxy: Proxy, proxied: App) -> None:
    task = proxied.task(name="add")(add)
    task.execute(0)
    for options in ({}, {"taskid": "mine"}, {"delay": 3600}):
        proxy.lose_next()
        task.execute(1, **options)
    assert proxy.lost == 3
    assert proxied.queue_sizes() == [("default", 4, 4)]


def test_a_cancel_whose_reply_is_lost_still_says_that_it_was_cancelled(proxy: Proxy, proxied: App) -> None:
    call = proxied.task(name="add")(add).execute(1)
    proxy.lose_next()
    assert call.cancel() is True
    assert proxy.lost == 1


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_reply_may_be_lost_up_to_three_times_in_a_row(proxy: Proxy, proxied: App, number: int) -> None:
    task = proxied.task(name="add")(add)
    task.execute(0)
    proxy.lose_every(1, most=number)
    task.execute(1)
    assert proxy.lost == number
    assert proxied.queue_sizes() == [("default", 2, 2)]


def test_after_that_it_is_unavailable_and_may_have_happened(proxy: Proxy, proxied: App) -> None:
    task = proxied.task(name="add")(add)
    task.execute(0)
    proxy.lose_every(1)
    with pytest.raises(errors.RedisUnavailable):
        task.execute(1, taskid="mine")
    proxy.lose_every(1, most=0)
    assert proxied.queue_sizes() == [("default", 2, 2)]
    # Under an id of one's own one may ask again.
    task.execute(1, taskid="mine")
    assert proxied.queue_sizes() == [("default", 2, 2)]


def test_a_call_without_answer_whose_resend_is_refused_is_unavailable_and_may_have_happened(own_server: Server) -> None:
    with proxy_to(own_server.port) as proxy:
        app = App(f"redis://127.0.0.1:{proxy.port}/0", prefix="test")
        task = app.task(name="add")(add)
        task.execute(0)
        sent: list[bytes] = []

        def loses(command: bytes) -> bool:
            sent.append(command)
            if len(sent) > 1:
                own_server.client().execute_command("ACL", "SETUSER", "default", "-evalsha", "-eval")
            return len(sent) == 1

        proxy.loses = loses
        with pytest.raises(errors.RedisUnavailable):
            task.execute(1)
        with pytest.raises(errors.RedisDenied):
            task.execute(2)
        assert proxy.lost == 1
        assert own_server.client().llen(app.task_keys("default").ready) == 2
        app.broker.close()


def test_a_session_whose_call_was_not_answered_is_not_used_again(proxy: Proxy, proxied: App) -> None:
    proxied.task(name="add")(add).execute(0)
    before = proxied.broker.sessions.take()
    proxied.broker.sessions.give_back(before)
    proxy.lose_every(1)
    with pytest.raises(errors.RedisUnavailable):
        proxied.get_task("add").execute(1)
    proxy.lose_every(1, most=0)
    assert proxied.broker.sessions.take().session != before.session


@pytest.mark.parametrize("every", [2, 5])
def test_a_worker_that_loses_replies_runs_everything_once(proxy: Proxy, proxied: App, every: int) -> None:
    ran: list[int] = []
    lock = threading.Lock()

    @proxied.task(name="step", save_results=60)
    def step(number: int) -> int:
        with lock:
            ran.append(number)
        if number % 5 == 0:
            raise ValueError(number)
        return number

    calls = [step.execute(number) for number in range(100)]
    keys = proxied.task_keys("default")
    with working(proxied, threads=3), redis.Redis(port=proxy.server_port) as client:
        proxy.lose_every(every)
        wait_until(lambda: not client.exists(keys.ready, keys.leased), 60, "all have ended")
        proxy.lose_every(1, most=0)
    assert proxy.lost > 5
    assert sorted(ran) == list(range(100))
    assert [call.status for call in calls] == ["failed" if number % 5 == 0 else "done" for number in range(100)]
    stats = {name.decode(): int(count) for name, count in proxied.broker.client.hgetall(keys.stats).items()}
    claimed = stats.pop("claimed")  # once more whatever was given back behind a slow one
    assert stats == {"seen": 100, "done": 80, "errors": 20, "failed": 20}
    assert claimed >= 100


def test_calls_through_a_prompt_broker_are_not_sent_again(proxy: Proxy, proxied: App) -> None:
    prompt = proxied.broker.prompt()
    operation, _ = proxied.task(name="add")(add).call((1,), {})
    prompt.execute(command(as_is, "PING"))
    proxy.lose_next()
    stamp = prompt.sessions.take()
    with pytest.raises(errors.RedisUnavailable):
        prompt.execute(operation, stamp)
    assert proxy.lost == 1
    prompt.execute(operation, stamp)
    assert proxied.queue_sizes() == [("default", 1, 1)]
    prompt.close()


# ---- Ways to connect.


@pytest.mark.one_server("nodes have no unix socket for clients")
@pytest.mark.parametrize("how", ["url", "path", "client"])
def test_a_unix_socket_will_do(server: Server, redis_client: redis.Redis, how: str) -> None:
    app = App(f"unix://{server.unix_path}" if how == "url" else None, prefix="test")
    if how == "path":
        app.set_redis_connection_settings(unix_socket_path=server.unix_path)
    own = redis.Redis(unix_socket_path=server.unix_path)
    if how == "client":
        app.set_redis_connection(own)
    task = app.task(name="add", save_results=60)(add)
    call = task.execute(1)
    assert [row[0] for row in app.get_page("default", 1)] == [call.taskid]
    with working(app):
        assert call.get(SOON) == 2
    app.broker.close()
    own.close()


@pytest.mark.one_server("made for one server")
@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 3}])
def test_a_client_of_the_users_own_will_do(server: Server, redis_client: redis.Redis, options: dict[str, Any]) -> None:
    own = redis.Redis(port=server.port, **options)
    app = App(prefix="test")
    app.set_redis_connection(own)
    task = app.task(name="add", save_results=60)(add)
    waiting = task.execute("ü", y="ö", delay=3600)
    assert waiting.args[2:4] == [["ü"], {"y": "ö"}]
    call = task.execute(1)
    with working(app):
        assert call.get(SOON) == 2
    assert app.results([call.taskid]) == [2]
    assert app.queue_sizes() == [("default", 1, 2)]
    assert list(app.known_tasks) == ["add"]
    assert app.get_connection() is own
    assert "password" not in app.broker.label
    data = app.Data("items")
    data.put_data([{"a": "ü"}])
    assert list(data.get_data().values()) == [{"a": "ü"}]
    app.broker.close()
    assert own.ping(), "it is the user's to close"
    own.close()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"port": 0}, errors.RefusedInput, "port: expected 1 to 65535, got 0"),
        ({"port": "6379"}, errors.RefusedInput, "got '6379'"),
        ({"db": -1}, errors.RefusedInput, "db: expected a number >= 0"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        App(prefix="test").set_redis_connection_settings(**options)


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "embedded:", "redis+sentinel://localhost"])
def test_urls_that_cannot_be_used_are_refused(url: str) -> None:
    with pytest.raises(errors.RefusedInput, match=r"redis://HOST:PORT/DB|embedded:DIR|SERVICE"):
        App(url, prefix="test").known_queues()


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(errors.WrongType, match="expected a redis-py client, got 'redis://"):
        App(prefix="test").set_redis_connection("redis://localhost")  # type: ignore[arg-type]


def test_a_function_may_be_given_a_client_to_use(server: Server, redis_client: redis.Redis) -> None:
    app = App(f"redis://127.0.0.1:{free_port()}/0", prefix="test")
    assert app.known_queues(conn=redis_client) == []
    with pytest.raises(errors.RedisUnavailable):
        app.known_queues()


def test_a_closed_broker_connects_again(server: Server, redis_client: redis.Redis) -> None:
    app = App(server.url, prefix="test")
    app.task(name="add")(add).execute(1)
    app.broker.close()
    assert app.known_queues() == ["default"]
    app.broker.close()


# ---- Waiting.


@pytest.mark.one_server("no command can block on lists of two slots")
def test_wait_returns_what_comes_or_none(server: Server, redis_client: redis.Redis) -> None:
    broker = Broker(Endpoint(server.url))
    redis_client.rpush("test-list", "first", "second")
    redis_client.expire("test-list", 60)
    assert broker.wait([b"test-other", b"test-list"], 5) == b"first"
    assert broker.wait([b"test-list"], 5) == b"second"
    started = time.monotonic()
    assert broker.wait([b"test-list"], 0.1) is None
    assert 0.1 <= time.monotonic() - started < SOON
    assert broker.wait([b"test-list"], 0) is None
    broker.close()


def test_wait_outlasts_the_longest_block(server: Server, redis_client: redis.Redis) -> None:
    broker = Broker(Endpoint(server.url, socket_timeout=0.1))
    pushed = threading.Timer(2.5, lambda: redis_client.rpush("test-list", "late"))
    pushed.start()
    assert broker.wait([b"test-list"], SOON) == b"late"
    pushed.join()
    broker.close()


@pytest.mark.one_server("it looks for the one client that waits")
def test_a_wait_whose_connection_breaks_says_so_and_can_be_begun_again(
    server: Server, redis_client: redis.Redis
) -> None:
    broker = Broker(Endpoint(server.url))

    def break_it() -> None:
        wait_until(lambda: redis_client.info("clients")["blocked_clients"] == 1)
        [waiting] = [client["id"] for client in redis_client.client_list() if client["cmd"] == "blpop"]
        redis_client.client_kill_filter(_id=waiting)

    breaking = threading.Thread(target=break_it)
    breaking.start()
    with pytest.raises(errors.RedisUnavailable):
        broker.wait([b"test-list"], SOON)
    breaking.join()
    redis_client.rpush("test-list", "there")
    redis_client.expire("test-list", 60)
    assert broker.wait([b"test-list"], SOON) == b"there"
    broker.close()


def test_get_survives_the_loss_of_the_connection_it_listens_on(server: Server, redis_client: redis.Redis) -> None:
    app = App(server.url, prefix="test")
    may_end = threading.Event()
    task = app.task(name="held", save_results=60)(lambda: may_end.wait(SOON))
    call = task.execute()
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(call.get(SOON)))
    with working(app):
        waiting.start()
        wait_until(lambda: redis_client.client_list(_type="pubsub"))
        redis_client.client_kill_filter(_type="pubsub")
        may_end.set()
        waiting.join(SOON)
    assert got == [True]
    app.broker.close()


# ---- Sessions.


def test_each_call_under_way_has_a_session_of_its_own() -> None:
    sessions = Sessions()
    one, other = sessions.take(), sessions.take()
    assert one.session != other.session
    sessions.give_back(one)
    assert sessions.take() == Stamp(one.session, one.number + 1)


def test_a_forked_child_has_sessions_of_its_own() -> None:
    sessions = Sessions()
    stamp = sessions.take()
    sessions.give_back(stamp)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, sessions.take().session)
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    theirs = os.read(reader, 100)
    os.close(reader)
    assert len(theirs) == len(stamp.session)
    assert theirs != stamp.session
    assert sessions.take().session == stamp.session


def test_parent_and_forked_child_may_use_one_app(server: Server, redis_client: redis.Redis) -> None:
    app = App(server.url, prefix="test")
    task = app.task(name="add")(add)
    task.execute(0)
    pids = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for number in range(20):
                    task.execute(number)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    for number in range(20):
        task.execute(number)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]
    assert app.queue_sizes() == [("default", 81, 81)]
    app.broker.close()


def test_threads_may_share_a_broker(server: Server, redis_client: redis.Redis) -> None:
    app = App(server.url, prefix="test")
    task = app.task(name="add")(add)
    threads = [threading.Thread(target=lambda: [task.execute(number) for number in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert app.queue_sizes() == [("default", 400, 400)]
    app.broker.close()


def test_a_reply_that_cannot_be_read_gives_the_session_back(server: Server, redis_client: redis.Redis) -> None:
    broker = Broker(Endpoint(server.url))
    keys = App(server.url, prefix="test").task_keys("default")
    first, other = (moves.enqueue(keys, (), [("one", body)], chosen=True) for body in (b'["a",[],{}]', b'["b",[],{}]'))
    broker.execute(first)
    with pytest.raises(errors.IdTaken):
        broker.execute(other)
    assert broker.sessions.take().number == 3
    broker.close()
