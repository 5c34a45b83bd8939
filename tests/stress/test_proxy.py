"""The suite's own proxy does to connections what it says that it does."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import Server, free_port
from tests.stress.proxy import FINE, Proxy, Weather, proxy_to

SOON = 0.3


@pytest.fixture
def proxy(server: Server, redis_client: redis.Redis) -> Iterator[Proxy]:
    with proxy_to(server.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[redis.Redis]:
    """Gives up after `SOON`, and tries nothing twice."""
    client = redis.Redis(port=proxy.port, socket_timeout=SOON, retry=Retry(NoBackoff(), 0))
    client.ping()
    yield client
    client.close()


@pytest.fixture
def patient(proxy: Proxy) -> Iterator[redis.Redis]:
    client = redis.Redis(port=proxy.port, socket_timeout=30)
    client.ping()
    yield client
    client.close()


def test_in_fine_weather_everything_passes(client: redis.Redis) -> None:
    value = "x" * 1_000_000
    assert client.set("test-big", value, ex=60)
    assert client.get("test-big") == value.encode()


@pytest.mark.parametrize(
    ("reply", "error"),
    [("lose", redis.TimeoutError), ("cut", redis.ConnectionError), ("reset", redis.ConnectionError)],
)
def test_a_reply_goes_wrong_after_the_command_was_done(
    proxy: Proxy, client: redis.Redis, redis_client: redis.Redis, reply: str, error: type[Exception]
) -> None:
    proxy.weather = Weather(reply=reply)  # type: ignore[arg-type]
    with pytest.raises(error):
        client.incr("test-number")
    proxy.weather = FINE
    assert redis_client.get("test-number") == b"1"
    assert proxy.hits == 1
    assert client.incr("test-number") == 2
    redis_client.expire("test-number", 60)


def test_half_of_a_reply_that_is_cut_arrives(proxy: Proxy) -> None:
    with socket.create_connection((proxy.host, proxy.port)) as sock:
        proxy.weather = Weather(reply="cut")
        sock.sendall(b"*1\r\n$4\r\nPING\r\n")
        assert sock.recv(100) == b"+PO"
        assert sock.recv(100) == b""


def test_a_reset_is_no_ordinary_end(proxy: Proxy) -> None:
    with socket.create_connection((proxy.host, proxy.port)) as sock:
        sock.sendall(b"*1\r\n$4\r\nPING\r\n")
        assert sock.recv(100) == b"+PONG\r\n"
        proxy.reset_all()
        with pytest.raises(ConnectionResetError):
            sock.recv(100)


def test_a_share_of_all_replies_goes_wrong(proxy: Proxy, client: redis.Redis) -> None:
    proxy.weather = Weather(reply="cut", share=0.2)
    failed = 0
    for _ in range(200):
        try:
            client.ping()
        except redis.ConnectionError:
            failed += 1
    assert failed == proxy.hits
    assert 10 < failed < 80


def test_what_lies_in_a_hole_comes_when_it_closes(proxy: Proxy, client: redis.Redis, redis_client: redis.Redis) -> None:
    proxy.weather = Weather(is_hole=True)
    with pytest.raises(redis.TimeoutError):
        client.set("test-late", 1, ex=60)
    assert not redis_client.exists("test-late")
    proxy.weather = FINE
    assert client.ping()


def test_nobody_can_connect_to_what_refuses(proxy: Proxy, client: redis.Redis) -> None:
    port = proxy.port
    proxy.weather = Weather(refuses=True)
    with pytest.raises(redis.ConnectionError):
        client.ping()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((proxy.host, port))
    proxy.weather = FINE
    assert proxy.port == port
    assert client.ping()


def test_a_delay_goes_both_ways(proxy: Proxy, patient: redis.Redis) -> None:
    proxy.weather = Weather(delay=0.05, jitter=0.01)
    started = time.monotonic()
    patient.ping()
    assert time.monotonic() - started > 0.08


def test_a_throttled_connection_carries_so_many_bytes_in_a_second(proxy: Proxy, patient: redis.Redis) -> None:
    proxy.weather = Weather(rate=10_000)
    started = time.monotonic()
    patient.echo("x" * 1000)
    assert time.monotonic() - started > 0.15


def test_a_server_that_is_away_ends_the_connection() -> None:
    with proxy_to(free_port()) as proxy, socket.create_connection((proxy.host, proxy.port)) as sock:
        assert sock.recv(100) == b""
