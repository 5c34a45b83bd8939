"""A Redis user who may use no channels: hints are not sent, and everything else goes on as always."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import redis

from rpqueue import App
from rpqueue.broker import translate
from rpqueue.errors import RedisDenied
from tests.redis.cases import CHANGES, ITEM_CHANGES, arrange, send
from tests.redis.harness import Queue
from tests.servers import Server, wait_until
from tests.worker.here import working

pytestmark = pytest.mark.one_server("its user is one server's")

SOON = 20.0


@pytest.fixture
def mute(server: Server, redis_client: redis.Redis) -> Iterator[redis.Redis]:
    """A client of such a user."""
    rules = ["on", "nopass", "+@all", "allkeys", "resetchannels"]
    redis_client.execute_command("ACL", "SETUSER", "mute", *rules)
    with contextlib.closing(redis.Redis(port=server.port, username="mute", password="any")) as client:
        yield client
    redis_client.acl_deluser("mute")


@pytest.mark.any_server
@pytest.mark.parametrize("name", [*CHANGES, *ITEM_CHANGES])
def test_every_script_goes_through(mute: redis.Redis, name: str) -> None:
    queue = arrange(Queue(mute, kind="tasks" if name in CHANGES else "data"))
    send(mute, {**CHANGES, **ITEM_CHANGES}[name].make(queue))
    queue.state()


def test_calls_run_and_can_be_cancelled(server: Server, mute: redis.Redis) -> None:
    app = App(f"redis://mute:any@{server.host}:{server.port}/0", prefix="test")
    task = app.task(name="echo", save_results=60)(lambda value: value)
    assert task.execute(1, delay=60).cancel() is True
    call = task.execute(2)
    with working(app):
        wait_until(lambda: call.status == "done", SOON)
    assert app.results([call.taskid]) == [2]
    with pytest.raises(RedisDenied, match="the ACL user may not do this"):
        task.execute(3).get(SOON)  # it listens for the end
    app.broker.close()


@pytest.mark.any_server
def test_a_script_that_publishes_by_itself_is_denied(mute: redis.Redis) -> None:
    with pytest.raises(redis.exceptions.ResponseError) as caught:
        mute.eval("return redis.call('PUBLISH', 'anywhere', '')", 0)
    assert isinstance(translate(caught.value, "there"), RedisDenied)
