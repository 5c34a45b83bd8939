"""Enqueueing that waits until replicas have it, or the disk; and says so when they have not."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rpqueue import App, aio
from rpqueue.errors import (
    DurabilityNotConfirmed,
    RedisUnsuitable,
    RefusedInput,
    SettingError,
)
from rpqueue.tasks import Task
from tests.monitor import Monitor
from tests.redis.proxy import proxy_to
from tests.sentinel.deployment import Deployment, replica_states
from tests.servers import Server, wait_until

#: Seconds that are waited in vain.
IN_VAIN = 0.3


class Pair:
    """A master and its replica, and an App there."""

    def __init__(self, master: Server, replica: Server) -> None:
        self.master, self.replica = master, replica
        self.app = App(master.url, prefix="test")
        self.app.settings.durability_timeout = 10.0

        @self.app.task(name="noop")
        def noop(number: int = 0) -> None:
            pass

        self.task: Task[..., Any] = noop

    def give_up_soon(self) -> None:
        """Have the replica stand still, and the App not wait long for it."""
        self.replica.pause()
        self.app.settings.durability_timeout = IN_VAIN

    def copies(self) -> set[str]:
        """Ids that the replica has."""
        with contextlib.closing(self.replica.client(decode_responses=True)) as client:
            keys = client.keys("test:*:messages")
            return {message_id for key in keys for message_id in client.hkeys(key)}

    def ids(self, *, data: bool = False) -> set[str]:
        keys = self.app.data_keys("box") if data else self.app.task_keys("default")
        with contextlib.closing(self.master.client(decode_responses=True)) as client:
            return set(client.hkeys(keys.messages))


@pytest.fixture
def make_pair(start_server: Callable[..., Server]) -> Iterator[Callable[..., Pair]]:
    """`make_pair(flavour=None)`: both are in step."""
    with contextlib.ExitStack() as stack:

        def make(flavour: str | None = None) -> Pair:
            master = start_server(flavour)
            replica = start_server(flavour, options=["--replicaof", master.host, str(master.port)])
            with contextlib.closing(master.client()) as client:
                wait_until(lambda: replica_states(client) == ["online"], 20, "the replica has the data")
            pair = Pair(master, replica)
            stack.callback(pair.app.broker.close)
            stack.callback(replica.resume)
            return pair

        yield make


@pytest.fixture
def pair(make_pair: Callable[..., Pair]) -> Pair:
    return make_pair()


Enqueue = Callable[[Pair], "list[str]"]


def _piped(pair: Pair) -> list[str]:
    with pair.app.pipeline():
        calls = [pair.task.execute(1), pair.task.execute(2, durability="replicated"), pair.task.execute(3)]
    return [call.taskid for call in calls]


async def _piped_awaited(pair: Pair) -> list[str]:
    face = aio.of(pair.app)
    async with face.pipeline():
        calls = [await face.execute(pair.task, durability="replicated"), await face.execute(pair.task)]
    return [call.taskid for call in calls]


async def _awaited(pair: Pair, verb: str) -> list[str]:
    face = aio.of(pair.app)
    if verb == "execute":
        return [(await face.execute(pair.task, durability="replicated")).taskid]
    if verb == "put_data":
        return await face.Data("box").put_data([1, 2], durability="replicated")
    return [call.taskid for call in await face.execute_many(pair.task, [()] * 3, durability="replicated")]


WAYS: dict[str, Enqueue] = {
    "execute": lambda pair: [pair.task.execute(durability="replicated").taskid],
    "execute with an id": lambda pair: [pair.task.execute(durability="replicated", taskid="mine").taskid],
    "execute_many": lambda pair: [one.taskid for one in pair.task.execute_many([()] * 3, durability="replicated")],
    "call_task": lambda pair: [pair.app.call_task("noop", durability="replicated").taskid],
    "pipeline": _piped,
    "put_data": lambda pair: pair.app.Data("box").put_data([1, 2], durability="replicated"),
    "aio.execute": lambda pair: asyncio.run(_awaited(pair, "execute")),
    "aio.execute_many": lambda pair: asyncio.run(_awaited(pair, "execute_many")),
    "aio.pipeline": lambda pair: asyncio.run(_piped_awaited(pair)),
    "aio.put_data": lambda pair: asyncio.run(_awaited(pair, "put_data")),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_was_enqueued_as_replicated_is_in_the_replica(pair: Pair, way: str) -> None:
    for _ in range(10 if way != "execute with an id" else 1):
        ids = WAYS[way](pair)
        assert set(ids) <= pair.copies()


@pytest.mark.parametrize("way", WAYS)
def test_what_no_replica_has_in_time_is_enqueued_and_said_to_be_unconfirmed(pair: Pair, way: str) -> None:
    pair.give_up_soon()
    began_at = time.monotonic()
    with pytest.raises(DurabilityNotConfirmed, match=r"all the same.*0 of 1 replicas had it after 0\.3 s") as caught:
        WAYS[way](pair)
    assert time.monotonic() - began_at >= IN_VAIN
    error = caught.value
    assert error.fates is not None
    assert not error.fates.refused
    assert not error.fates.unknown
    ids = {getattr(one, "taskid", one) for one in error.fates.done}
    assert ids == pair.ids(data="put_data" in way) != set()
    assert error.call is error.fates.done[0]


def test_batches_after_one_that_is_not_confirmed_are_not_sent(pair: Pair) -> None:
    pair.give_up_soon()
    with pytest.raises(DurabilityNotConfirmed, match="of 1500 sent together: 1000 in, 500 not in") as caught:
        pair.task.execute_many([()] * 1500, durability="replicated")
    assert caught.value.fates is not None
    assert {call.taskid for call in caught.value.fates.done} == pair.ids()
    assert len(caught.value.fates.refused) == 500


def test_what_was_unconfirmed_can_be_confirmed_later_under_its_id(pair: Pair) -> None:
    pair.give_up_soon()
    with pytest.raises(DurabilityNotConfirmed):
        pair.task.execute(taskid="mine", durability="replicated")
    with pytest.raises(DurabilityNotConfirmed):  # it writes nothing, and is no more confirmed than before
        pair.task.execute(taskid="mine", durability="replicated")
    pair.replica.resume()
    pair.app.settings.durability_timeout = 10.0
    pair.task.execute(taskid="mine", durability="replicated")
    assert pair.copies() == pair.ids() == {"mine"}


@pytest.mark.parametrize("flavour", ["redis62", "redis", "redis8", "valkey"])
def test_a_call_that_was_sent_again_is_not_confirmed_by_a_connection_that_wrote_nothing(
    make_pair: Callable[..., Pair], flavour: str
) -> None:
    pair = make_pair(flavour)
    pair.task.execute()  # so that the script is known, and the first sending is the one that enqueues
    with proxy_to(pair.master.port) as proxy:
        app = App(f"redis://127.0.0.1:{proxy.port}/0", prefix="test")
        task = app.task(name="noop")(lambda: None)
        task.execute()
        pair.replica.pause()
        app.settings.durability_timeout = IN_VAIN
        proxy.lose_next(b"EXEC")
        try:
            with pytest.raises(DurabilityNotConfirmed):
                task.execute(durability="replicated")
        finally:
            app.broker.close()
        assert proxy.lost == 1
    assert len(pair.ids()) == 3


def test_the_confirmation_takes_no_round_trip_of_its_own(pair: Pair) -> None:
    pair.task.execute(durability="replicated")
    with Monitor(pair.master).listening() as monitor:
        pair.task.execute(durability="replicated")
        monitor.wait_for_mark()
        sent = monitor.sent()
    # The order in which MONITOR shows what EXEC does differs; and the server has others to talk to.
    assert {"MULTI", "EVALSHA", "EXEC", "PEXPIRE", "WAIT"} <= set(sent)
    assert sent.count("WAIT") == 1
    writes: list[int] = []
    line_type = type(pair.app.broker.lines._free[0])  # type: ignore[union-attr]
    plain = line_type.send_packed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_type, "send_packed", lambda *said: writes.append(1) or plain(*said))
        pair.task.execute(durability="replicated")
    assert len(writes) == 1


def test_the_disk_is_waited_for_where_redis_knows_how(start_server: Callable[..., Server]) -> None:
    server = start_server("redis8", appendonly=True)
    app = App(server.url, prefix="test")
    task = app.task(name="noop", durability="fsync")(lambda: None)
    try:
        call = task.execute()
        assert call.status == "waiting"

        async def awaited() -> str:
            return (await aio.of(app).execute(task)).taskid

        other = asyncio.run(awaited())
        with contextlib.closing(server.client()) as client:
            server.kill()
            server.start()
            ids = set(client.hkeys(app.task_keys("default").messages))
        assert ids == {call.taskid.encode(), other.encode()}
        with contextlib.closing(server.client()) as client:
            client.config_set("appendonly", "no")
        with pytest.raises(DurabilityNotConfirmed, match=r"WAITAOF.*appendonly is disabled") as caught:
            task.execute()
        assert caught.value.call.status == "waiting"
    finally:
        app.broker.close()


@pytest.mark.parametrize("flavour", ["redis62", "redis"])
@pytest.mark.parametrize("face", ["blocking", "awaited"])
def test_a_redis_that_cannot_confirm_the_disk_is_told_so_before_anything_is_enqueued(
    start_server: Callable[..., Server], flavour: str, face: str
) -> None:
    server = start_server(flavour, appendonly=True)
    app = App(server.url, prefix="test")
    task = app.task(name="noop")(lambda: None)

    async def awaited() -> None:
        await aio.of(app).execute(task, durability="fsync")

    try:
        if knows_waitaof(server):
            pytest.skip("this one can")
        with pytest.raises(RedisUnsuitable, match=r"Redis 7\.2 or Valkey 7\.2.*nothing was sent"):
            asyncio.run(awaited()) if face == "awaited" else task.execute(durability="fsync")
        with contextlib.closing(server.client()) as client:
            assert not client.hkeys(app.task_keys("default").messages)
    finally:
        app.broker.close()


def knows_waitaof(server: Server) -> bool:
    with contextlib.closing(server.client()) as client:
        version = client.info("server")["redis_version"]
    return tuple(map(int, str(version).split(".")[:2])) >= (7, 2)


@pytest.mark.parametrize("value", ["disk", "", True, 1, b"fsync", ["fsync"]])
def test_other_values_are_refused_where_they_are_said(value: Any) -> None:
    app = App("redis://127.0.0.1:1/0", prefix="test")
    with pytest.raises(RefusedInput, match=r"durability of .*: expected 'replicated', 'fsync', False or None, got"):
        app.task(name="one", durability=value)(lambda: None)
    task = app.task(name="two")(lambda: None)
    for enqueue in (
        lambda: task.execute(durability=value),
        lambda: task.execute_many([()], durability=value),
        lambda: app.Data("box").put_data([1], durability=value),
    ):
        with pytest.raises(RefusedInput, match="expected 'replicated', 'fsync', False or None, got"):
            enqueue()
    app.settings.durability = value
    with pytest.raises(SettingError, match="setting DURABILITY: expected 'replicated', 'fsync'"):
        task.execute()


def test_a_wait_that_outlasts_the_connection_is_refused() -> None:
    app = App("redis://127.0.0.1:1/0", prefix="test")
    app.settings.durability_timeout = 30
    with pytest.raises(
        SettingError, match=r"DURABILITY_TIMEOUT: expected less than the socket_timeout of 30 s, got 30"
    ):
        app.Data("box").put_data([1], durability="replicated")


def test_the_call_overrides_the_declaration_which_overrides_the_setting(pair: Pair) -> None:
    app, declared = pair.app, pair.app.task(name="declared", durability=False)(lambda: None)
    pair.give_up_soon()
    declared.execute()
    pair.task.execute()
    app.settings.durability = "replicated"
    declared.execute()
    pair.task.execute(durability=False)
    for enqueue in (
        lambda: pair.task.execute(),
        lambda: declared.execute(durability="replicated"),
        lambda: app.Data("box").put_data([1]),
    ):
        with pytest.raises(DurabilityNotConfirmed):
            enqueue()
    app.Data("box").put_data([1], durability=False)


def test_a_task_that_is_called_by_name_keeps_its_durability(pair: Pair) -> None:
    from rpqueue import calling

    told = calling.told(pair.app.task(name="careful", durability="replicated")(lambda: None), 0.0)
    with contextlib.closing(pair.master.client()) as client:
        client.hset(pair.app.keys.app.registry, "careful", told)
    pair.give_up_soon()
    other = App(pair.master.url, prefix="test")
    other.settings.durability_timeout = IN_VAIN
    try:
        with pytest.raises(DurabilityNotConfirmed):
            other.call_task("careful")
    finally:
        other.broker.close()


def test_a_function_that_runs_here_and_now_does_not_get_the_option(pair: Pair) -> None:
    assert pair.task.execute(3, durability="replicated", execute_inline_now=True).result is None


def test_what_was_enqueued_as_replicated_survives_the_death_of_the_master(deployment: Deployment) -> None:
    app, old = App(deployment.url, prefix="test"), deployment.master
    app.settings.durability_timeout = 10.0
    task = app.task(name="noop", durability="replicated")(lambda: None)
    confirmed: list[str] = []
    unconfirmed: list[str] = []
    stopping = threading.Event()

    def calls() -> None:
        while not stopping.is_set():
            try:
                confirmed.append(task.execute().taskid)
            except DurabilityNotConfirmed as error:
                unconfirmed.append(error.call.taskid)

    threads = [threading.Thread(target=calls) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(confirmed) > 200, 20, "calls are confirmed")
        old.kill()
        deployment.until_promoted(old)
        before = len(confirmed)
        wait_until(lambda: len(confirmed) > before + 50, 20, "calls are confirmed by the next master")
    finally:
        stopping.set()
        for thread in threads:
            thread.join(40)
        with contextlib.closing(deployment.master.client(decode_responses=True)) as client:
            ids = set(client.hkeys(app.task_keys("default").messages))
        app.broker.close()
    assert set(confirmed) <= ids
