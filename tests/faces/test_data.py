"""Data: queues of items as users hold them."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rpqueue import App
from rpqueue.data import Data, Items
from rpqueue.errors import MessageTooLarge, RedisUnsuitable, RefusedInput, RefusedName, UnserializableValue, WrongType
from tests.servers import Server, blocked_clients, listeners, wait_until

MINUTE = 60
GARBAGE = b"no message of ours"


def expire(queue: Data) -> None:
    """Let every lease of the queue end now."""
    client = queue.app.get_connection()
    leased = client.zrange(queue.keys.leased, 0, -1, withscores=True)
    if leased:
        client.zadd(queue.keys.leased, {id: score - 10_000_000 for id, score in leased})


def fall_due(queue: Data) -> None:
    """Let every delay of the queue be over now."""
    client = queue.app.get_connection()
    scheduled = client.zrange(queue.keys.scheduled, 0, -1, withscores=True)
    client.zadd(queue.keys.scheduled, {id: score - 10_000_000 for id, score in scheduled})


def values(items: Items) -> list[Any]:
    return list(items.values())


def put_unheard(queue: Data, message: bytes | str, id: str = "unheard") -> None:
    """Put a message, well formed or not, and wake nobody."""
    client = queue.app.get_connection()
    client.hset(queue.keys.messages, id, message)
    client.rpush(queue.keys.ready, id)


@contextlib.contextmanager
def in_thread(function: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run it beside the block; its result is in the list once the block has ended."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    yield results
    thread.join(30)
    assert not thread.is_alive()


def waiters(client: redis.Redis) -> int:
    return blocked_clients(client)


# ---- put and get


@pytest.mark.any_server
def test_items_come_back_in_order_under_the_ids_that_put_told(app: App) -> None:
    queue = app.Data("numbers")
    ids = queue.put_data([1, "two", {"three": [3.5, None]}])
    got = queue.get_data(2)
    assert got == {ids[0]: 1, ids[1]: "two"}
    assert list(got) == ids[:2]
    assert queue.get_data(1000) == {ids[2]: {"three": [3.5, None]}}
    assert queue.get_data() == {}


def test_a_name_as_str_and_as_bytes_is_the_same_queue(app: App) -> None:
    app.Data(b"numbers").put_data([1])
    assert values(app.Data("numbers").get_data()) == [1]


def test_a_task_queue_and_a_data_queue_of_one_name_are_two(app: App) -> None:
    app.Data("mail").put_data([1])
    assert app.Data("mail", is_tasks=True).get_data() == {}


@pytest.mark.parametrize(
    "make", [tuple, iter, lambda items: (item for item in items), lambda items: dict.fromkeys(items).keys()]
)
def test_any_iterable_is_put_in_its_order(app: App, make: Callable[[Any], Any]) -> None:
    queue = app.Data("numbers")
    assert len(queue.put_data(make(range(7)), chunksize=3)) == 7
    assert values(queue.get_data(10)) == list(range(7))


@pytest.mark.parametrize("data", [{"a": 1}, "abc", b"abc", 5, None])
def test_what_is_no_list_of_items_is_refused_unless_it_is_one(app: App, data: Any) -> None:
    queue = app.Data("numbers")
    with pytest.raises(WrongType, match="say is_one=True"):
        queue.put_data(data)
    assert queue.currently_available() == (0, 0)
    if data != b"abc":
        queue.put_data(data, is_one=True)
        assert values(queue.get_data()) == [data]


def test_a_list_that_is_one_item_stays_one(app: App) -> None:
    queue = app.Data("numbers")
    queue.put_data([1, 2], is_one=True)
    assert values(queue.get_data(9)) == [[1, 2]]


def test_nothing_put_is_nothing_sent(app: App, redis_client: redis.Redis) -> None:
    assert app.Data("numbers").put_data([]) == []
    assert redis_client.keys() == []


@pytest.mark.parametrize("chunksize", [1, 4, 512])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_any_number_of_items_around_whole_chunks_is_put(app: App, chunksize: int, more: int) -> None:
    queue = app.Data("numbers")
    count = 2 * chunksize + more
    assert len(set(queue.put_data(range(count), chunksize=chunksize))) == count
    got: list[int] = []
    while batch := queue.get_data(1000):
        got += batch.values()
    assert got == list(range(count))


def test_a_chunk_is_one_call_and_large_ones_are_split(app: App) -> None:
    calls = [step for step in _steps(app.Data("numbers").putting(range(7000), chunksize=10_000)) if step.memo]
    assert [len(step.args) for step in calls] == [2 + 6000, 2 + 6000, 2 + 2000]  # name, tail, ids and items


def _steps(flow: Any) -> Iterator[Any]:
    with contextlib.suppress(StopIteration):
        step = next(flow)
        while True:
            yield step
            step = flow.send(0)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (float("nan"), UnserializableValue),
        ({1, 2}, UnserializableValue),
        ({1: 2}, UnserializableValue),
        ("x" * 99, MessageTooLarge),
    ],
    ids=["NaN", "set", "int key", "too large"],
)
def test_an_item_that_cannot_be_put_refuses_its_chunk_and_says_which(
    app: App, bad: Any, error: type[Exception]
) -> None:
    app.settings.namespace["MAX_MESSAGE_BYTES"] = 50
    queue = app.Data("numbers")
    with pytest.raises(error, match=r"^item 5 of data: .*items 0 to 3 are put, and none from 4 on"):
        queue.put_data([0, 1, 2, 3, 4, bad, 6], chunksize=4)
    assert values(queue.get_data(10)) == [0, 1, 2, 3]
    with pytest.raises(error, match=r"^item 1 of data: .*nothing was put"):
        queue.put_data([0, bad], chunksize=4)
    assert queue.currently_available() == (0, 0)


def test_a_generator_is_read_no_further_than_is_put(app: App) -> None:
    queue, read = app.Data("numbers"), []
    with pytest.raises(UnserializableValue, match="none from 4 on"):
        queue.put_data((read.append(one) or one for one in [0, 1, 2, 3, {4}, 5, 6, 7, 8]), chunksize=2)
    assert read == [0, 1, 2, 3, {4}, 5]
    queue.app.broker.client.set(queue.app.Data("spoilt").keys.messages, "mine")
    read.clear()
    with pytest.raises(RedisUnsuitable):
        app.Data("spoilt").put_data((read.append(one) or one for one in range(9)), chunksize=2)
    assert read == [0, 1]


def test_an_interruption_between_chunks_leaves_the_chunks_before_it_and_a_usable_connection(app: App) -> None:
    class Interrupted(list):
        def __iter__(self) -> Iterator[Any]:
            yield from [0, 1, 2, 3]
            raise KeyboardInterrupt

    queue = app.Data("numbers")
    with pytest.raises(KeyboardInterrupt):
        queue.put_data(Interrupted(), chunksize=2)
    wait_until(lambda: queue.currently_available() == (4, 0), 5, "what was sent before")
    assert values(queue.get_data(9)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "call",
    [
        lambda queue: queue.put_data([1], chunksize=0),
        lambda queue: queue.get_data(0),
        lambda queue: queue.get_data(1001),
        lambda queue: queue.get_data(1, get_timeout=-1),
        lambda queue: queue.get_data(1, vis_timeout=float("nan")),
        lambda queue: queue.refresh_data([], vis_timeout=0),
        lambda queue: queue.app.Data("x", attempts=0),
        lambda queue: queue.app.Data("x", vis_timeout=-1),
        lambda queue: queue.app.Data(""),
    ],
)
def test_numbers_out_of_range_are_refused(app: App, call: Callable[[Data], Any]) -> None:
    with pytest.raises(RefusedInput, match="expected"):
        call(app.Data("numbers"))


@pytest.mark.parametrize(
    "call",
    [
        lambda queue: queue.put_data([1], chunksize=1.5),
        lambda queue: queue.get_data("1"),
        lambda queue: queue.get_data(True),
        lambda queue: queue.get_data(1, vis_timeout="soon"),
        lambda queue: queue.get_data(1, get_timeout=True),
        lambda queue: queue.done_data(None),
        lambda queue: queue.done_data([1]),
    ],
)
def test_values_of_a_wrong_type_are_refused(app: App, call: Callable[[Data], Any]) -> None:
    with pytest.raises(WrongType, match="expected"):
        call(app.Data("numbers"))


@pytest.mark.parametrize("name", ["{", "}", "a{b}c", "a:b", "*", "\0", "ünï", "x" * 200])
def test_hostile_names_are_queues_of_their_own(app: App, name: str) -> None:
    app.Data("other").put_data([0])
    app.Data(name).put_data([1])
    assert values(app.Data(name).get_data(9)) == [1]


def test_a_name_that_is_no_text_is_refused(app: App) -> None:
    with pytest.raises(RefusedName):
        app.Data(b"\xff")


# ---- delays


@pytest.mark.parametrize("delay", [True, 5, 0.5])
def test_a_delay_needs_a_queue_with_leases(app: App, delay: float) -> None:
    with pytest.raises(ValueError, match="vis_timeout > 0"):
        app.Data("numbers").put_data([1], delay=delay)


def test_true_is_no_delay(app: App) -> None:
    with pytest.raises(WrongType, match="expected seconds"):
        app.Data("numbers", vis_timeout=1).put_data([1], delay=True)


def test_delayed_items_are_invisible_until_they_are_due(app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE)
    queue.put_data([1, 2], delay=MINUTE)
    queue.put_data([3])
    assert queue.currently_available() == (1, 2)
    assert values(queue.get_data(9)) == [3]
    fall_due(queue)
    assert queue.currently_available() == (2, 1)
    assert sorted(values(queue.get_data(9))) == [1, 2]


# ---- leases


@pytest.mark.any_server
def test_leased_items_are_invisible_and_done_ones_are_gone(app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE)
    ids = queue.put_data([1, 2, 3])
    got = queue.get_data(2)
    assert queue.currently_available() == (1, 2)
    assert queue.done_data(got) == ids[:2]
    assert queue.currently_available() == (1, 0)
    assert queue.done_data(got) == []


def test_items_of_an_ended_lease_are_delivered_again(app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE, attempts=2)
    queue.put_data([1])
    first = queue.get_data()
    expire(queue)
    assert queue.get_data() == first


def test_a_lease_ends_when_it_was_said_to(app: App) -> None:
    queue = app.Data("numbers", attempts=2)
    queue.put_data([1])
    got = queue.get_data(vis_timeout=0.2)
    seconds, micros = app.get_connection().time()
    assert 0 < got.ends_at - (seconds + micros / 1e6) <= 0.2
    assert queue.get_data() == {}
    assert queue.get_data(get_timeout=10) == got


def test_who_asks_decides_how_long_a_lease_is(app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE)
    queue.put_data([1, 2, 3])
    assert queue.get_data(vis_timeout=0).ends_at == 0
    assert queue.currently_available() == (2, 0)
    assert MINUTE - 5 < queue.get_data(vis_timeout=2 * MINUTE).ends_at - queue.get_data().ends_at <= MINUTE


def test_refreshing_pushes_the_end_of_a_lease_out_from_now(app: App, redis_client: redis.Redis) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE)
    ids = queue.put_data([1, 2])
    got = queue.get_data(2, vis_timeout=1)
    assert queue.refresh_data(got, vis_timeout=5 * MINUTE) == ids
    [first, second] = (redis_client.zscore(queue.keys.leased, id) for id in ids)
    assert first == second
    assert got.ends_at + 298 < first / 1000 < got.ends_at + 301
    assert queue.refresh_data(ids[0]) == [ids[0]], "by the queue's own vis_timeout"
    assert redis_client.zscore(queue.keys.leased, ids[0]) < first


def test_refreshing_needs_a_time(app: App) -> None:
    queue = app.Data("numbers")
    with pytest.raises(RefusedInput, match="the queue's own; say refresh_data"):
        queue.refresh_data(["some id"])


@pytest.mark.parametrize(
    "spell", [list, tuple, set, iter, lambda got: dict(got), lambda got: [id.encode() for id in got]]
)
def test_bare_ids_speak_for_whoever_holds_the_items(app: App, spell: Callable[[Items], Any]) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE, attempts=2)
    queue.put_data([1, 2])
    old = queue.get_data(2)
    expire(queue)
    queue.get_data(2)
    assert set(queue.refresh_data(spell(old))) == set(old)
    assert set(queue.done_data(spell(old))) == set(old)


def test_one_id_is_taken_for_itself(app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE)
    [id] = queue.put_data([1])
    queue.get_data()
    assert queue.done_data(id) == [id]


@pytest.mark.any_server
def test_what_get_data_returned_never_touches_a_later_lease(app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE, attempts=3)
    queue.put_data([1, 2])
    old = queue.get_data(2)
    expire(queue)
    new = queue.get_data(1)
    [mine] = new
    [other] = old.keys() - new.keys()
    assert queue.refresh_data(old) == []
    assert queue.done_data(old) == []
    assert queue.currently_available() == (1, 1)
    assert queue.done_data(new) == [mine]
    assert list(queue.get_data()) == [other]


def test_a_lease_that_ended_and_was_not_taken_may_still_be_done(app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE, attempts=2)
    ids = queue.put_data([1])
    got = queue.get_data()
    expire(queue)
    assert queue.done_data(got) == ids
    assert queue.get_data() == {}


def test_items_equal_a_plain_dict_and_remember_their_leases_through_copies(app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE, attempts=2)
    [id] = queue.put_data([1])
    got = queue.get_data()
    assert got == {id: 1}
    assert isinstance(got, dict)
    for twin in (pickle.loads(pickle.dumps(got)), got.copy()):
        assert (twin, twin.tokens, twin.ends_at) == (got, got.tokens, got.ends_at)
    late = pickle.loads(pickle.dumps(got))
    expire(queue)
    queue.get_data()
    assert queue.done_data(late) == []


def test_items_that_were_removed_from_the_dict_are_left_alone(app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE)
    first, second = queue.put_data([1, 2])
    got = queue.get_data(2)
    del got[first]
    assert queue.done_data(got) == [second]


def test_thousands_of_items_are_done_at_once(app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE)
    ids = queue.put_data(range(2500))
    for _ in range(3):
        queue.get_data(1000)
    assert queue.refresh_data(ids) == ids
    assert queue.done_data(iter(ids)) == ids
    assert queue.currently_available() == (0, 0)


@pytest.mark.parametrize(("use_dead", "dead"), [(False, 0), (True, 1)])
def test_an_item_is_delivered_as_often_as_attempts_says_and_then_dropped_or_dead(
    app: App, use_dead: bool, dead: int
) -> None:
    queue = app.Data("numbers", attempts=3, vis_timeout=MINUTE, use_dead=use_dead)
    queue.put_data([1])
    for _ in range(3):
        assert values(queue.get_data()) == [1]
        expire(queue)
    assert queue.currently_available() == (0, 0)
    assert queue.get_data() == {}
    assert app.Data("numbers", is_dead=True).currently_available() == (dead, 0)


@pytest.mark.parametrize(("of_queue", "of_put", "dead"), [(True, False, 0), (False, True, 1), (True, None, 1)])
def test_use_dead_of_a_put_goes_before_that_of_the_queue(app: App, of_queue: bool, of_put: Any, dead: int) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE, use_dead=of_queue)
    queue.put_data([1], use_dead=of_put)
    queue.get_data()
    expire(queue)
    assert queue.get_data() == {}
    assert app.Data(app.settings.deadletter_queue).currently_available() == (dead, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(JSON, min_size=1, max_size=5), st.integers(1, 4))
def test_values_survive_any_number_of_redeliveries_byte_for_byte(app: App, items: list[Any], times: int) -> None:
    queue = app.Data("numbers", attempts=times, vis_timeout=MINUTE, use_dead=True)
    ids = queue.put_data(items)
    client = app.get_connection()
    bodies = client.hmget(queue.keys.messages, ids)
    for _ in range(times):
        got = queue.get_data(10)
        assert [repr(got[id]) for id in ids] == [repr(item) for item in items]
        assert client.hmget(queue.keys.messages, ids) == bodies
        expire(queue)
    queue.currently_available()
    dead = app.Data("numbers", is_dead=True).get_data(10)
    assert [repr(dead[id][2]) for id in ids] == [repr(item) for item in items]


# ---- looking


def test_looking_takes_nothing_and_turns_nothing(app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE)
    queue.put_data([1, 2, 3])
    queue.get_data(1)
    for _ in range(3):
        assert values(queue.get_data(5, vis_timeout=-1)) == [2, 3]
    assert queue.currently_available() == (2, 1)
    assert values(queue.get_data(5)) == [2, 3]


def test_what_was_looked_at_holds_no_lease(app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE)
    queue.put_data([1])
    seen = queue.get_data(vis_timeout=-1)
    queue.get_data()
    assert queue.done_data(seen) == []
    assert queue.refresh_data(seen) == []
    assert queue.currently_available() == (0, 1)


# ---- bytes that nobody can read


@pytest.mark.any_server
@pytest.mark.parametrize("vis_timeout", [0, MINUTE])
@pytest.mark.parametrize("message", [GARBAGE, b"1 1|{nope", b"1 1|NaN", b"0 1|5", b"\xff\x00|", b""])
def test_garbage_goes_to_the_dead_letters_and_the_rest_comes_back(
    app: App, redis_client: redis.Redis, vis_timeout: float, message: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    queue = app.Data("numbers", vis_timeout=vis_timeout)
    queue.put_data([1])
    put_unheard(queue, message, "garbage")
    queue.put_data([2])
    assert values(queue.get_data(3)) == [1, 2]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert redis_client.hget(queue.keys.messages, "garbage") == message
    [row] = app.Data("numbers", is_dead=True).get_data().values()
    assert (row[0], row[2], row[3]["reason"], row[3]["message"]) == ("garbage", None, "undecodable", message)


@pytest.mark.parametrize("vis_timeout", [0, MINUTE])
def test_what_only_a_newer_version_reads_is_put_off_and_uses_no_attempt(
    app: App, redis_client: redis.Redis, vis_timeout: float, caplog: pytest.LogCaptureFixture
) -> None:
    queue = app.Data("numbers", vis_timeout=vis_timeout)
    queue.put_data([1])
    message = b"2 1700000000000 0 3 1 word|5"
    put_unheard(queue, message, "newer")
    put_unheard(queue, GARBAGE, "garbage")
    queue.put_data([2])
    assert values(queue.get_data(4)) == [1, 2]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert redis_client.hget(queue.keys.messages, "newer") == message
    assert redis_client.hget(queue.keys.counts, "newer").split()[1:3] == [b"0", b"0"]
    [(_, due)] = redis_client.zrange(queue.keys.scheduled, 0, -1, withscores=True)
    seconds, _ = redis_client.time()
    assert 3 < due / 1000 - seconds < 7
    assert list(app.Data("numbers", is_dead=True).get_data(5)) == ["garbage"]


def test_looking_sees_past_what_only_a_newer_version_reads(app: App) -> None:
    queue = app.Data("numbers")
    put_unheard(queue, b"2 1700000000000|5", "newer")
    queue.put_data([1])
    assert values(queue.get_data(1, vis_timeout=-1)) == [1]
    assert queue.currently_available() == (2, 0)


@pytest.mark.parametrize("vis_timeout", [0, MINUTE])
@pytest.mark.parametrize("message_id", [b"\xff\xfe", b"", b"x" * 513, b"\xed\xa0\x80"])
def test_an_item_under_an_id_that_none_can_have_is_dead_lettered_as_it_is(
    app: App, redis_client: redis.Redis, vis_timeout: float, message_id: bytes
) -> None:
    queue = app.Data("numbers", vis_timeout=vis_timeout)
    put_unheard(queue, b"1 1700000000000|5", message_id)
    queue.put_data([1])
    assert values(queue.get_data(4)) == [1]
    assert redis_client.zrange(queue.keys.dead, 0, -1) == [message_id]
    assert redis_client.hget(queue.keys.messages, message_id) == b"1 1700000000000|5"
    [(found, row)] = app.Data("numbers", is_dead=True).get_data(5).items()
    assert found.encode("utf-8", "surrogateescape") == message_id
    assert row[2:3] == [5]
    assert redis_client.exists(queue.keys.messages) == bool(vis_timeout)


@pytest.mark.parametrize("vis_timeout", [-1, 0, MINUTE])
def test_one_item_is_found_behind_garbage(app: App, vis_timeout: float) -> None:
    queue = app.Data("numbers")
    for number in range(3):
        put_unheard(queue, GARBAGE, f"garbage {number}")
    queue.put_data([1, 2])
    assert values(queue.get_data(1, vis_timeout=vis_timeout)) == [1]


def test_looking_leaves_garbage_where_it_is(app: App, redis_client: redis.Redis) -> None:
    queue = app.Data("numbers")
    put_unheard(queue, GARBAGE, "garbage")
    assert queue.get_data(vis_timeout=-1) == {}
    assert redis_client.lrange(queue.keys.ready, 0, -1) == [b"garbage"]


# ---- waiting


@pytest.mark.any_server
@pytest.mark.parametrize("vis_timeout", [-1, 0, MINUTE])
def test_a_waiting_consumer_is_woken_by_a_put(
    rare_looks: float, app: App, redis_client: redis.Redis, wait_until: Callable[..., Any], vis_timeout: float
) -> None:
    queue = app.Data("numbers")
    with in_thread(lambda: (values(queue.get_data(5, vis_timeout, get_timeout=30)), time.monotonic())) as got:
        wait_until(lambda: waiters(redis_client) == 1)
        queue.put_data([1])
        put_at = time.monotonic()
    [(items, got_at)] = got
    assert items == [1]
    assert got_at - put_at < rare_looks


def test_waiting_ends_in_time_when_nothing_comes(rare_looks: float, app: App) -> None:
    begun_at = time.monotonic()
    assert app.Data("numbers").get_data(get_timeout=0.3) == {}
    assert 0.3 <= time.monotonic() - begun_at < rare_looks


def test_what_is_there_is_not_waited_for(rare_looks: float, app: App) -> None:
    queue = app.Data("numbers")
    queue.put_data([1])
    begun_at = time.monotonic()
    assert values(queue.get_data(100, get_timeout=30)) == [1]
    assert time.monotonic() - begun_at < rare_looks


@pytest.mark.any_server
def test_a_waiting_consumer_gets_a_delayed_item_when_it_is_due(rare_looks: float, app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE)
    queue.put_data([1], delay=0.4)
    put_at = time.monotonic()
    assert values(queue.get_data(get_timeout=30)) == [1]
    assert 0.35 < time.monotonic() - put_at < rare_looks


def test_a_waiting_consumer_hears_of_a_delay_that_begins_later(
    app: App, redis_client: redis.Redis, wait_until: Callable[..., Any]
) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE)
    queue.put_data([2], delay=MINUTE)
    with in_thread(lambda: (values(queue.get_data(get_timeout=30)), time.monotonic())) as got:
        wait_until(lambda: waiters(redis_client) == 1)
        queue.put_data([1], delay=0.3)
        put_at = time.monotonic()
    assert got[0][0] == [1]
    assert 0.25 < got[0][1] - put_at < 0.8


@pytest.mark.parametrize("is_refresh", [False, True], ids=["as taken", "brought forward"])
def test_a_waiting_consumer_gets_an_item_when_its_lease_ends(
    app: App, redis_client: redis.Redis, wait_until: Callable[..., Any], is_refresh: bool
) -> None:
    queue = app.Data("numbers", attempts=2)
    if is_refresh:
        queue.put_data([1])
        held = queue.get_data(vis_timeout=MINUTE)
    with in_thread(lambda: (values(queue.get_data(get_timeout=30)), time.monotonic())) as got:
        wait_until(lambda: waiters(redis_client) == 1)
        if is_refresh:
            queue.refresh_data(held, vis_timeout=0.3)
        else:
            put_unheard(queue, "1 1 0 2 0|1")
            assert values(queue.get_data(vis_timeout=0.3, get_timeout=5)) == [1]
        taken_at = time.monotonic()
    assert got[0][0] == [1]
    assert 0.2 < got[0][1] - taken_at < 0.9


def test_who_stops_waiting_passes_on_what_it_knew(
    rare_looks: float, app: App, redis_client: redis.Redis, wait_until: Callable[..., Any]
) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE)
    with in_thread(lambda: queue.get_data(get_timeout=0.6)) as hasty:
        wait_until(lambda: waiters(redis_client) == 1)
        with in_thread(lambda: (values(queue.get_data(get_timeout=30)), time.monotonic())) as patient:
            wait_until(lambda: waiters(redis_client) == 2)
            queue.put_data([1], delay=0.8)  # told to who has waited longest
            put_at = time.monotonic()
    assert hasty == [{}]
    assert patient[0][0] == [1]
    assert patient[0][1] - put_at < rare_looks


@pytest.mark.any_server
def test_no_wake_up_is_lost_among_many_waiting_consumers(
    rare_looks: float, app: App, redis_client: redis.Redis, wait_until: Callable[..., Any]
) -> None:
    queue = app.Data("numbers")
    with contextlib.ExitStack() as stack:
        got = [stack.enter_context(in_thread(lambda: values(queue.get_data(get_timeout=30)))) for _ in range(8)]
        wait_until(lambda: waiters(redis_client) == 8)
        begun_at = time.monotonic()
        queue.put_data([0])
        queue.put_data([1, 2, 3], chunksize=1)
        queue.put_data([4, 5, 6, 7])
    assert sorted(got) == [[[number]] for number in range(8)]
    assert time.monotonic() - begun_at < rare_looks, "by tokens, not by looking now and then"


def test_a_token_that_was_lost_costs_two_seconds_and_no_item(
    app: App, redis_client: redis.Redis, wait_until: Callable[..., Any]
) -> None:
    queue = app.Data("numbers")
    with in_thread(lambda: values(queue.get_data(get_timeout=30))) as got:
        wait_until(lambda: waiters(redis_client) == 1)
        # As if a process had taken the token and died.
        put_unheard(queue, "1 1|1")
    assert got == [[1]]


@pytest.mark.one_server("calls are counted at one node")
def test_waiting_sends_next_to_nothing(app: App, redis_client: redis.Redis) -> None:
    queue = app.Data("numbers")

    def calls() -> int:
        stats = redis_client.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "blpop"))

    queue.get_data()
    before = calls()
    queue.get_data(get_timeout=1)
    assert calls() - before == 3, "a look, a wait, a last look"


# ---- many consumers


def test_threads_share_the_items_without_any_twice(app: App) -> None:
    queue = app.Data("numbers")
    got: list[int] = []

    def consume() -> None:
        while items := queue.get_data(7, get_timeout=0.3):
            got.extend(items.values())

    threads = [threading.Thread(target=consume) for _ in range(6)]
    for thread in threads:
        thread.start()
    for first in range(0, 600, 50):
        queue.put_data(range(first, first + 50))
    for thread in threads:
        thread.join(30)
    assert sorted(got) == list(range(600))


CONSUMER = """
import sys
from rpqueue import App
queue = App(url=sys.argv[1], prefix="test").Data("numbers", attempts=100)
while True:
    items = queue.get_data(5, vis_timeout=0.6, get_timeout=60)
    for id in items:
        print("got", id, items.tokens[id], items[id], flush=True)
    for id in queue.done_data(items):
        print("done", id, items.tokens[id], items[id], flush=True)
"""


def test_killed_consumers_lose_nothing_and_nobody_shares_a_lease(
    app: App, server: Server, wait_until: Callable[..., Any], tmp_path: Any
) -> None:
    queue = app.Data("numbers", attempts=100)
    queue.put_data(range(300))
    said = [tmp_path / str(number) for number in range(6)]
    running: list[subprocess.Popen[bytes]] = []

    def start(out: Any) -> None:
        with out.open("wb") as stream:
            running.append(subprocess.Popen([sys.executable, "-c", CONSUMER, server.url], stdout=stream))

    def lines(word: str) -> list[list[str]]:
        words = [line.split() for out in said if out.exists() for line in out.read_text().splitlines()]
        return [line for line in words if len(line) == 4 and line[0] == word]

    try:
        for out in said[:3]:
            start(out)
        for out in said[3:]:
            before = len(lines("got"))
            wait_until(lambda before=before: len(lines("got")) > before + 5 or queue.currently_available() == (0, 0))
            running[-3].kill()
            start(out)
            queue.put_data(range(1000 * len(running), 1000 * len(running) + 100))
        wait_until(lambda: queue.currently_available() == (0, 0), timeout=30)
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait(10)
    got, done = lines("got"), lines("done")
    leases = [(id, token) for _, id, token, _ in got]
    assert len(leases) == len(set(leases)), "a lease in two hands"
    assert len({id for _, id, _, _ in got}) == 600, "an item that nobody got"
    finished = [id for _, id, _, _ in done]
    assert len(finished) == len(set(finished)), "an item that was done twice"


# ---- counting and deleting


@pytest.mark.any_server
def test_everything_of_a_queue_is_deleted_but_its_dead_letters(app: App, redis_client: redis.Redis) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE, use_dead=True)
    queue.put_data(range(1500))
    queue.get_data(1)
    expire(queue)
    queue.get_data(400)
    queue.put_data([1, 2], delay=MINUTE)
    app.Data("other").put_data([1])
    assert queue.currently_available() == (1099, 402)
    assert queue.delete_all() == 1501
    assert queue.currently_available() == (0, 0)
    assert redis_client.hlen(queue.keys.messages) == 1
    assert app.Data("numbers", is_dead=True).currently_available() == (1, 0)
    assert app.Data("other").currently_available() == (1, 0)
    assert queue.delete_all() == 0


def test_a_lease_of_a_deleted_item_is_over(app: App) -> None:
    queue = app.Data("numbers", vis_timeout=MINUTE)
    queue.put_data([1])
    got = queue.get_data()
    queue.delete_all()
    assert queue.done_data(got) == []


# ---- dead letters


def bury(app: App, name: str, items: list[Any]) -> list[str]:
    """Items that died, one after the other."""
    queue = app.Data(name, vis_timeout=MINUTE, use_dead=True)
    ids = []
    for item in items:
        ids += queue.put_data([item], is_one=False)
        queue.get_data()
        expire(queue)
        queue.currently_available()
        time.sleep(0.002)  # deaths of one millisecond have no order
    return ids


@pytest.mark.any_server
def test_the_dead_letters_of_all_queues_come_oldest_first(app: App) -> None:
    first = bury(app, "a", [1])
    second = bury(app, "b", [2, 3])
    third = bury(app, "a", [4])
    view = app.Data(app.settings.deadletter_queue)
    ids = [*first, *second, *third]
    assert list(view.get_data(10, vis_timeout=-1)) == ids
    assert view.currently_available() == (4, 0)
    assert list(view.get_data(3)) == ids[:3]
    assert [row[2] for row in view.get_data(10).values()] == [4]
    assert view.get_data() == {}


def test_a_dead_letter_has_the_documented_shape(app: App) -> None:
    [id] = bury(app, "a", [{"x": 1}])
    [[name, nothing, item, extra, put_at]] = app.Data(b"DEADLETTER_QUEUE").get_data().values()
    assert (name, nothing, item) == (id, "", {"x": 1})
    died_at = extra.pop("died_at")
    assert extra == {"queue": "a", "reason": "expired", "failures": 1, "crashes": 0}
    assert time.time() - 60 < put_at <= died_at < time.time() + 60


def test_one_queues_dead_letters_are_a_view_of_their_own(app: App) -> None:
    bury(app, "a", [1])
    bury(app, "b", [2])
    view = app.Data("b", is_dead=True)
    assert [row[2] for row in view.get_data(10).values()] == [2]
    assert app.Data("a", is_dead=True).currently_available() == (1, 0)


def test_dead_letters_are_not_leased(app: App, redis_client: redis.Redis) -> None:
    queue = app.Data("a", vis_timeout=MINUTE, use_dead=True)
    bury(app, "a", [1])
    queue.put_data([2])
    live = queue.get_data()
    view = app.Data("a", is_dead=True, vis_timeout=MINUTE)
    got = view.get_data(vis_timeout=MINUTE)
    assert len(got) == 1
    assert view.get_data() == {}
    assert view.done_data(live) == view.refresh_data(live) == []
    assert redis_client.zcard(queue.keys.leased) == 1


def test_takers_of_dead_letters_never_get_the_same(app: App) -> None:
    view = app.Data(app.settings.deadletter_queue)
    view.put_data(range(300))
    app.Data("other", is_dead=True).put_data(range(300, 400))
    got: list[int] = []

    def take() -> None:
        while rows := view.get_data(9):
            got.extend(row[2] for row in rows.values())

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == list(range(400))


@pytest.mark.any_server
def test_what_is_put_into_dead_letters_is_there(app: App) -> None:
    view = app.Data(app.settings.deadletter_queue)
    ids = view.put_data([1, 2, 3])
    rows = view.get_data(2, vis_timeout=-1)
    assert list(rows) == ids[:2]
    assert [row[2] for row in rows.values()] == [1, 2]
    assert rows[ids[0]][3]["reason"] == "put"
    assert rows[ids[0]][3]["queue"] == app.settings.deadletter_queue
    app.Data("a", is_dead=True).put_data([4])
    assert view.currently_available() == (4, 0)
    assert app.Data("a").get_data() == {}
    with pytest.raises(RefusedInput):
        view.put_data([1], delay=5)


def test_deleting_from_a_view_deletes_dead_letters_only(app: App) -> None:
    bury(app, "a", [1, 2])
    bury(app, "b", [3])
    app.Data("a").put_data([4])
    assert app.Data(app.settings.deadletter_queue).delete_all() == 3
    assert app.Data(app.settings.deadletter_queue).currently_available() == (0, 0)
    assert app.Data("a").currently_available() == (1, 0)


def test_waiting_for_a_dead_letter_ends_when_there_is_one(
    app: App, redis_client: redis.Redis, wait_until: Callable[..., Any]
) -> None:
    view = app.Data(app.settings.deadletter_queue)
    with in_thread(lambda: view.get_data(get_timeout=30)) as got:
        wait_until(lambda: listeners(redis_client))
        [id] = view.put_data([1])
    assert list(got[0]) == [id]


# ---- tasks


def add(a: int, b: int = 0) -> int:
    return a + b


def test_a_task_queue_is_looked_at_and_taken_from(app: App) -> None:
    task = app.Task("mail", "add", add)
    first, second = task.execute(1, b=2), task.execute(3)
    view = app.Data("mail", is_tasks=True)
    rows = view.get_data(5, vis_timeout=-1)
    assert list(rows) == [first.taskid, second.taskid]
    assert rows[first.taskid][:4] == [first.taskid, "add", [1], {"b": 2}]
    assert abs(rows[first.taskid][4] - time.time()) < 60
    assert view.currently_available() == (2, 0)
    assert view.get_data() == {first.taskid: rows[first.taskid]}
    assert (first.status, second.status) == ("done", "waiting")


@pytest.mark.one_server("there is no index")
@pytest.mark.any_server
def test_tasks_can_be_leased_and_done(app: App, redis_client: redis.Redis) -> None:
    task = app.Task("mail", "add", add, attempts=2, vis_timeout=MINUTE)
    enqueued = task.execute(1)
    view = app.Data("mail", is_tasks=True)
    got = view.get_data(vis_timeout=MINUTE)
    assert enqueued.status == "started"
    due = redis_client.zscore(app.keys.app.due_queues, "mail")
    assert due == redis_client.zscore(view.keys.leased, enqueued.taskid)
    view.refresh_data(got, vis_timeout=5)
    assert redis_client.zscore(app.keys.app.due_queues, "mail") < due, "the index knows that the lease ends sooner"
    expire(view)
    again = view.get_data(vis_timeout=MINUTE)
    assert view.done_data(got) == []
    assert view.done_data(again) == [enqueued.taskid]
    assert enqueued.status == "done"


def test_tasks_are_not_put_through_data(app: App) -> None:
    for queue in ("mail", app.settings.deadletter_queue):
        with pytest.raises(RefusedInput, match="execute"):
            app.Data(queue, is_tasks=True).put_data([1])


def test_a_task_queue_is_deleted_whole(app: App, redis_client: redis.Redis) -> None:
    task = app.Task("mail", "add", add)
    task.execute(1)
    task.execute(2, delay=MINUTE)
    assert app.Data("mail", is_tasks=True).delete_all() == 2
    assert redis_client.zscore(app.keys.app.ready_queues, "mail") is None


def test_dead_tasks_of_all_queues_have_the_shape_of_tasks(app: App) -> None:
    ids = []
    for queue in ("mail", "print"):
        task = app.Task(queue, "add", add, vis_timeout=MINUTE, use_dead=True)
        ids.append(task.execute(1, b=2, taskid=f"one in {queue}").taskid)
        app.Data(queue, is_tasks=True).get_data(vis_timeout=MINUTE)
        expire(app.Data(queue, is_tasks=True))
        app.Data(queue, is_tasks=True).currently_available()
        time.sleep(0.002)
    view = app.Data(app.settings.deadletter_queue, is_tasks=True)
    assert view.currently_available() == (2, 0)
    rows = view.get_data(5)
    assert list(rows) == ids
    assert rows[ids[0]][:4] == [ids[0], "add", [1], {"b": 2}]
    assert isinstance(rows[ids[0]][4], float)
    assert view.get_data(5) == {}


def test_dead_tasks_with_one_id_in_two_queues_are_both_handed_out(app: App) -> None:
    for queue in ("mail", "print"):
        app.Task(queue, "add", add, vis_timeout=MINUTE, use_dead=True).execute(1, taskid="same")
        app.Data(queue, is_tasks=True).get_data(vis_timeout=MINUTE)
        expire(app.Data(queue, is_tasks=True))
        app.Data(queue, is_tasks=True).currently_available()
    rows = app.Data(app.settings.deadletter_queue, is_tasks=True).get_data(5)
    assert [row[0] for row in rows.values()] == ["same", "same"]
