"""A Redis user's password is changed while programs and workers are connected."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import redis
from redis.credentials import CredentialProvider

from rpqueue import App
from rpqueue.errors import RedisDenied, RedisError
from tests.servers import Server, wait_until
from tests.worker.harness import SOON
from tests.worker.here import working


class Vault(CredentialProvider):
    """Says the password that is good now."""

    password = "first"

    def get_credentials(self) -> tuple[str, str]:
        return "worker", self.password


@pytest.fixture
def admin(own_server: Server) -> redis.Redis:
    """A client that may change users; one with the password "first" is there."""
    client = own_server.client()
    rules = ["on", ">first", "+@all", "allkeys", "allchannels"]
    client.execute_command("ACL", "SETUSER", "worker", *rules)
    return client


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def app(own_server: Server, admin: redis.Redis, vault: Vault) -> Iterator[App]:
    app = App(prefix="test")
    app.set_redis_connection_settings(own_server.host, own_server.port, credential_provider=vault)
    app.task(name="echo", save_results=60)(lambda value: value)
    yield app
    app.broker.close()


def rotate(admin: redis.Redis, old: str, new: str) -> None:
    admin.execute_command("ACL", "SETUSER", "worker", f">{new}", f"<{old}")
    admin.execute_command("CLIENT", "KILL", "USER", "worker")


@pytest.mark.any_server
def test_who_asks_a_credential_provider_notices_nothing(admin: redis.Redis, vault: Vault, app: App) -> None:
    echo = app.get_task("echo")
    with working(app, threads=2):
        for number, (old, new) in enumerate([("first", "second"), ("second", "third")]):
            assert echo.execute(number).get(SOON) == number
            vault.password = new
            rotate(admin, old, new)
            assert echo.execute(-number).get(SOON) == -number


@pytest.mark.any_server
def test_who_knows_the_old_one_only_is_denied_until_it_is_good_again(
    admin: redis.Redis, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    echo = app.get_task("echo")
    with working(app, threads=2):
        assert echo.execute(1).get(SOON) == 1
        rotate(admin, "first", "second")
        wait_until(lambda: answer(app) is RedisDenied, SOON, "it is denied")
        wait_until(lambda: "user name or password is wrong" in caplog.text, SOON, "the worker says so")
        assert "first" not in caplog.text
        back = threading.Timer(0.5, lambda: admin.execute_command("ACL", "SETUSER", "worker", ">first"))
        back.start()
        wait_until(lambda: answer(app) is None, SOON, "it is let in again")
        assert echo.execute(2).get(SOON) == 2
        back.join()


def answer(app: App) -> type[RedisError] | None:
    """The error that a call ends with; None: it is answered."""
    try:
        app.known_queues()
    except RedisError as error:
        return type(error)
    return None
