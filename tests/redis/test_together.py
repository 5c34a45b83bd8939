"""Calls and items that are sent together, where something goes wrong on the way: nothing twice, and nothing untold."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis

from rpqueue import App
from rpqueue.addresses import RESENDS
from rpqueue.errors import (
    IdTaken,
    NotEnqueued,
    RedisDenied,
    RedisError,
    RedisOutOfMemory,
    RedisReadOnly,
    RedisUnavailable,
    RedisUnsuitable,
    RpqueueError,
)
from tests.monitor import Monitor
from tests.redis.proxy import Proxy, proxy_to
from tests.servers import Server, wait_until


def add(x: int, y: int = 1) -> int:
    return x + y


def make(app: App, number: int = 20) -> list[Any]:
    """Calls in several queues, some delayed, and items; as they stand in the fates of an error."""
    task = app.task(name="add")(add)
    made = [task.execute(n, _queue="abc"[n % 3], delay=60 * (n % 4 == 3)) for n in range(number)]
    return [*made, *app.Data("items").put_data(range(number))]


def there(client: redis.Redis) -> list[str]:
    """The ids of all messages, each as often as it lies in a list or a set."""
    found = []
    for key in client.scan_iter("test:*"):
        kind = key.rpartition(b":")[2]
        if kind == b"ready":
            found += client.lrange(key, 0, -1)
        elif kind in (b"scheduled", b"dead"):
            found += client.zrange(key, 0, -1)
    return sorted(message_id.decode() for message_id in found)


def ids(made: list[Any]) -> list[str]:
    return sorted(one if isinstance(one, str) else one.taskid for one in made)


def failing(app: App, making: Callable[[], Any], error: type[RpqueueError]) -> tuple[Any, Any]:
    """What was made in a pipeline that failed so, and the error."""
    with pytest.raises(error) as caught, app.pipeline():
        made = making()
    return made, caught.value


# ---- Replies that are lost.


@pytest.mark.parametrize("times", [1, RESENDS])
def test_what_is_sent_again_because_its_reply_was_lost_is_done_once(
    proxy: Proxy, proxied: App, redis_client: redis.Redis, times: int
) -> None:
    proxied.known_queues()
    proxy.lose_every(1, b"EXEC", most=times)
    with proxied.pipeline():
        made = make(proxied)
    assert proxy.lost == times
    assert there(redis_client) == ids(made)


def test_after_that_it_is_in_doubt_and_not_there_twice(proxy: Proxy, proxied: App, redis_client: redis.Redis) -> None:
    proxied.known_queues()
    proxy.lose_every(1, b"EXEC")
    made, error = failing(proxied, lambda: make(proxied), RedisUnavailable)
    assert error.fates.done == error.fates.refused == []
    assert ids(error.fates.unknown) == ids(made)
    assert str(error).endswith("of 40 sent together: 40 perhaps in")
    assert there(redis_client) == ids(made)
    proxy.loses = lambda command: False
    assert made[0].status == "waiting"  # it is there, so this is no guess
    assert made[3].status == "early"
    redis_client.flushall()
    for ask in (lambda: made[0].status, lambda: made[0].result, lambda: made[0].get(0), lambda: made[0].args):
        with pytest.raises(NotEnqueued, match="may never have been: Redis at"):
            ask()
    assert made[0].cancel() is False


def test_what_had_no_answer_and_is_refused_when_sent_again_is_in_doubt(own_server: Server) -> None:
    client = own_server.client()
    with proxy_to(own_server.port) as proxy:
        app = App(f"redis://127.0.0.1:{proxy.port}/0", prefix="test")
        with app.pipeline():
            make(app)  # so that Redis has all scripts
        client.flushdb()
        sent: list[bytes] = []

        def loses(command: bytes) -> bool:
            sent.append(command)
            if len(sent) > 1:
                client.execute_command("ACL", "SETUSER", "default", "-evalsha", "-eval")
            return len(sent) == 1

        proxy.loses = loses
        made, error = failing(app, lambda: make(app), RedisUnavailable)
        assert ids(error.fates.unknown) == ids(made) == there(client)
        app.broker.close()


def test_bulk_whose_reply_is_lost_is_done_once(proxy: Proxy, proxied: App, redis_client: redis.Redis) -> None:
    task = proxied.task(name="add")(add)
    task.execute(0)
    redis_client.flushdb()
    proxy.lose_every(2)
    made = task.execute_many([(n,) for n in range(2500)])
    assert proxy.lost >= 1
    assert there(redis_client) == ids(made)
    assert [call.args[2] for call in made[::500]] == [[n] for n in range(0, 2500, 500)]


def test_bulk_that_breaks_half_way_tells_what_is_in(proxy: Proxy, proxied: App, redis_client: redis.Redis) -> None:
    task = proxied.task(name="add")(add)
    marker = task.execute_many([(0,)])[0]
    proxy.loses = lambda command: b"[1500]" in command
    with pytest.raises(
        RedisUnavailable, match=r"of 2500 sent together: 1000 in, 1000 perhaps in, 500 not in$"
    ) as caught:
        task.execute_many([(n,) for n in range(2500)])
    done, refused, unknown = caught.value.fates
    assert there(redis_client) == ids([marker, *done, *unknown])
    proxy.loses = lambda command: False
    assert [call.args[2] for call in (done[0], done[-1], unknown[0], unknown[-1])] == [[0], [999], [1000], [1999]]
    with pytest.raises(NotEnqueued, match="it was not sent, because what was sent before it failed: Redis at"):
        refused[0].wait(0)


# ---- Connections that break while it is sent.


#: Bytes after which the connection breaks: before, in the middle of, and near the end of what is sent together.
SOMEWHERE = [100, 400, 1500, 3000, 4000]


@pytest.mark.parametrize("after", SOMEWHERE)
def test_a_pipeline_that_is_cut_off_once_comes_in_whole(
    proxy: Proxy, proxied: App, redis_client: redis.Redis, after: int
) -> None:
    proxy.cut_off(after, times=1)
    with proxied.pipeline():
        made = make(proxied)
    assert proxy.cuts_left == 0
    assert there(redis_client) == ids(made)


@pytest.mark.parametrize("after", SOMEWHERE)
def test_a_pipeline_that_is_cut_off_for_good_comes_in_whole_or_not_at_all(
    proxy: Proxy, proxied: App, redis_client: redis.Redis, after: int
) -> None:
    others = len(redis_client.client_list())  # of tests before, too
    proxy.cut_off(after, times=1000)
    made, error = failing(proxied, lambda: make(proxied), RedisUnavailable)
    assert proxy.cuts_left < 1000
    assert ids(error.fates.unknown) == ids(made)
    wait_until(lambda: len(redis_client.client_list()) <= others, description="the server has seen that it is cut off")
    assert there(redis_client) == []


@pytest.mark.any_server
def test_a_server_that_is_killed_in_between_has_each_message_once(own_server: Server) -> None:
    app = App(own_server.url, prefix="test")
    made, stop, errors = [], threading.Event(), []

    def produce() -> None:
        while not stop.is_set():
            try:
                with app.pipeline():
                    some = make(app, 10)
                made.extend(some)
            except RedisError as error:
                errors.append(error)

    producer = threading.Thread(target=produce)
    producer.start()
    for _ in range(3):
        seen = len(made)
        wait_until(lambda seen=seen: len(made) > seen + 200)
        own_server.kill()
        own_server.start()
    stop.set()
    producer.join()
    found = there(own_server.client())
    assert len(found) == len(set(found))
    assert set(ids(made)) <= set(found), "acknowledged, and fsync is always"
    doubted = {one for error in errors for one in ids(error.fates.unknown)}
    assert set(found) - set(ids(made)) <= doubted
    app.broker.close()


# ---- What Redis refuses.


@pytest.mark.any_server
def test_scripts_that_redis_has_forgotten_are_sent_again(app: App, redis_client: redis.Redis) -> None:
    for _ in range(2):
        redis_client.flushall()
        redis_client.script_flush()
        with app.pipeline():
            made = make(app)
            letter = app.Data("items", is_dead=True).put_data(["dead"])
        assert there(redis_client) == ids([*made, *letter])
    task = app.get_task("add")
    redis_client.script_flush()
    assert [call.status for call in task.execute_many([(1,), (2,)])] == ["waiting"] * 2


def test_a_script_that_is_forgotten_in_part_keeps_the_order(app: App, redis_client: redis.Redis) -> None:
    app.Data("x").put_data([0])
    task = app.task(name="add")(add)
    with app.pipeline():  # put is known, bury_new is not
        task.execute(1)
        app.Data("items", is_dead=True).put_data(["dead"])
        task.execute(2, delay=0.001)
        task.execute(3)
    assert [row[2] for row in app.get_page("default", 0)] == [[1], [3], [2]]
    assert redis_client.zcard(app.data_keys("items").dead) == 1


@pytest.mark.any_server
def test_at_maxmemory_nothing_is_in_and_all_of_it_says_so(own_server: Server) -> None:
    app, client = App(own_server.url, prefix="test"), own_server.client()
    with app.pipeline():
        before = make(app)
    client.config_set("maxmemory", "1")
    made, error = failing(app, lambda: make(app), RedisOutOfMemory)
    assert ids(error.fates.refused) == ids(made)
    with pytest.raises(NotEnqueued, match="maxmemory is reached"):
        made[0].cancel()
    with pytest.raises(RedisOutOfMemory, match="of 2 sent together: 2 not in") as caught:
        app.get_task("add").execute_many([(1,), (2,)])
    assert len(caught.value.fates.refused) == 2
    assert there(client) == ids(before)
    app.broker.close()


def test_a_replica_takes_nothing(own_server: Server, start_server: Callable[..., Server]) -> None:
    replica = start_server(own_server.flavour)
    replica.client().replicaof(own_server.host, own_server.port)
    wait_until(lambda: replica.client().info("replication")["master_link_status"] == "up")
    app = App(replica.url, prefix="test")
    made, error = failing(app, lambda: make(app), RedisReadOnly)
    assert ids(error.fates.refused) == ids(made)
    app.broker.close()


@pytest.mark.any_server
def test_one_queue_that_is_refused_leaves_the_others_alone(app: App, redis_client: redis.Redis) -> None:
    redis_client.set(app.task_keys("b").ready, "no list")
    made, error = failing(app, lambda: make(app), RedisUnsuitable)
    redis_client.delete(app.task_keys("b").ready)
    done, refused, unknown = error.fates
    assert {call.queue for call in refused} == {"b"}
    assert not unknown
    assert ids([*done, *refused]) == ids(made)
    assert there(redis_client) == ids(done)
    assert done[0].status == "waiting"


def test_a_batch_that_fails_keeps_the_next_ones_back(app: App, redis_client: redis.Redis) -> None:
    task = app.task(name="add")(add)
    task.execute(0, taskid="mine")

    def many() -> list[Any]:
        made = [task.execute(n) for n in range(999)]
        return [*made, task.execute(7, taskid="mine"), *(task.execute(n) for n in range(5))]

    made, error = failing(app, many, IdTaken)
    assert error.fates.done == made[:999]
    assert error.fates.refused == made[999:]
    assert redis_client.llen(app.task_keys("default").ready) == 1000
    with pytest.raises(NotEnqueued, match="not sent, because what was sent before it failed: id 'mine'"):
        made[-1].get()
    with pytest.raises(NotEnqueued, match="id 'mine': expected one that queue 'default' does not hold"):
        made[999].get()


def test_an_id_that_is_taken_refuses_itself_alone(app: App) -> None:
    task = app.task(name="add")(add)
    task.execute(0, taskid="mine")

    def some() -> list[Any]:
        return [task.execute(1), task.execute(2, taskid="mine"), task.execute(3, taskid="other"), task.execute(4)]

    made, error = failing(app, some, IdTaken)
    assert error.fates == ([made[0], made[2], made[3]], [made[1]], [])
    assert [row[2] for row in app.get_page("default", 0)] == [[0], [1], [3], [4]]


@pytest.mark.any_server
def test_who_may_not_say_multi_is_served_all_the_same(own_server: Server) -> None:
    own_server.client().execute_command("ACL", "SETUSER", "plain", "on", "nopass", "~*", "&*", "+@all", "-@transaction")
    app = App(prefix="test")
    app.set_redis_connection_settings(own_server.host, own_server.port, username="plain", password="any")
    with app.pipeline():
        made = make(app)
    assert there(own_server.client()) == ids(made)
    app.broker.close()


@pytest.mark.any_server
def test_who_may_not_run_scripts_is_denied(own_server: Server) -> None:
    own_server.client().acl_setuser(
        "reader", enabled=True, nopass=True, categories=["+@read", "+@transaction"], keys=["*"]
    )
    app = App(prefix="test")
    app.set_redis_connection_settings(own_server.host, own_server.port, username="reader", password="any")
    made, error = failing(app, lambda: make(app), RedisDenied)
    assert ids(error.fates.refused) == ids(made)
    app.broker.close()


# ---- Where it is sent.


@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 3}])
def test_a_client_of_the_users_own_will_do(server: Server, redis_client: redis.Redis, options: dict[str, Any]) -> None:
    app = App(prefix="test")
    with contextlib.closing(server.client(**options)) as client:
        app.set_redis_connection(client)
        task = app.task(name="add")(add)
        task.execute(0, taskid="mine")
        redis_client.script_flush()
        made, error = failing(app, lambda: [*make(app), task.execute(1, taskid="mine")], IdTaken)
        assert error.fates.refused == made[-1:]
        assert there(redis_client) == ids(made)


@pytest.mark.one_server("queues on several nodes are several commands")
@pytest.mark.any_server
def test_several_queues_are_one_write_and_one_queue_is_one_command(app: App, server: Server) -> None:
    with app.pipeline():
        make(app)
    with Monitor(server).listening() as monitor:
        del monitor.commands[:]  # of the monitor's own
        with app.pipeline():
            make(app, 40)
        monitor.wait_for_mark()
        commands = monitor.sent()
        assert commands[0] == "MULTI"
        assert commands[-1] == "EXEC"
        assert set(commands[1:-1]) == {"EVALSHA"}
        del monitor.commands[:]
        with app.pipeline():
            for n in range(1000):
                app.get_task("add").execute(n)
        monitor.wait_for_mark()
        assert monitor.sent() == ["EVALSHA"]


def test_on_a_cluster_each_queue_is_told_by_itself(start_server: Callable[..., Server]) -> None:
    cluster = start_server(options=["--cluster-enabled", "yes"])
    client = cluster.client()
    client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
    wait_until(lambda: client.cluster("INFO")["cluster_state"] == "ok")
    app = App(f"redis+cluster://{cluster.host}:{cluster.port}", prefix="test")
    with app.pipeline():
        made = make(app)
    assert there(client) == ids(made)
    assert client.zrange(app.keys.app.data_queues, 0, -1) == [b"items"]
    client.set(app.task_keys("b").ready, "no list")
    client.delete(app.task_keys("c").ready)
    _, error = failing(app, lambda: make(app), RedisUnsuitable)
    assert {call.queue for call in error.fates.refused} == {"b"}
    app.broker.close()
