"""release.lua: leases are given back before they end: unstarted, interrupted or crashed."""

from __future__ import annotations

import pytest

from rpqueue.messages import Flags
from tests.redis.calls import ack, cycle, enqueue, lease, release
from tests.redis.harness import Queue

MINUTE = 60_000


@pytest.mark.any_server
def test_what_was_not_started_goes_to_the_head_in_its_order(queue: Queue) -> None:
    queue.given(ready=["a", "b", "c", "d"])
    claimed = cycle(queue, wanted=3).claimed
    reply = release(queue, *((id, token, "unstarted") for _, id, token, _ in claimed))
    assert reply == [["a", "ready"], ["b", "ready"], ["c", "ready"]]
    assert queue.state() == {
        "ready": ["a", "b", "c", "d"],
        "counts": {"a": "2 0 0 0", "b": "2 0 0 0", "c": "2 0 0 0"},
    }


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("message", "counts", "reason", "call", "where", "after"),
    [
        ({"lease": 0}, "1 0 0 0", "unstarted", {}, "ready", "2 0 0 0"),
        ({"lease": 60}, "7 0 0 2", "unstarted", {"delay": 5000}, "ready", "8 0 0 2"),
        ({"lease": 60}, "1 0 0 0", "interrupted", {}, "ready", "2 0 0 1"),
        ({"lease": 60, "attempts": 2}, "9 1 0 5", "interrupted", {}, "ready", "10 1 0 6"),
        ({"lease": 60}, "1 0 0 0", "interrupted", {"delay": 5000}, "scheduled", "2 0 0 1"),
        ({"lease": 0}, "1 0 0 0", "interrupted", {}, "lost", "2 0 0 1"),
        ({"lease": 60, "attempts": 2}, "1 0 0 0", "crashed", {"delay": 5000}, "ready", "2 0 1 0"),
        ({"lease": 60, "attempts": 2}, "2 1 0 0", "crashed", {}, "failed", "3 1 1 0"),
        ({"lease": 60, "flags": Flags.USE_DEAD}, "1 0 0 0", "crashed", {}, "dead", "2 0 1 0"),
        ({"lease": 60, "attempts": 9}, "3 0 2 0", "crashed", {}, "dead", "4 0 3 0"),
        ({"lease": 60, "attempts": 9}, "3 0 2 0", "crashed", {"poison": 0}, "ready", "4 0 3 0"),
        ({"lease": 60, "attempts": 9}, "3 0 2 0", "crashed", {"poison": 4}, "ready", "4 0 3 0"),
        ({"lease": 0, "attempts": 9}, "1 0 0 0", "crashed", {}, "lost", "2 0 1 0"),
        ({"lease": 0, "flags": Flags.USE_DEAD}, "1 0 0 0", "crashed", {}, "lost", "2 0 1 0"),
    ],
    ids=[
        "unstarted at most once",
        "unstarted ignores the delay",
        "interrupted",
        "interrupted is never the last time",
        "interrupted, later",
        "interrupted at most once",
        "crashed, deliveries left",
        "crashed, none left",
        "crashed, none left, dead-lettered",
        "third crash: poison",
        "no poison",
        "not poison yet",
        "crashed at most once",
        "crashed at most once, dead-lettered",
    ],
)
def test_where_a_message_goes_depends_on_what_became_of_it(
    queue: Queue, message: dict, counts: str, reason: str, call: dict, where: str, after: str
) -> None:
    token = int(counts.split()[0])
    queue.given(leased={"a": (MINUTE, token)}, counts={"a": counts}, **message)
    assert release(queue, ("a", token, reason), **call) == [["a", where]]
    places = {"ready": ["a"], "scheduled": {"a": queue.after(5000)}}
    expected = {where: places.get(where, {"a": queue.after()}), "counts": {"a": after}}
    if where in ("dead", "lost", "failed"):
        expected["errors"] = {"a": "poison|" if after == "4 0 3 0" else f"{reason}|"}
    assert queue.state() == expected
    assert queue.stats().get("crashed", 0) == (reason == "crashed")


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("before", "token"),
    [
        ({"leased": {"a": (MINUTE, 2)}}, 1),
        ({"leased": {"a": (MINUTE, 2)}}, 3),
        ({"ready": ["a"]}, 1),
        ({"ready": ["a"]}, ""),
        ({"scheduled": {"a": MINUTE}}, 1),
        ({"lost": {"a": 0}}, ""),
        ({}, 1),
    ],
)
@pytest.mark.parametrize("reason", ["unstarted", "interrupted", "crashed"])
def test_a_stale_token_changes_nothing(queue: Queue, before: dict, token: int | str, reason: str) -> None:
    queue.given(**before)
    there = queue.snapshot()
    assert release(queue, ("a", token, reason)) == []
    assert queue.snapshot() == there


def test_held_and_stale_leases_of_one_call_keep_apart(queue: Queue) -> None:
    queue.given(ready=["z"], leased={"a": (MINUTE, 1), "b": (MINUTE, 2), "c": (MINUTE, 3)}, lease=60)
    reply = release(queue, ("a", 1, "unstarted"), ("b", 1, "unstarted"), ("x", 1, "crashed"), ("c", 3, "interrupted"))
    assert reply == [["a", "ready"], ["c", "ready"]]
    assert queue.state() == {
        "ready": ["a", "c", "z"],
        "leased": {"b": (MINUTE, 2)},
        "counts": {"a": "2 0 0 0", "b": "2 0 0 0", "c": "4 0 0 1"},
    }


def test_without_a_token_whoever_holds_it_gives_it_back(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 6)}, lease=60, attempts=2)
    assert release(queue, ("a", "", "crashed")) == [["a", "ready"]]
    assert queue.state() == {"ready": ["a"], "counts": {"a": "7 0 1 0"}}


@pytest.mark.any_server
def test_a_release_that_is_sent_twice_is_done_once(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)}, lease=60, attempts=5)
    assert [release(queue, ("a", 1, "crashed"), number=5) for _ in range(2)] == [[["a", "ready"]]] * 2
    assert queue.state() == {"ready": ["a"], "counts": {"a": "2 0 1 0"}}
    assert queue.stats() == {"crashed": 1}


@pytest.mark.parametrize("token", [1, ""])
def test_a_release_sent_again_spares_the_lease_that_followed(queue: Queue, token: int | str) -> None:
    queue.given(leased={"a": (MINUTE, 1)}, lease=60, attempts=5)
    release(queue, ("a", token, "crashed"), number=5)
    cycle(queue)
    before = queue.state()
    assert release(queue, ("a", token, "crashed"), number=5) == [["a", "ready"]]
    assert queue.state() == before


def test_a_release_sent_again_after_the_message_was_done_brings_nothing_back(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    release(queue, ("a", 1, "unstarted"), number=5)
    [[_, _, token, _]] = cycle(queue).claimed
    cycle(queue, full=[("a", token, 0, "")])
    assert release(queue, ("a", 1, "unstarted"), number=5) == [["a", "ready"]]
    assert queue.state() == {}


def test_giving_back_never_uses_up_deliveries(queue: Queue) -> None:
    enqueue(queue, {"a": "1"}, lease=60, attempts=1)
    for _ in range(10):
        [[_, _, token, _]] = cycle(queue).claimed
        release(queue, ("a", token, "unstarted"))
        [[_, _, token, _]] = cycle(queue).claimed
        release(queue, ("a", token, "interrupted"))
    assert queue.state() == {"ready": ["a"], "counts": {"a": "21 0 0 10"}}


def test_three_crashes_make_poison_of_a_message_that_has_deliveries_left(queue: Queue) -> None:
    enqueue(queue, {"a": "1"}, lease=60, attempts=100)
    where = []
    for _ in range(3):
        [[_, _, token, _]] = cycle(queue).claimed
        where += release(queue, ("a", token, "crashed"))
    assert where == [["a", "ready"], ["a", "ready"], ["a", "dead"]]
    assert queue.state() == {"dead": {"a": queue.after()}, "counts": {"a": "4 0 3 0"}, "errors": {"a": "poison|"}}
    assert cycle(queue).claimed == []


def test_the_old_holder_is_fenced_out(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    release(queue, ("a", 1, "unstarted"))
    assert cycle(queue).claimed[0][2] == 2
    assert ack(queue, ("a", 1)) == []
    assert ack(queue, ("a", 2)) == ["a"]


def test_index_and_wake_tell_of_what_came_back(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1), "b": (2 * MINUTE, 1)}, lease=60)
    release(queue, ("a", 1, "unstarted"))
    assert queue.index() == {"priority": float("inf"), "ready": float("inf"), "due": 2 * MINUTE}
    assert queue.wakes() == (True, True)
    release(queue, ("b", 1, "interrupted"), delay=5000)
    assert queue.index()["due"] == queue.after(5000)
    assert queue.client.llen(queue.app.wake) == 1


def test_items_of_a_data_queue_come_back_to_the_head_whatever_their_lease(items: Queue) -> None:
    items.given(ready=["a", "b", "c"], attempts=2)
    lease(items, 2, MINUTE)
    assert release(items, ("a", 1, "unstarted"), ("b", 1, "interrupted")) == [["a", "ready"], ["b", "ready"]]
    assert items.state() == {"ready": ["a", "b", "c"], "counts": {"a": "2 0 0 0", "b": "2 0 0 1"}}
    assert items.wakes() == (True, False)


def test_a_thousand_leases_in_one_call(queue: Queue) -> None:
    ids = [f"id{n:04}" for n in range(1000)]
    queue.given(ready=ids)
    cycle(queue, wanted=1000)
    assert len(release(queue, *((id, 1, "unstarted") for id in ids))) == 1000
    assert queue.state()["ready"] == ids


def test_what_was_not_started_goes_back_even_if_nobody_can_read_it(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    queue.client.hset(queue.keys.messages, "a", "no header")
    assert release(queue, ("a", 1, "unstarted")) == [["a", "ready"]]
    assert queue.state()["ready"] == ["a"]


def test_what_is_said_of_a_crash_is_recorded(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1), "b": (MINUTE, 1)}, lease=60, attempts=9)
    release(queue, ("a", 1, "crashed"), ("b", 1, "unstarted"), error='{"exception":"WorkerCrashed"}')
    errors = queue.state()["errors"]
    assert errors == {"a": 'crashed|{"exception":"WorkerCrashed"}'}


@pytest.mark.any_server
@pytest.mark.parametrize(("crashes", "place"), [(0, "ready"), (1, "ready"), (2, "dead")])
def test_crashes_of_what_runs_until_it_is_over_do_not_use_up_its_attempts(
    queue: Queue, crashes: int, place: str
) -> None:
    queue.given(leased={"a": (MINUTE, 1)}, counts={"a": f"1 0 {crashes} 0"}, lease=60, flags=Flags.RECOVER)
    assert release(queue, ("a", 1, "crashed")) == [["a", place]]
