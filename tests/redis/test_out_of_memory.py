"""At maxmemory what brings work is refused whole, and what ends work goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.redis import calls
from tests.redis.cases import CHANGES, ITEM_CHANGES, arrange, send
from tests.redis.harness import Queue
from tests.servers import FLAVOURS, Server, why_not

pytestmark = pytest.mark.undeclared_scripts

MINUTE = 60_000


@pytest.fixture(scope="module", params=FLAVOURS)
def limited(request: pytest.FixtureRequest) -> Iterator[Server]:
    if reason := why_not(request.param):
        pytest.skip(reason)
    server = Server(request.param, options=["--maxmemory-policy", "noeviction"])
    yield server
    server.close()


@pytest.fixture
def client(limited: Server) -> Iterator[redis.Redis]:
    client = limited.client()
    client.flushall()
    yield client
    client.config_set("maxmemory", 0)


@pytest.fixture
def queue(client: redis.Redis) -> Queue:
    return Queue(client)


@pytest.fixture
def items(client: redis.Redis) -> Queue:
    return Queue(client, kind="data")


def fill(queue: Queue) -> None:
    queue.client.config_set("maxmemory", 1)


REFUSED: dict[str, Callable[[Queue], Any]] = {
    "enqueue": lambda queue: calls.enqueue(queue, {"a": "1", "b": "2"}),
    "enqueue a chosen id": lambda queue: calls.enqueue(queue, {"a": "1"}, chosen=True),
    "enqueue for later": lambda queue: calls.enqueue(queue, {"a": "1"}, delay=5000),
    "fire": lambda queue: calls.fire(queue, "daily", "", 5, id="a"),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_new_work_is_refused_whole(queue: Queue, call: Callable[[Queue], Any]) -> None:
    queue.given(ready=["z"])
    there = queue.snapshot()
    fill(queue)
    with pytest.raises(redis.exceptions.ResponseError, match=r"OOM|maxmemory"):
        call(queue)
    assert queue.snapshot() == there
    assert not queue.client.exists(queue.memo)


#: What a call is, on a queue with a leased "a" and "b" and a parked "p"; what it answers, and where things are then.
GOES_THROUGH: dict[str, tuple[Callable[[Queue], Any], Any, dict[str, Any]]] = {
    "ack": (lambda queue: calls.ack(queue, ("a", 1)), ["a"], {"a": None}),
    "stale ack": (lambda queue: calls.ack(queue, ("a", 9)), [], {"a": "leased"}),
    "extend": (lambda queue: calls.extend(queue, 2 * MINUTE, ("a", 1, 0)), ["a"], {"a": "leased"}),
    "fail": (lambda queue: calls.fail(queue, "a", 1), "ready", {"a": "ready"}),
    "fail for later": (lambda queue: calls.fail(queue, "a", 1, delay=5000), "scheduled", {"a": "scheduled"}),
    "stale failure": (lambda queue: calls.fail(queue, "a", 9), "stale", {"a": "leased"}),
    "release": (
        lambda queue: calls.release(queue, ("a", 1, "unstarted"), ("b", 1, "crashed")),
        [["a", "ready"], ["b", "ready"]],
        {"a": "ready", "b": "ready"},
    ),
    "park": (lambda queue: calls.park(queue, ("a", 1, "t")), ["a"], {"a": "parked"}),
    "unpark": (lambda queue: calls.unpark(queue, "p"), 1, {"p": "ready"}),
    "cancel": (lambda queue: calls.cancel(queue, "p", keep_for=5000, outcome="1"), 1, {"p": None}),
    "cycle with acks": (
        lambda queue: calls.cycle(queue, done=["a"], full=[("b", 1, 5000, '"kept"')], wanted=0).stale,
        [],
        {"a": None, "b": None},
    ),
    "cycle with a stale ack": (
        lambda queue: calls.cycle(queue, full=[("a", 9, 0, "")], wanted=0).stale,
        [[1, "a"]],
        {"a": "leased"},
    ),
    "cycle that claims": (lambda queue: calls.cycle(queue, wanted=1).ids, ["r"], {"r": "leased"}),
    "cycle that claims nothing": (lambda queue: calls.cycle(queue, wanted=0).claimed, [], {"r": "ready"}),
    "states": (lambda queue: calls.states(queue, "a")[1][0], "leased", {"a": "leased"}),
}


@pytest.mark.parametrize(("call", "reply", "places"), GOES_THROUGH.values(), ids=GOES_THROUGH)
def test_work_under_way_can_be_ended(
    queue: Queue, call: Callable[[Queue], Any], reply: Any, places: dict[str, str | None]
) -> None:
    queue.given(ready=["r"], leased={"a": (MINUTE, 1), "b": (MINUTE, 1)}, parked={"p": "t"}, lease=60, attempts=5)
    fill(queue)
    assert call(queue) == reply
    state = queue.state()
    for id, place in places.items():
        assert (
            next((where for where in state if where not in ("counts", "errors") and id in state[where]), None) == place
        )


def test_an_ack_is_remembered_all_the_same(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    fill(queue)
    assert [calls.ack(queue, ("a", 1), number=5) for _ in range(2)] == [["a"], ["a"]]


def test_an_outcome_that_a_cycle_keeps_is_kept_all_the_same(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    fill(queue)
    calls.cycle(queue, full=[("a", 1, 5000, '"kept"')])
    assert queue.client.get(queue.keys.outcome("a")) == b'"kept"'


@pytest.mark.parametrize("scheduled", [{}, {"s": MINUTE}, {"s": -1}])
def test_an_idle_round_is_no_error(queue: Queue, scheduled: dict[str, int]) -> None:
    queue.given(scheduled=scheduled)
    fill(queue)
    assert calls.cycle(queue).ids == [id for id, due in scheduled.items() if due < 0]
    queue.state()


@pytest.mark.parametrize("lease_for", [0, MINUTE])
def test_items_can_be_taken(items: Queue, lease_for: int) -> None:
    items.given(ready=["a", "b"])
    fill(items)
    assert calls.lease(items, 1, lease_for).ids == ["a"]
    assert calls.lease(items, 1, lease_for).ids == ["b"]
    assert calls.lease(items, 1, lease_for).ids == []
    items.state()


def test_buried_messages_can_be_redriven_and_expired_ones_buried(queue: Queue) -> None:
    queue.given(dead={"a": 0}, leased={"b": (-1, 1)})
    fill(queue)
    assert calls.redrive(queue, "dead") == ["a"]
    assert calls.cycle(queue, wanted=0).claimed == []
    assert list(queue.state()["lost"]) == ["b"]


#: Cases of `tests.redis.cases` that bring something new.
BRINGS = {
    *("enqueue_ready", "enqueue", "enqueue: chosen", "enqueue_ready: items"),
    *("fire", "bury_new", "priority", "lock_acquire", "note"),
}


@pytest.mark.parametrize("name", [*CHANGES, *ITEM_CHANGES])
def test_every_script_is_refused_whole_or_goes_through(queue: Queue, items: Queue, name: str) -> None:
    there = arrange(queue if name in CHANGES else items)
    operation = {**CHANGES, **ITEM_CHANGES}[name].make(there)
    before = there.snapshot()
    fill(there)
    if name in BRINGS:
        with pytest.raises(redis.exceptions.ResponseError, match=r"OOM|maxmemory"):
            send(there.client, operation)
        assert there.snapshot() == before
    else:
        send(there.client, operation)
    there.state()
