"""The whole life of signed messages, and what becomes of those that are not, or not by us."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from rpqueue import App, aio
from rpqueue.errors import BadSignature, SettingError
from rpqueue.inspection import Inspection
from rpqueue.protocol import moves
from rpqueue.states import State
from rpqueue.tasks import Task
from tests.security.conftest import NEW, OLD
from tests.servers import wait_until


@pytest.fixture
def ran() -> list[Any]:
    return []


@pytest.fixture
def job(app: App, ran: list[Any]) -> Task[..., Any]:
    def job(value: Any, fail: bool = False) -> Any:
        ran.append(value)
        if fail and ran.count(value) == 1:
            raise ValueError("once")
        return value

    return app.task(name="job", save_results=30)(job)


@pytest.fixture
def stubborn(app: App, ran: list[Any]) -> Task[..., Any]:
    """Fails at its first run, and may run again."""

    def stubborn(value: Any) -> Any:
        ran.append(value)
        if ran.count(value) == 1:
            raise ValueError("once")

    return app.task(name="stubborn", vis_timeout=30, attempts=2, retry_delay=0.01, use_dead=True)(stubborn)


def stored(app: App, client: redis.Redis, queue: str = "default") -> dict[bytes, bytes]:
    messages: dict[bytes, bytes] = client.hgetall(app.task_keys(queue).messages)
    return messages


def change(app: App, client: redis.Redis, taskid: str, edit: Callable[[bytes], bytes], queue: str = "default") -> bytes:
    """Do to a message what somebody may who can write to Redis and has no key. Returns its bytes now."""
    key = app.task_keys(queue).messages
    changed = edit(client.hget(key, taskid) or b"")
    client.hset(key, taskid, changed)
    return changed


def plainly(app: App) -> App:
    """The same Redis and prefix, without keys."""
    other = App(prefix="test")
    other._broker = app.broker
    other.settings.signing_keys = {}
    return other


# What is signed runs.


def test_every_way_into_a_queue_signs(signed: App, job: Task[..., Any], ran: list[Any], start_worker: Any) -> None:
    async def awaited() -> None:
        verbs = aio.of(signed)
        await verbs.execute(job, 10)
        await verbs.execute_many(job, [(11,), {"value": 12}])
        await verbs.call_task("job", None, 13)
        async with verbs.pipeline():
            await verbs.execute(job, 14)
            await verbs.execute_many(job, [(15,), (16,)])

    job.execute(1)
    job.execute(2, delay=0.05)
    job.execute(3, taskid="chosen", _queue="other")
    job.execute_many([(4,), {"value": 5}])
    job.execute_many([(6,)], taskids=["mine"], delay=0.05)
    signed.call_task("job", None, 7)
    with signed.pipeline():
        job.execute(8)
        job.execute_many([(9,)])
    asyncio.run(awaited())
    assert all(b"|~new~" in message for message in stored(signed, signed.broker.client).values())
    start_worker()
    wait_until(lambda: len(ran) >= 16)
    assert sorted(ran) == list(range(1, 17))


def test_results_are_signed_and_read_in_every_way(signed: App, job: Task[..., Any], start_worker: Any) -> None:
    start_worker()
    call = job.execute({"a": [1]})
    assert call.get(timeout=10) == {"a": [1]}
    assert call.result == {"a": [1]}
    assert call.status == "done"
    assert signed.result(call.taskid) == {"a": [1]}
    view = Inspection(signed).message(call.taskid)
    assert view is not None
    assert view.outcome == {"state": "done", "result": {"a": [1]}}

    async def awaited() -> list[Any]:
        other = await aio.of(signed).execute(job, 5)
        return [await other.get(timeout=10), await other.result(), await aio.of(signed).result(other.taskid)]

    assert asyncio.run(awaited()) == [5, 5, 5]
    assert (signed.broker.client.get(call.keys.outcome(call.taskid)) or b"").startswith(b"~new~")


def test_a_long_result_is_signed_too(signed: App, job: Task[..., Any], start_worker: Any) -> None:
    start_worker()
    assert job.execute("x" * 100_000).get(timeout=10) == "x" * 100_000


@pytest.mark.parametrize(
    "forge", [b'{"state":"done","result":"forged"}', b"~new~AAAA~" + b'{"state":"done","result":1}']
)
def test_a_forged_result_is_refused(signed: App, job: Task[..., Any], forge: bytes) -> None:
    call = job.execute(1)
    signed.broker.client.delete(call.keys.messages, call.keys.ready)
    signed.broker.client.set(call.keys.outcome(call.taskid), forge, px=60_000)
    with pytest.raises(BadSignature, match=r"^signature: expected"):
        call.get(timeout=5)
    with pytest.raises(BadSignature):
        _ = call.result
    with pytest.raises(BadSignature):
        signed.result(call.taskid)
    view = Inspection(signed).message(call.taskid)
    assert view is not None
    assert view.outcome == {"undecodable": forge.decode()}


def test_a_result_of_another_call_is_refused(signed: App, job: Task[..., Any], start_worker: Any) -> None:
    start_worker()
    one, other = job.execute(1), job.execute(2)
    assert [one.get(timeout=10), other.get(timeout=10)] == [1, 2]
    client = signed.broker.client
    client.set(other.keys.outcome(other.taskid), client.get(one.keys.outcome(one.taskid)) or b"", px=60_000)
    with pytest.raises(BadSignature):
        other.get(timeout=5)


def test_a_cancelled_call_is_known_as_such(signed: App, job: Task[..., Any]) -> None:
    call = job.execute(1)
    assert call.cancel() is True
    assert call.status == "cancelled"
    assert call.result is None
    assert signed.result(call.taskid) is None


def test_a_retry_and_a_redrive_keep_the_signature(
    signed: App, stubborn: Task[..., Any], ran: list[Any], start_worker: Any
) -> None:
    call = stubborn.execute("again")
    start_worker()
    wait_until(lambda: ran == ["again", "again"])
    call = stubborn.execute("dead", _attempts=1)
    wait_until(lambda: call.status == "dead")
    assert signed.broker.execute(moves.redrive(call.keys, signed.index, State.DEAD)) == [call.taskid]
    wait_until(lambda: ran.count("dead") == 2)


def test_schedules_sign_what_they_fire(signed: App, ran: list[Any], start_worker: Any) -> None:
    signed.periodic_task(0.05, low_delay_okay=True, name="tick", never_skip=True)(lambda: ran.append("tick"))
    start_worker()
    wait_until(lambda: len(ran) >= 3)


def test_a_flush_signs_what_it_fires(signed: App, ran: list[Any], start_worker: Any) -> None:
    tick = signed.periodic_task(600, name="tick")(lambda: ran.append("tick"))
    start_worker()
    wait_until(lambda: signed.broker.client.hget(signed.task_keys(tick.queue).schedules, "tick"))
    signed.flush_tasks(force_delayed=True, timeout=20)
    wait_until(lambda: ran == ["tick"])


def test_the_same_call_may_come_again_under_a_newer_key(signed: App, job: Task[..., Any]) -> None:
    signed.settings.signing_keys = {"old": OLD}
    first = job.execute(1, taskid="mine")
    signed.settings.signing_keys = {"new": NEW, "old": OLD}
    assert job.execute(1, taskid="mine").taskid == first.taskid
    assert b"|~old~" in stored(signed, signed.broker.client)[b"mine"]
    with pytest.raises(ValueError, match="another message has it"):
        job.execute(2, taskid="mine")


def test_items_are_signed_leased_taken_and_looked_at(signed: App) -> None:
    queue = signed.Data("measurements", vis_timeout=30, attempts=3, use_dead=True)
    queue.put_data([1, {"a": []}, "~|~"])
    with signed.pipeline():
        queue.put_data([4])
    asyncio.run(aio.of(signed).Data("measurements", vis_timeout=30, attempts=3, use_dead=True).put_data([5]))
    assert all(b"|~new~" in message for message in signed.broker.client.hvals(queue.keys.messages))
    assert list(queue.get_data(10, vis_timeout=-1).values()) == [1, {"a": []}, "~|~", 4, 5]
    leased = queue.get_data(3)
    assert list(leased.values()) == [1, {"a": []}, "~|~"]
    assert len(queue.done_data(leased)) == 3
    assert list(queue.get_data(10, vis_timeout=0).values()) == [4, 5]


def test_dead_items_are_read(signed: App) -> None:
    signed.Data("measurements", is_dead=True).put_data([7])
    [row] = signed.read_deadletter(is_data=True)
    assert row[2] == 7
    [row] = signed.Data("measurements", is_dead=True).get_data().values()
    assert row[2] == 7


# Views.


def test_views_show_what_is_signed(signed: App, job: Task[..., Any]) -> None:
    call = job.execute(1, fail=True)
    assert (call.args or [])[1:4] == ["job", [1], {"fail": True}]
    assert signed.get_page("default", 1)[0][1:4] == ["job", [1], {"fail": True}]
    [view] = Inspection(signed).page("default").messages
    assert (view.name, view.args, view.kwargs) == ("job", [1], {"fail": True})
    [row] = signed.Data("default", is_tasks=True).get_data(vis_timeout=-1).values()
    assert row[1:4] == ["job", [1], {"fail": True}]


def test_who_has_no_key_can_look_at_what_others_signed(signed: App, job: Task[..., Any]) -> None:
    job.execute(1)
    [view] = Inspection(plainly(signed)).page("default").messages
    assert (view.name, view.args) == ("job", [1])


def test_views_do_not_decode_what_is_badly_signed(signed: App, job: Task[..., Any]) -> None:
    call = job.execute(1)
    change(signed, signed.broker.client, call.taskid, lambda message: message.replace(b"[1]", b"[2]"))
    [view] = Inspection(signed).page("default").messages
    assert (view.name, view.args) == ("", [])
    assert '"job",[2]' in (view.undecodable or "")
    assert signed.get_page("default", 1)[0][1] == "<undecodable>"


# What is not, or not by us, does not run.


def flip(message: bytes) -> bytes:
    return message.replace(b'["job",[1]', b'["job",[3]')


def flip_name(message: bytes) -> bytes:
    return message.replace(b'["job",[', b'["evil",[')


def unsign(message: bytes) -> bytes:
    header, _, body = message.partition(b"|")
    return header + b"|" + body.split(b"~", 3)[3]


def more_attempts(message: bytes) -> bytes:
    header, _, body = message.partition(b"|")
    return b" ".join(header.split(b" ")[:2]) + b" 60000 99 2|" + body


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (flip, "got another"),
        (unsign, "got an unsigned message"),
        (more_attempts, "got another"),
        (lambda message: message.replace(b"~new~", b"~gone~"), "got one by 'gone'"),
        (lambda message: message.replace(b"~new~", b"~old~"), "expected that of key 'old'"),
        (lambda message: message[: message.index(b"~") + 9], "expected ~KEY~SIGNATURE~BODY"),
    ],
)
@pytest.mark.parametrize("among", [0, 5])
def test_a_bad_task_is_quarantined_with_its_bytes(
    signed: App, job: Task[..., Any], ran: list[Any], start_worker: Any, edit: Any, why: str, among: int
) -> None:
    bad = job.execute(1)
    good = [job.execute(100 + number) for number in range(among)]
    changed = change(signed, signed.broker.client, bad.taskid, edit)
    start_worker()
    wait_until(lambda: bad.status == "dead")
    wait_until(lambda: all(call.status == "done" for call in good))
    assert sorted(ran) == [100 + number for number in range(among)]
    assert stored(signed, signed.broker.client) == {bad.taskid.encode(): changed}
    [view] = Inspection(signed).buried()
    assert view.reason == "undecodable"
    assert view.undecodable == changed.decode()
    assert (view.error or {})["exception"] == "BadSignature"
    assert why in (view.error or {})["message"]
    [row] = signed.read_deadletter()
    assert row[1:3] == ["", [changed]]


def test_a_task_of_another_queue_or_id_is_quarantined(
    signed: App, job: Task[..., Any], ran: list[Any], start_worker: Any
) -> None:
    call, mail = job.execute(1), job.execute(2, _queue="mail")
    client = signed.broker.client
    replayed = client.hget(mail.keys.messages, mail.taskid) or b""
    change(signed, client, call.taskid, lambda _: replayed)
    client.hset(call.keys.messages, mail.taskid, replayed)
    client.rpush(call.keys.ready, mail.taskid)
    start_worker()
    wait_until(lambda: len(Inspection(signed).buried(queue="default")) == 2)
    wait_until(lambda: ran == [2])


def test_an_old_key_that_is_removed_is_refused_until_it_is_back(
    signed: App, job: Task[..., Any], ran: list[Any], start_worker: Any
) -> None:
    signed.settings.signing_keys = {"old": OLD}
    call = job.execute(1)
    signed.settings.signing_keys = {"new": NEW}
    start_worker()
    wait_until(lambda: call.status == "dead")
    signed.settings.signing_keys = {"new": NEW, "old": OLD}
    signed.broker.execute(moves.redrive(call.keys, signed.index, State.DEAD))
    wait_until(lambda: ran == [1])


def test_unsigned_tasks_run_while_signatures_are_not_required(
    signed: App, job: Task[..., Any], ran: list[Any], start_worker: Any
) -> None:
    signed.settings.signing_keys = {}
    signed.settings.signing_required = False
    job.execute_many([(1,), (2,)])
    signed.settings.signing_keys = {"new": NEW}
    job.execute_many([(3,), (4,)])
    bad = job.execute(5)
    change(signed, signed.broker.client, bad.taskid, lambda message: message.replace(b"[5]", b"[6]"))
    start_worker()
    wait_until(lambda: bad.status == "dead")
    assert sorted(ran) == [1, 2, 3, 4]


def test_a_worker_without_keys_runs_what_is_signed(
    app: App, job: Task[..., Any], ran: list[Any], start_worker: Any
) -> None:
    app.settings.signing_keys = {"new": NEW}
    job.execute_many([(1,), (2,), (3,)])
    app.settings.signing_keys = {}
    start_worker()
    wait_until(lambda: sorted(ran) == [1, 2, 3])


@pytest.mark.parametrize("vis_timeout", [30, 0])
@pytest.mark.parametrize("edit", [lambda message: message.replace(b"one", b"two"), unsign])
def test_a_bad_item_is_quarantined_with_its_bytes(signed: App, vis_timeout: float, edit: Any) -> None:
    queue = signed.Data("measurements", vis_timeout=30)
    bad, good = queue.put_data(["one", "other"])
    client = signed.broker.client
    changed = edit(client.hget(queue.keys.messages, bad))
    client.hset(queue.keys.messages, bad, changed)
    assert queue.get_data(2, vis_timeout=vis_timeout) == {good: "other"}
    [row] = signed.read_deadletter(is_data=True)
    assert row[0] == bad
    assert row[2] is None
    assert row[3]["message"] == changed
    assert row[3]["error"]["exception"] == "BadSignature"
    [view] = Inspection(signed).buried(is_data=True)
    assert view.undecodable == changed.decode()
    assert "signature: expected" in (view.error or {})["message"]


def test_an_item_of_another_queue_is_refused(signed: App) -> None:
    prices, orders = signed.Data("prices"), signed.Data("orders")
    [price] = prices.put_data([1])
    client = signed.broker.client
    client.hset(orders.keys.messages, price, client.hget(prices.keys.messages, price) or b"")
    client.rpush(orders.keys.ready, price)
    assert orders.get_data() == {}
    assert [view.id for view in Inspection(signed).buried(queue="orders", is_data=True)] == [price]


@pytest.mark.parametrize("edit", [flip_name, lambda message: unsign(flip_name(message))])
def test_nothing_is_decoded_before_its_signature_is_checked(
    signed: App, job: Task[..., Any], start_worker: Any, monkeypatch: pytest.MonkeyPatch, edit: Any
) -> None:
    from rpqueue import messages

    seen: list[bytes] = []
    real = messages._DECODER.decode
    monkeypatch.setattr(messages._DECODER, "decode", lambda text: (seen.append(text.encode()), real(text))[1])
    calls = [job.execute(value) for value in (1, 2, 3)]
    for call in calls[:2]:
        change(signed, signed.broker.client, call.taskid, edit)
    start_worker()
    wait_until(lambda: [call.status for call in calls[:2]] == ["dead", "dead"])
    assert not [text for text in seen if b"evil" in text]


def test_the_secret_is_nowhere_in_redis(signed: App, job: Task[..., Any], start_worker: Any) -> None:
    start_worker()
    job.execute(1).get(timeout=10)
    job.execute(2, delay=100)
    client = signed.broker.client
    time.sleep(0.05)
    assert not [
        key for key in client.scan_iter() for secret in (NEW, OLD) if secret.encode() in (client.dump(key) or b"")
    ]


def test_a_worker_with_keys_that_cannot_be_used_ends_at_once(app: App) -> None:
    app.settings.signing_required = True
    with pytest.raises(SettingError, match="SIGNING_REQUIRED"):
        app.execute_task_threads()
    with pytest.raises(SettingError, match="SIGNING_REQUIRED"):
        app.execute_tasks()


def test_many_unsigned_messages_together_are_refused_like_one(
    signed: App, job: Task[..., Any], ran: list[Any], start_worker: Any
) -> None:
    signed.settings.signing_keys, signed.settings.signing_required = {}, False
    calls = job.execute_many([(number,) for number in range(5)])
    queue = signed.Data("measurements", vis_timeout=30)
    queue.put_data([1, 2, 3])
    signed.settings.signing_keys, signed.settings.signing_required = {"new": NEW}, True
    assert queue.get_data(10, vis_timeout=-1) == {}
    assert queue.get_data(10) == {}
    assert len(signed.read_deadletter(is_data=True)) == 3
    start_worker()
    wait_until(lambda: [call.status for call in calls] == ["dead"] * 5)
    assert ran == []
