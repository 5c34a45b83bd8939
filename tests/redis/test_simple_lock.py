"""SimpleLock: one holder at a time, told at once, never somebody else's lock."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis

from rpqueue.app import App
from rpqueue.errors import NoLock, RedisUnavailable, RefusedInput, RefusedName, WrongType
from rpqueue.keys import Keys

KEY = Keys("test").lock("reports")


@pytest.fixture
def app(redis_client: redis.Redis) -> App:
    app = App(prefix="test")
    app.set_redis_connection(redis_client)
    return app


def test_inside_of_its_block_the_lock_is_held_and_after_it_free(app: App, redis_client: redis.Redis) -> None:
    with app.SimpleLock(None, "reports", 30):
        assert 20_000 < redis_client.pttl(KEY) <= 30_000
    assert not redis_client.exists(KEY)


def test_who_comes_second_is_told_at_once(app: App) -> None:
    with (
        app.SimpleLock(None, "reports", 30),
        pytest.raises(NoLock, match="lock 'reports': expected it to be free, but it is held"),
        app.SimpleLock(None, "reports", 30),
    ):
        pytest.fail("the block of a lock that is held must not run")


def test_who_came_second_leaves_the_lock_with_its_holder(app: App, redis_client: redis.Redis) -> None:
    with app.SimpleLock(None, "reports", 30) as lock:
        with pytest.raises(NoLock), app.SimpleLock(None, "reports", 30):
            pass
        lock.refresh()
        assert redis_client.exists(KEY)


@pytest.mark.one_server("keys of several slots are counted")
def test_locks_of_other_names_and_prefixes_are_other_locks(app: App, redis_client: redis.Redis) -> None:
    other = App(prefix="test2")
    other.set_redis_connection(redis_client)
    with app.SimpleLock(None, "reports"), app.SimpleLock(None, "mail"), other.SimpleLock(None, "reports"):
        assert redis_client.dbsize() == 3


def test_bytes_and_text_are_one_name(app: App) -> None:
    with app.SimpleLock(None, b"reports"), pytest.raises(NoLock):
        app.SimpleLock(None, "reports").acquire()


def test_it_is_not_reentrant_and_a_failed_try_loses_nothing(app: App) -> None:
    lock = app.SimpleLock(None, "reports", 30)
    with lock:
        with pytest.raises(NoLock):
            lock.acquire()
        lock.refresh()


def test_one_object_may_be_used_again(app: App) -> None:
    lock = app.SimpleLock(None, "reports", 30)
    for _ in range(2):
        with lock:
            pass


def test_without_a_block_it_is_acquired_refreshed_and_released(app: App, redis_client: redis.Redis) -> None:
    lock = app.SimpleLock(None, "reports", timedelta(seconds=30))
    lock.acquire()
    redis_client.pexpire(KEY, 5_000)
    lock.refresh()
    assert redis_client.pttl(KEY) > 20_000
    assert lock.release() is True
    assert lock.release() is False
    with pytest.raises(NoLock):
        lock.refresh()


def test_what_was_never_acquired_is_neither_refreshed_nor_released(app: App, redis_client: redis.Redis) -> None:
    lock = app.SimpleLock(None, "reports")
    with pytest.raises(NoLock, match="expected to hold it"):
        lock.refresh()
    assert lock.release() is False
    assert redis_client.dbsize() == 0


def test_a_lock_whose_time_is_over_goes_to_the_next(app: App, wait_until: Callable[..., Any]) -> None:
    def taken_by(lock: Any) -> bool:
        try:
            lock.acquire()
        except NoLock:
            return False
        return True

    first, second = app.SimpleLock(None, "reports", 0.02), app.SimpleLock(None, "reports", 30)
    first.acquire()
    wait_until(lambda: taken_by(second))
    with pytest.raises(NoLock, match="not any more"):
        first.refresh()
    assert first.release() is False
    second.refresh()
    assert second.release() is True


def test_at_its_end_a_block_leaves_the_next_holder_alone_and_says_so(
    app: App, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with app.SimpleLock(None, "reports", 30):
        redis_client.set(KEY, "theirs", px=5_000)
    assert redis_client.get(KEY) == b"theirs"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "lock ended before its block did")
    ]


def test_an_error_in_the_block_releases_the_lock_and_goes_on(app: App, redis_client: redis.Redis) -> None:
    with pytest.raises(ZeroDivisionError), app.SimpleLock(None, "reports", 30):
        raise ZeroDivisionError
    assert not redis_client.exists(KEY)


def test_an_error_in_the_block_is_not_hidden_by_a_redis_that_is_gone(own_server: Any) -> None:
    app = App(prefix="test")
    app.set_redis_connection(unforgiving(own_server))

    def work() -> None:
        with app.SimpleLock(None, "reports", 30):
            own_server.kill()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


def test_a_redis_that_is_gone_at_the_end_of_the_block_is_told(own_server: Any) -> None:
    app = App(prefix="test")
    app.set_redis_connection(unforgiving(own_server))
    with pytest.raises(RedisUnavailable), app.SimpleLock(None, "reports", 30):
        own_server.kill()


def unforgiving(server: Any) -> redis.Redis:
    """A client that fails at once."""
    client: redis.Redis = server.client(retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    return client


def test_a_client_of_ones_own_may_be_given(redis_client: redis.Redis) -> None:
    app = App(url="redis://127.0.0.1:1/0", prefix="test")  # nobody is there
    with app.SimpleLock(redis_client, "reports", 30):
        assert redis_client.exists(KEY)


@pytest.mark.one_server("made for one server")
def test_a_client_that_decodes_may_be_given(redis_client: redis.Redis) -> None:
    kwargs = redis_client.connection_pool.connection_kwargs
    with redis.Redis(host=kwargs["host"], port=kwargs["port"], decode_responses=True) as decoding:
        lock = App(prefix="test").SimpleLock(decoding, "reports", 30)
        with lock:
            lock.refresh()
        assert lock.release() is False


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ((None, ""), RefusedName, "lock name: expected 1 to 512 bytes, got 0"),
        ((None, 5), WrongType, "lock name: expected str or bytes, got 5"),
        (("reports",), WrongType, "conn: expected a redis-py client or None, got 'reports'"),
        ((None, "reports", 0), RefusedInput, "duration of lock 'reports': expected seconds >= 0.001, got 0"),
        ((None, "reports", -1), RefusedInput, "expected seconds"),
        ((None, "reports", float("nan")), RefusedInput, "expected seconds"),
        ((None, "reports", "5"), WrongType, "expected seconds as int, float or timedelta, got '5'"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        App(prefix="test").SimpleLock(*arguments)


def test_the_name_and_the_duration_may_be_given_by_name(app: App) -> None:
    with app.SimpleLock(name="reports", duration=5) as lock:
        assert repr(lock) == "<SimpleLock 'reports', 5 s>"
