"""cycle.lua: acks within a round, and a round that is sent twice."""

from __future__ import annotations

import pytest

from rpqueue.messages import Flags
from rpqueue.protocol.cycle import Acks
from tests.redis.calls import ack, cycle
from tests.redis.harness import SESSION, Queue

MINUTE = 60_000


@pytest.mark.any_server
def test_what_is_done_is_gone_and_what_came_too_late_is_named(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1), "b": (MINUTE, 2), "c": (MINUTE, 7)}, ready=["r"])
    reply = cycle(queue, done=["a", "b", "r"], full=[("c", 7, 0, ""), ("x", 1, 0, "")], wanted=0)
    assert reply.stale == [[1, "b"], [1, "r"], [1, "x"]]
    assert queue.state() == {"ready": ["r"], "leased": {"b": (MINUTE, 2)}, "counts": {"b": "2 0 0 0"}}
    assert queue.stats() == {"done": 2, "stale": 3}


def test_an_outcome_is_kept_as_long_as_is_said(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1), "b": (MINUTE, 1), "c": (MINUTE, 3)})
    outcomes = {"a": '{"state":"done","result":[]}', "c": '{"state":"done","result":{}}'}
    full = [("a", 1, 5000, outcomes["a"]), ("b", 1, 0, ""), ("c", 3, 9000, outcomes["c"])]
    assert cycle(queue, full=full).stale == []
    for id, kept_for in (("a", 5000), ("c", 9000)):
        key = queue.keys.outcome(id)
        assert queue.client.get(key) == outcomes[id].encode()
        assert kept_for - 2000 < queue.client.pttl(key) <= kept_for
    assert not queue.client.exists(queue.keys.outcome("b"))


def test_a_stale_ack_keeps_no_outcome(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 2), "b": (MINUTE, 1)})
    full = [("a", 1, 5000, '"zombie"'), ("b", 1, 5000, '"true"')]
    assert cycle(queue, full=full).stale == [[1, "a"]]
    assert not queue.client.exists(queue.keys.outcome("a"))
    assert queue.client.get(queue.keys.outcome("b")) == b'"true"'


def test_acks_of_several_queues_find_their_queue_and_their_outcome(queue: Queue) -> None:
    other = Queue(queue.client, "other", like=queue)
    queue.given(leased={"a": (MINUTE, 1), "b": (MINUTE, 1)})
    other.given(leased={"a": (MINUTE, 1), "b": (MINUTE, 2)})
    reply = cycle(
        queue,
        other,
        acks={
            "mail": (["b"], [("a", 1, 5000, '"mail a"')]),
            "other": (["b"], [("b", 2, 5000, '"other b"'), ("a", 9, 5000, '"no"')]),
        },
    )
    assert reply.stale == [[2, "b"], [2, "a"]]
    assert queue.state() == {}
    assert other.state() == {"leased": {"a": (MINUTE, 1)}}
    assert queue.client.get(queue.keys.outcome("a")) == b'"mail a"'
    assert queue.client.get(other.keys.outcome("b")) == b'"other b"'


def test_what_is_done_makes_no_place_in_the_ready_list(queue: Queue) -> None:
    queue.given(leased={"a": (-1, 1)}, lease=60, attempts=9)
    assert cycle(queue, done=["a"]).claimed == [], "an ack that comes before the reaping counts"
    assert queue.state() == {}


@pytest.mark.any_server
def test_a_round_that_is_sent_twice_is_done_once_and_answered_alike(queue: Queue) -> None:
    queue.given(leased={"d": (MINUTE, 1), "s": (MINUTE, 2)}, ready=["a", "b", "c"])
    first = cycle(queue, done=["d", "s"], wanted=2, number=5)
    state, stats = queue.state(), queue.stats()
    again = cycle(queue, done=["d", "s"], wanted=2, number=5)
    assert (again.stale, again.claimed) == (first.stale, first.claimed) == ([[1, "s"]], again.claimed)
    assert queue.state() == state
    assert queue.stats() == stats == {"claimed": 2, "done": 1, "stale": 1}


@pytest.mark.any_server
def test_a_round_sent_again_leaves_out_what_ended_in_between(queue: Queue) -> None:
    queue.given(ready=["a", "b", "c"], lease=60, attempts=9)
    first = cycle(queue, wanted=3, number=5)
    ack(queue, ("a", 1))
    queue.client.zadd(queue.keys.leased, {"b": queue.clock.start - 1})
    # Another worker's round, with a memo of its own, reaps and claims b.
    other = queue.app.memo(b"other")
    said = ["mail", *Acks(()).words()]
    queue.run("cycle", [other, *queue.index_keys, *queue.keys.block], [1, 15_000, 9, 9, 100, 3, 100, 1, 1, *said])
    assert cycle(queue, wanted=3, number=5).claimed == [first.claimed[2]]
    assert queue.state()["counts"] == {"b": "2 1 0 0"}


@pytest.mark.any_server
def test_a_round_sent_again_tells_tokens_and_tries_of_what_is_left(queue: Queue) -> None:
    other = Queue(queue.client, "other", like=queue)
    counts = {"b": "3 2 0 0", "d": "7 0 1 4"}
    queue.given(ready=["a", "b", "c", "d"], counts=counts, lease=60, attempts=9)
    other.given(ready=["b"], counts={"b": "2 0 0 1"}, lease=60, attempts=9)
    first = cycle(queue, other, number=5)
    assert [claimed[:3] for claimed in first.claimed] == [
        [1, "a", 1],
        [1, "b", 3],
        [1, "c", 1],
        [1, "d", 7],
        [2, "b", 2],
    ]
    assert cycle(queue, other, number=5)[2:3] == (first.claimed,)
    assert ack(queue, ("a", 1), ("b", 9), ("c", 1)) == ["a", "c"]
    again = cycle(queue, other, number=5)
    assert again.claimed == [first.claimed[1], *first.claimed[3:]]
    assert again.tries == {"b": 2, "d": 1}
    assert cycle(queue, other, full=[("b", 3, 0, ""), ("d", 7, 0, "")]).stale == []
    assert cycle(queue, other, number=5).claimed == [], "of a round before the last nothing is known"


def test_a_round_sent_again_claims_nothing_new(queue: Queue) -> None:
    queue.given(ready=["a"])
    cycle(queue, number=5)
    queue.given(ready=["b"])
    assert cycle(queue, number=5).ids == ["a"]
    assert queue.state()["ready"] == ["b"]


def test_acks_sent_again_do_not_end_the_next_life_of_an_id(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    cycle(queue, full=[("a", 1, 5000, '"first"')], number=5)
    queue.given(leased={"a": (MINUTE, 1)})
    queue.client.delete(queue.keys.outcome("a"))
    assert cycle(queue, full=[("a", 1, 5000, '"first"')], number=5).stale == []
    assert queue.state() == {"leased": {"a": (MINUTE, 1)}}
    assert not queue.client.exists(queue.keys.outcome("a"))


def test_a_round_in_which_nothing_happened_may_claim_when_it_is_sent_again(queue: Queue) -> None:
    assert cycle(queue, number=5).claimed == []
    assert not queue.client.exists(queue.app.memo(SESSION))
    queue.given(ready=["a"])
    assert cycle(queue, number=5).ids == ["a"]


@pytest.mark.parametrize(("outcome", "news"), [("1", b"1"), ("x" * 4096, b"x" * 4096), ("x" * 4097, b"done")])
def test_who_watches_a_message_hears_of_its_start_and_its_end(queue: Queue, outcome: str, news: bytes) -> None:
    queue.given(ready=["a", "b"], flags=Flags.WATCHED)
    queue.given(ready=["c"])
    with queue.client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.psubscribe(queue.keys.events + b"*")
        listener.get_message(timeout=1)
        cycle(queue, starting=1)
        cycle(queue, done=["b", "c"], full=[("a", 1, 5000, outcome)])
        heard = []
        while len(heard) < 3:
            message = listener.get_message(timeout=2)
            assert message, f"nothing more after {heard}"
            heard.append((message["channel"].removeprefix(queue.keys.events), message["data"]))
    assert heard == [(b"a", b"started"), (b"a", news), (b"", b"done 3")]
