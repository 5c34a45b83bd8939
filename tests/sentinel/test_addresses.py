"""How a Sentinel service is said, and what is said when it cannot be found."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis
from redis.sentinel import Sentinel

from rpqueue import App
from rpqueue.errors import RedisUnavailable, RefusedInput
from tests.sentinel.deployment import SERVICE, SentinelProcess
from tests.servers import Server, free_port, wait_until


@pytest.fixture
def watched(start_server: Callable[..., Server]) -> Iterator[tuple[Server, SentinelProcess]]:
    server = start_server()
    sentinel = SentinelProcess(server.flavour, server.port, quorum=1, down_after=60)
    yield server, sentinel
    sentinel.close()


def listeners() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rpqueue-sentinel")]


def test_the_sentinels_may_ask_for_a_password_of_their_own_and_the_master_for_another(
    start_server: Callable[..., Server],
) -> None:
    server = start_server()
    sentinel = SentinelProcess(server.flavour, server.port, quorum=1, down_after=60, options="requirepass lookout")
    with contextlib.closing(redis.Redis(port=server.port)) as client:
        client.config_set("requirepass", "treasure")
    place = f"127.0.0.1:{sentinel.port}/{SERVICE}/3"
    app = App(f"redis+sentinel://:treasure@{place}?sentinel_password=lookout", prefix="test")
    with contextlib.closing(app.broker):
        app.task(name="noop")(lambda: None).execute()
        assert app.get_connection().connection_pool.connection_kwargs["db"] == 3
        assert "treasure" not in app.broker.label
    for url, why in (
        (f"redis+sentinel://:treasure@{place}", "it asks for a password"),
        (f"redis+sentinel://:wrong@{place}?sentinel_password=lookout", "password is wrong"),
    ):
        stranger, began_at = App(url, prefix="test"), time.monotonic()
        with contextlib.closing(stranger.broker), pytest.raises(ConnectionError, match=why):
            stranger.task(name="noop")(lambda: None).execute()
        assert time.monotonic() - began_at < 15.0
    sentinel.close()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_service_that_nobody_knows_is_said_to_be_so_within_seconds(
    watched: tuple[Server, SentinelProcess], is_there: bool
) -> None:
    port = watched[1].port if is_there else free_port()
    app, began_at = App(f"redis+sentinel://127.0.0.1:{port}/other", prefix="test"), time.monotonic()
    why = "No such master" if is_there else "Connection refused"
    with contextlib.closing(app.broker), pytest.raises(RedisUnavailable, match=rf"names a master of 'other'.*{why}"):
        app.task(name="noop")(lambda: None).execute()
    assert time.monotonic() - began_at < 10.0


def test_one_sentinel_that_is_there_is_enough(watched: tuple[Server, SentinelProcess]) -> None:
    server, sentinel = watched
    app = App(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/{SERVICE}", prefix="test")
    with contextlib.closing(app.broker):
        app.task(name="noop")(lambda: None).execute(taskid="one")
    with contextlib.closing(server.client()) as client:
        assert client.hkeys(app.task_keys("default").messages) == [b"one"]


@pytest.mark.parametrize("url", ["redis+sentinel://one", "redis+sentinel://one/", "redis+sentinel://one/main/first"])
def test_addresses_that_say_too_little_are_refused(url: str) -> None:
    with pytest.raises(RefusedInput, match="expected redis\\+sentinel://HOST,HOST/SERVICE/DB"):
        App(url).get_connection()


def test_nobody_listens_when_there_is_nothing_to_cut(
    watched: tuple[Server, SentinelProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpqueue.sentinels.PATIENCE", 0.5)
    app = App(f"redis+sentinel://127.0.0.1:{watched[1].port}/{SERVICE}", prefix="test")
    app.task(name="noop")(lambda: None).execute()
    name = f"rpqueue-sentinel-127.0.0.1:{watched[1].port}"
    time.sleep(1.5)
    assert name in listeners()
    app.broker.close()
    wait_until(lambda: name not in listeners(), 10, "the thread ends")
    app.get_task("noop").execute()  # and there is another one when it is needed
    assert name in listeners()
    app.broker.close()


def test_a_client_that_redis_py_made_for_a_service_is_used_and_waits_at_the_same_master(
    watched: tuple[Server, SentinelProcess],
) -> None:
    given = Sentinel([("127.0.0.1", watched[1].port)]).master_for(SERVICE)
    app = App(prefix="test")
    app.set_redis_connection(given)
    assert app.get_connection() is given
    box, got = app.Data("box"), []
    waiting = threading.Thread(target=lambda: got.extend(box.get_data(get_timeout=20).values()))
    waiting.start()
    time.sleep(0.3)
    box.put_data([7])
    waiting.join(20)
    assert got == [7]
    app.broker.close()
    given.close()


@pytest.mark.parametrize("flavour", ["redis62", "redis"])
def test_a_given_client_leaves_a_master_that_was_demoted(start_server: Callable[..., Server], flavour: str) -> None:
    first, second = start_server(flavour), start_server(flavour)
    sentinel = SentinelProcess(flavour, first.port, quorum=1, down_after=60)
    given = Sentinel([("127.0.0.1", sentinel.port)]).master_for(SERVICE)
    app = App(prefix="test")
    app.set_redis_connection(given)
    try:
        task = app.task(name="noop")(lambda: None)
        task.execute()
        first.client().replicaof("127.0.0.1", str(second.port))
        with contextlib.closing(first.client()) as client:
            wait_until(lambda: client.execute_command("ROLE")[0] == b"slave")
        with contextlib.closing(redis.Redis(port=sentinel.port)) as client:
            pipe = client.pipeline(transaction=False)
            pipe.execute_command("SENTINEL", "REMOVE", SERVICE)
            pipe.execute_command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", second.port, 1)
            pipe.execute()
        with contextlib.suppress(ConnectionError):  # redis-py's rules hold: it may tell, or try again by itself
            task.execute()
        task.execute(taskid="later")
        with contextlib.closing(second.client()) as client:
            assert b"later" in client.hkeys(app.task_keys("default").messages)
    finally:
        app.broker.close()
        given.close()
        sentinel.close()
