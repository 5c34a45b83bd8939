"""Calls that redis-py sends again by itself: what is told of one that had no answer, and was refused then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rpqueue import App, aio
from rpqueue.attempts import Attempts
from rpqueue.errors import RedisDenied, RedisError, RedisUnavailable
from tests.redis.proxy import Proxy

LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
REFUSALS = [LOADING, b"-READONLY You can't write against a read only replica.\r\n", b"-OOM command not allowed\r\n"]

#: Enqueues a call under each of some ids.
Way = Callable[[App, list[str]], Any]


def one_by_one(app: App, ids: list[str]) -> None:
    for taskid in ids:
        app.get_task("add").execute(1, taskid=taskid)


def at_once(app: App, ids: list[str]) -> None:
    with app.pipeline():
        for taskid in ids:
            app.get_task("add").execute(1, taskid=taskid, _queue=taskid)


def awaited(app: App, ids: list[str]) -> None:
    async def main() -> None:
        for taskid in ids:
            await aio.of(app).execute(app.get_task("add"), 1, taskid=taskid)

    asyncio.run(main())


def awaited_at_once(app: App, ids: list[str]) -> None:
    async def main() -> None:
        async with aio.of(app).pipeline():
            for taskid in ids:
                await aio.of(app).execute(app.get_task("add"), 1, taskid=taskid, _queue=taskid)

    asyncio.run(main())


WAYS = [one_by_one, at_once, awaited, awaited_at_once]


def there(client: redis.Redis) -> set[str]:
    return {taskid.decode() for key in client.scan_iter("test:*:messages") for taskid in client.hkeys(key)}


@pytest.fixture(params=["ours", "the user's"])
def calling(request: pytest.FixtureRequest, proxied: App, proxy: Proxy) -> App:
    """An App with a task, over clients of ours or of the user's own."""
    if request.param == "the user's":
        proxied.set_redis_connection(redis.Redis(port=proxy.port, retry=Retry(NoBackoff(), 3)))
    proxied.task(name="add")(lambda x: x)
    return proxied


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.split()[0][1:].decode())
@pytest.mark.parametrize("way", WAYS)
def test_what_was_done_without_an_answer_is_never_told_to_be_refused(
    calling: App, proxy: Proxy, redis_client: redis.Redis, way: Way, refusal: bytes
) -> None:
    way(calling, ["first", "second"])  # Redis has the scripts
    proxy.refusal = refusal
    proxy.lose_every(1, b"EVALSHA", most=1)
    with pytest.raises(RedisUnavailable, match=r"so it may have been done|no answer in time"):
        way(calling, ["mine", "other"])
    assert proxy.lost == 1
    assert "mine" in there(redis_client)
    # And that is no reason to doubt what is refused at its first sending.
    with pytest.raises(RedisError) as caught:
        way(calling, ["third", "fourth"])
    is_sent_again = refusal is LOADING and (way in (awaited, awaited_at_once) or calling.broker.is_users)
    assert isinstance(caught.value, RedisUnavailable) == is_sent_again
    assert "third" not in there(redis_client)


@pytest.mark.parametrize("way", WAYS)
def test_a_client_without_the_password_is_denied_without_doubt(own_server: Any, way: Way) -> None:
    own_server.client().config_set("requirepass", "s3cret")
    for given in (None, redis.Redis(port=own_server.port), redis.Redis(port=own_server.port, password="wr0ng")):
        app = App(own_server.url, prefix="test")
        if given is not None:
            app.set_redis_connection(given)
        app.task(name="add")(lambda x: x)
        with pytest.raises(RedisDenied):
            way(app, ["mine", "other"])
        app.broker.close()


@pytest.mark.parametrize(
    ("sent", "refusal", "is_in_doubt"),
    [
        (0, redis.AuthenticationError("invalid username-password pair"), False),
        (1, redis.AuthenticationError("invalid username-password pair"), True),
        (4, redis.AuthenticationError("Authentication required."), False),
        (1, redis.ResponseError("OOM"), False),
        (2, redis.ResponseError("OOM"), True),
    ],
)
def test_who_counts_the_sendings_knows_what_is_in_doubt(sent: int, refusal: Exception, is_in_doubt: bool) -> None:
    attempts = Attempts()
    name = attempts.counted(("EVALSHA", "sha"))[0]
    for _ in range(sent):
        redis.Connection().pack_command(name, "sha")
    assert attempts.number == sent
    assert attempts.leave_doubt(refusal) is is_in_doubt
    attempts.was_unanswered = True
    assert attempts.leave_doubt(refusal)
