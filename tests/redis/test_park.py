"""park.lua: leased messages whose task nobody here knows are set aside, without a delivery counted."""

from __future__ import annotations

import pytest

from tests.redis.calls import ack, cycle, park, unpark
from tests.redis.harness import Queue

MINUTE = 60_000


@pytest.mark.any_server
def test_held_messages_are_set_aside_under_the_name_of_their_task(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1), "b": (MINUTE, 4)}, counts={"b": "4 1 1 1"}, lease=60, attempts=9)
    assert park(queue, ("b", 4, "tasks.send"), ("a", 1, "größer")) == ["b", "a"]
    assert queue.state() == {
        "parked": {"a": "größer", "b": "tasks.send"},
        "counts": {"a": "2 0 0 0", "b": "5 1 1 1"},
    }


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("before", "token"),
    [
        ({"leased": {"a": (MINUTE, 2)}}, 1),
        ({"leased": {"a": (MINUTE, 2)}}, 3),
        ({"ready": ["a"]}, 1),
        ({"scheduled": {"a": MINUTE}}, 1),
        ({"parked": {"a": "t"}}, 1),
        ({}, 1),
    ],
)
def test_a_stale_token_changes_nothing(queue: Queue, before: dict, token: int) -> None:
    queue.given(**before)
    there = queue.snapshot()
    assert park(queue, ("a", token, "t")) == []
    assert queue.snapshot() == there


def test_one_that_is_held_is_parked_among_strangers(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1), "b": (MINUTE, 2)})
    assert park(queue, ("x", 1, "t"), ("b", 1, "t"), ("a", 1, "t")) == ["a"]
    assert queue.state() == {
        "parked": {"a": "t"},
        "leased": {"b": (MINUTE, 2)},
        "counts": {"a": "2 0 0 0", "b": "2 0 0 0"},
    }


def test_sent_twice_it_parks_once_and_says_so_again(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    assert [park(queue, ("a", 1, "t"), number=number) for number in (7, 7, 8)] == [["a"], ["a"], []]
    assert queue.state()["counts"] == {"a": "2 0 0 0"}


def test_sent_again_after_the_message_was_unparked_and_claimed_it_spares_the_new_lease(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    park(queue, ("a", 1, "t"))
    unpark(queue, "a")
    assert cycle(queue).claimed[0][2] == 2
    assert park(queue, ("a", 1, "t")) == []
    assert ack(queue, ("a", 2)) == ["a"]


def test_a_parked_message_is_neither_claimed_nor_reaped(queue: Queue) -> None:
    queue.given(leased={"a": (-1, 1)})
    park(queue, ("a", 1, "t"))
    reply = cycle(queue)
    assert (reply.claimed, reply.due) == ([], 0)
    assert queue.index_is_exact()
    assert queue.state() == {"parked": {"a": "t"}, "counts": {"a": "2 0 0 0"}}
