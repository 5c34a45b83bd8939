"""Whatever is written to Redis past the library: a worker goes on, and nothing that it cannot run disappears."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rpqueue import App
from rpqueue.errors import Undecodable
from rpqueue.inspection import Inspection
from rpqueue.messages import decode, decode_each, decode_task, encode, encode_task, parse_header, split
from tests.hostile.hand import Hand
from tests.worker.here import working

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
#: Bytes that begin well.
ALMOST = st.builds(
    lambda whole, at, junk: whole[:at] + junk + whole[at + 1 :],
    st.builds(lambda value: b"1 1700000000000|" + json.dumps(["t", [value], {}]).encode(), JSON),
    st.integers(0, 60),
    st.binary(max_size=3),
)


@given(st.binary() | ALMOST)
def test_no_bytes_raise_anything_but_undecodable(raw: bytes) -> None:
    for read in (decode, decode_task, parse_header, lambda raw: split(b"id", 1, raw)):
        with contextlib.suppress(Undecodable):
            read(raw)
    together = decode_each([raw, b"1"])
    if together is not None:
        assert together == [decode(raw), 1]


@given(JSON)
def test_every_value_comes_out_equal(value: Any) -> None:
    assert decode(encode(value, "value")) == value
    assert decode_task(encode_task("t", [value], {"k": value}, 0)) == ("t", [value], {"k": value})


IDS = st.sampled_from([b"a", b"b", b"c", b"\xff", b"", b"x" * 600])
MESSAGES = (
    st.binary(max_size=30)
    | ALMOST
    | st.sampled_from([b'1 1700000000000|["t",["good"],{}]', b'1 1700000000000 60000 2 1|["t",["good"],{}]', b"2 1|x"])
)
SCORES = st.sampled_from([0.0, 1.0, 1e12, 1e300, float("inf"), float("-inf"), -5.5])
COUNTS = st.binary(max_size=10) | st.sampled_from([b"1 0 0 0", b"7 1 1 1", b"9" * 30 + b" 0 0 0"])
WRITES = st.one_of(
    st.tuples(st.just("hset"), st.just("messages"), IDS, MESSAGES),
    st.tuples(st.just("rpush"), st.just("ready"), IDS),
    st.tuples(st.just("rpush"), st.just("ready"), IDS),
    st.tuples(st.just("zadd"), st.sampled_from(["scheduled", "leased", "dead", "lost", "failed"]), IDS, SCORES),
    st.tuples(st.just("hset"), st.sampled_from(["counts", "errors", "parked"]), IDS, COUNTS),
    st.tuples(st.just("hset"), st.just("stats"), st.sampled_from([b"seen", b"done"]), st.sampled_from([b"x", b"1"])),
)


@given(st.lists(WRITES, min_size=1, max_size=12))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_worker_goes_on_and_every_message_stays_somewhere(
    app: App, redis_client: redis.Redis, writes: list[tuple[Any, ...]]
) -> None:
    redis_client.flushall()
    app.settings.registry.clear()
    ran: list[Any] = []
    app.task(name="t")(ran.append)
    done = app.task(name="done", save_results=60)(lambda: "yes")
    hand = Hand(redis_client, app)
    keys = hand.keys()
    for kind, place, *words in writes:
        key = getattr(keys, place)
        if kind == "zadd":
            redis_client.zadd(key, {words[0]: words[1]})
        else:
            getattr(redis_client, kind)(key, *words)
    hand.show()
    redis_client.zadd(app.keys.app.due_queues, {"default": 0})
    before = redis_client.hgetall(keys.messages)
    with working(app, threads=2):
        assert done.execute().get(20) == "yes"
        ends_at = time.monotonic() + 10
        while redis_client.llen(keys.ready) and time.monotonic() < ends_at:
            time.sleep(0.01)
    assert redis_client.llen(keys.ready) == 0
    after = redis_client.hgetall(keys.messages)
    # What could not be run is as it was. What is gone was run, or failed and did not ask to be kept.
    assert {message_id: message for message_id, message in after.items() if message_id in before and message} == {
        message_id: before[message_id] for message_id in after if message_id in before and after[message_id]
    }
    gone = set(before) - set(after)
    assert all(before[message_id].partition(b"|")[2][:4] == b'["t"' for message_id in gone)
    for state in ("ready", "scheduled", "leased", "dead", "lost", "failed", "parked"):
        Inspection(app).page("default", state, limit=100)
