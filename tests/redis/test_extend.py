"""extend.lua: held leases end later; a stale token changes nothing."""

from __future__ import annotations

import pytest

from tests.redis.calls import ack, cycle, extend, release
from tests.redis.harness import Queue

MINUTE = 60_000


@pytest.mark.any_server
def test_a_held_lease_ends_the_given_time_from_now(queue: Queue) -> None:
    queue.given(leased={"a": (5000, 1), "b": (5000, 3)})
    assert extend(queue, MINUTE, ("b", 3, 0), ("a", 1, 0)) == ["b", "a"]
    assert queue.state() == {
        "leased": {"a": (queue.after(MINUTE), 1), "b": (queue.after(MINUTE), 3)},
        "counts": {"b": "3 0 0 0"},
    }


def test_sending_it_twice_extends_from_the_second_time(queue: Queue) -> None:
    queue.given(leased={"a": (5000, 1)})
    for _ in range(2):
        assert extend(queue, MINUTE, ("a", 1, 0)) == ["a"]
        assert queue.state() == {"leased": {"a": (queue.after(MINUTE), 1)}}


@pytest.mark.parametrize(
    ("deadline", "expiry"),
    [(9000, 9000), (4000, 5000), (-50, 5000), (3_600_000, None)],
    ids=["before the time given", "before the lease ends", "long past", "after the time given"],
)
def test_a_deadline_is_never_passed_and_ends_no_lease_earlier(items: Queue, deadline: int, expiry: int | None) -> None:
    items.given(leased={"a": (5000, 1)})
    assert extend(items, MINUTE, ("a", 1, deadline)) == ["a"]
    assert items.state() == {"leased": {"a": (items.after(MINUTE) if expiry is None else expiry, 1)}}


def test_each_lease_has_its_own_deadline(queue: Queue) -> None:
    queue.given(leased={"a": (5000, 1), "b": (5000, 1)})
    assert extend(queue, MINUTE, ("a", 1, 7000), ("b", 1, 8000)) == ["a", "b"]
    assert queue.state() == {"leased": {"a": (7000, 1), "b": (8000, 1)}}


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("before", "token", "reply"),
    [
        ({"leased": {"a": (5000, 2)}}, 1, []),
        ({"leased": {"a": (5000, 2)}}, 3, []),
        ({"ready": ["a"]}, 1, []),
        ({"ready": ["a"]}, "", []),
        ({"scheduled": {"a": 5000}}, 1, []),
        ({"lost": {"a": 0}}, "", []),
        ({}, 1, []),
    ],
)
def test_what_is_not_held_stays_as_it_is(queue: Queue, before: dict, token: int | str, reply: list) -> None:
    queue.given(**before)
    there = queue.snapshot()
    assert extend(queue, MINUTE, ("a", token, 0)) == reply
    assert queue.snapshot() == there


def test_without_a_token_whoever_holds_it_is_extended(queue: Queue) -> None:
    queue.given(leased={"a": (5000, 8)})
    assert extend(queue, MINUTE, ("x", "", 0), ("a", "", 0)) == ["a"]
    assert queue.state()["leased"] == {"a": (queue.after(MINUTE), 8)}


def test_a_heartbeat_after_the_lease_went_to_another_worker_changes_nothing(queue: Queue) -> None:
    queue.given(leased={"a": (-1, 1)}, lease=60, attempts=5)
    [[_, _, token, _]] = cycle(queue).claimed
    before = queue.state()
    assert extend(queue, 10 * MINUTE, ("a", 1, 0)) == []
    assert queue.state() == before
    assert ack(queue, ("a", token)) == ["a"]


def test_an_extended_lease_is_not_reaped(queue: Queue) -> None:
    queue.given(leased={"a": (-1, 1)}, lease=60, attempts=5)
    extend(queue, MINUTE, ("a", 1, 0))
    assert cycle(queue).claimed == []
    assert queue.state() == {"leased": {"a": (queue.since_start(cycle(queue).due), 1)}}


def test_an_extension_outlives_no_give_back(queue: Queue) -> None:
    queue.given(leased={"a": (5000, 1)}, lease=60)
    release(queue, ("a", 1, "unstarted"))
    assert extend(queue, MINUTE, ("a", 1, 0)) == []
    assert queue.state() == {"ready": ["a"], "counts": {"a": "2 0 0 0"}}


@pytest.mark.any_server
def test_only_what_is_delivered_once_at_most_may_be_meant(queue: Queue) -> None:
    queue.given(leased={"once": (5000, 1)})
    queue.given(leased={"again": (5000, 1)}, lease=60)
    assert extend(queue, 30_000, ("once", 1, -1 - queue.clock.start), ("again", 1, -1 - queue.clock.start)) == ["once"]
    assert queue.state()["leased"] == {"once": (queue.after(30_000), 1), "again": (5000, 1)}
