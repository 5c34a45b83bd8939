"""ack.lua: held messages are done and gone; a stale token changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.redis.calls import ack, release
from tests.redis.harness import SESSION, Queue


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("before", "leases", "reply", "after"),
    [
        ({"leased": {"a": (9000, 1)}}, [("a", 1)], ["a"], {}),
        ({"leased": {"a": (9000, 1), "b": (9000, 1)}}, [("b", 1)], ["b"], {"leased": {"a": (9000, 1)}}),
        ({"leased": {"a": (9000, 1), "b": (9000, 4)}}, [("b", 4), ("a", 1)], ["b", "a"], {}),
        ({"leased": {"a": (9000, 2)}}, [("a", 1)], [], {"leased": {"a": (9000, 2)}, "counts": {"a": "2 0 0 0"}}),
        ({"leased": {"a": (9000, 1)}}, [("a", 2)], [], {"leased": {"a": (9000, 1)}}),
        ({"leased": {"a": (9000, 7)}}, [("a", "")], ["a"], {}),
        ({"ready": ["a"]}, [("a", 1)], [], {"ready": ["a"]}),
        ({"ready": ["a"]}, [("a", "")], [], {"ready": ["a"]}),
        ({"scheduled": {"a": 9000}}, [("a", 1)], [], {"scheduled": {"a": 9000}}),
        ({"dead": {"a": 0}}, [("a", "")], [], {"dead": {"a": 0}, "errors": {"a": "dead|"}}),
        ({"leased": {"a": (9000, 1)}}, [("x", 1), ("a", 1), ("y", "")], ["a"], {}),
        ({"leased": {"a": (-9000, 1)}}, [("a", 1)], ["a"], {}),
        ({}, [("a", 1)], [], {}),
    ],
    ids=[
        "held",
        "one of two",
        "in the order of the call",
        "an older token",
        "a token that was never given",
        "no token: whoever holds it",
        "ready",
        "ready, no token",
        "scheduled",
        "dead",
        "among strangers",
        "expired, not reaped yet",
        "nothing is there",
    ],
)
def test_what_is_held_is_done_and_nothing_else(
    queue: Queue, before: dict, leases: list, reply: list, after: dict
) -> None:
    queue.given(**before)
    assert ack(queue, *leases) == reply
    assert queue.state() == after
    stats = queue.stats()
    assert (stats.get("done", 0), stats.get("stale", 0)) == (len(reply), len(leases) - len(reply))


def test_counts_and_errors_go_with_the_message(queue: Queue) -> None:
    queue.given(leased={"a": (9000, 3), "b": (9000, 1)}, counts={"a": "3 1 1 0"}, attempts=9)
    queue.client.hset(queue.keys.errors, "a", "failed 1|{}")
    assert ack(queue, ("a", 3)) == ["a"]
    assert queue.state() == {"leased": {"b": (9000, 1)}}


@pytest.mark.any_server
def test_tokens_of_all_kinds_in_one_call(queue: Queue) -> None:
    queue.given(leased={"a": (9000, 1), "b": (9000, 2), "c": (9000, 7), "d": (9000, 1), "e": (9000, 3)}, ready=["r"])
    said = [("b", 2), ("a", 1), ("c", 9), ("r", 1), ("d", 2), ("e", ""), ("x", 1)]
    assert [ack(queue, *said, number=5) for _ in range(2)] == [["b", "a", "e"]] * 2
    assert queue.state() == {"ready": ["r"], "leased": {"c": (9000, 7), "d": (9000, 1)}, "counts": {"c": "7 0 0 0"}}
    assert queue.stats() == {"done": 3, "stale": 4}


ELSEWHERE: dict[str, Any] = {
    "ready": ["x"],
    "scheduled": {"x": 5},
    "parked": {"x": "task"},
    "dead": {"x": 5},
    "lost": {"x": 5},
    "failed": {"x": 5},
}


@pytest.mark.any_server
@pytest.mark.parametrize("place", ELSEWHERE)
@pytest.mark.parametrize("token", [1, 2])
def test_a_token_that_nobody_was_given_does_nothing_wherever_the_message_stands(
    queue: Queue, place: str, token: int
) -> None:
    queue.given(**{place: ELSEWHERE[place]}, counts={"x": f"{token} 0 0 0"} if token > 1 else {})
    queue.given(leased={"a": (9000, 1), "b": (9000, 1), "c": (9000, 2)})
    there = queue.state()
    assert ack(queue, ("x", token)) == []
    assert queue.state() == there
    assert ack(queue, ("a", 1), ("gone", 1), ("x", token), ("c", 2)) == ["a", "c"]
    del there["leased"]["a"], there["leased"]["c"], there["counts"]["c"]
    assert queue.state() == {place: held for place, held in there.items() if held}
    assert queue.stats() == {"done": 2, "stale": 3}


def test_of_a_lease_whose_message_is_gone_nothing_is_left(queue: Queue) -> None:
    queue.given(leased={"a": (9000, 1), "b": (9000, 1)})
    queue.client.hdel(queue.keys.messages, "a")
    ack(queue, ("a", 1), ("b", 1), ("c", 1))
    assert queue.state() == {}


@pytest.mark.any_server
def test_an_ack_that_is_sent_twice_is_answered_twice_and_counted_once(queue: Queue) -> None:
    queue.given(leased={"a": (9000, 1)})
    assert [ack(queue, ("a", 1), ("b", 1), number=5) for _ in range(2)] == [["a"], ["a"]]
    assert queue.stats() == {"done": 1, "stale": 1}


def test_an_ack_sent_again_spares_the_message_that_took_its_id_since(queue: Queue) -> None:
    queue.given(leased={"a": (9000, 1)})
    assert ack(queue, ("a", 1), number=5) == ["a"]
    queue.given(leased={"a": (9000, 1)})
    assert ack(queue, ("a", 1), number=5) == ["a"]
    assert queue.state() == {"leased": {"a": (9000, 1)}}


def test_sessions_do_not_recall_each_others_answers(queue: Queue) -> None:
    queue.given(leased={"a": (9000, 1)})
    assert ack(queue, ("a", 1), number=5) == ["a"]
    assert queue.keys.memo(b"other") != queue.keys.memo(SESSION)
    assert ack(queue, ("a", 1), number=5, session=b"other") == [], "not held any more"


def test_a_holder_whose_lease_was_given_back_is_told_so(queue: Queue) -> None:
    queue.given(leased={"a": (9000, 1)}, lease=60)
    release(queue, ("a", 1, "unstarted"))
    assert ack(queue, ("a", 1)) == []
    assert queue.state() == {"ready": ["a"], "counts": {"a": "2 0 0 0"}}


def test_a_thousand_leases_end_in_one_call(queue: Queue) -> None:
    ids = [f"id{n:04}" for n in range(1000)]
    queue.given(leased=dict.fromkeys(ids, (9000, 1)))
    assert ack(queue, *((id, 1) for id in ids)) == ids
    assert queue.state() == {}
