"""reschedule.lua: a scheduled message becomes due at another instant."""

from __future__ import annotations

import pytest

from tests.redis.calls import cancel, cycle, enqueue, fail, note, noted, reschedule
from tests.redis.harness import Queue

HOUR = 3_600_000


def available_at(queue: Queue, id: str) -> int:
    """What its header says, since the queue's start."""
    return queue.since_start(int(queue.message(id).split("|")[0].split(" ")[1]))


@pytest.mark.any_server
@pytest.mark.parametrize("due", [HOUR // 2, 2 * HOUR])
@pytest.mark.parametrize("from_now", [False, True])
def test_it_is_due_earlier_or_later_and_its_header_says_so(queue: Queue, due: int, from_now: bool) -> None:
    enqueue(queue, {"a": "[0.10, 1e2]", "b": "2"}, delay=HOUR, lease=60, attempts=3)
    body = queue.message("a").partition(" ")[2].partition(" ")[2]
    assert reschedule(queue, "a", due, from_now=from_now) == "scheduled"
    expected = queue.after(due) if from_now else due
    assert queue.state()["scheduled"]["a"] == expected
    assert available_at(queue, "a") == expected
    assert queue.message("a") == f"1 {queue.clock.start + available_at(queue, 'a')} {body}", "all else as it was"


@pytest.mark.any_server
@pytest.mark.parametrize(("due", "from_now"), [(0, True), (-HOUR, True), (-HOUR, False)])
def test_what_is_due_by_now_is_ready_behind_the_others(queue: Queue, due: int, from_now: bool) -> None:
    queue.given(ready=["z"])
    enqueue(queue, {"a": "1"}, delay=HOUR)
    queue.sleep()
    assert reschedule(queue, "a", due, from_now=from_now) == "ready"
    assert queue.state() == {"ready": ["z", "a"]}
    assert available_at(queue, "a") == queue.after(), "not before it was asked for"
    assert queue.wakes() == (True, True)
    assert queue.index_is_exact()


def test_workers_are_woken_when_it_is_due_earlier(queue: Queue) -> None:
    enqueue(queue, {"a": "1"}, delay=HOUR)
    queue.sleep()
    reschedule(queue, "a", 2 * HOUR)
    assert queue.wakes() == (False, False)
    assert queue.index()["due"] == queue.after(2 * HOUR)
    reschedule(queue, "a", HOUR)
    assert queue.wakes() == (True, True)
    assert queue.index()["due"] == queue.after(HOUR)


@pytest.mark.any_server
def test_one_that_ran_before_keeps_its_header_and_with_it_its_notes(queue: Queue) -> None:
    enqueue(queue, {"a": "1"}, lease=60, attempts=9)
    cycle(queue)
    note(queue, queue.keys.checkpoint("a"), "a", 1, '"half"')
    cancel(queue, "a", running=True)
    fail(queue, "a", 1, delay=HOUR)
    before = queue.message("a")
    assert reschedule(queue, "a", 2 * HOUR) == "scheduled"
    assert queue.message("a") == before
    assert reschedule(queue, "a", 0) == "ready"
    assert queue.message("a") == before
    assert noted(queue, queue.keys.checkpoint("a"), "a") == '"half"'


@pytest.mark.any_server
@pytest.mark.parametrize(
    "before",
    [{}, {"ready": ["a"]}, {"leased": {"a": (HOUR, 1)}}, {"parked": {"a": "t"}}, {"dead": {"a": 0}}],
    ids=["unknown", "ready", "leased", "parked", "dead"],
)
def test_what_is_not_scheduled_stays_as_it_is(queue: Queue, before: dict) -> None:
    queue.given(**before)
    there = queue.snapshot()
    assert reschedule(queue, "a", 0) == "elsewhere"
    assert queue.snapshot() == there


def test_sent_twice_it_counts_from_the_first_time(queue: Queue) -> None:
    enqueue(queue, {"a": "1"}, delay=HOUR)
    assert reschedule(queue, "a", HOUR // 2, number=5) == "scheduled"
    there = queue.snapshot()
    assert reschedule(queue, "a", HOUR // 2, number=5) == "scheduled"
    assert queue.snapshot() == there
    assert [reschedule(queue, "a", 0, number=6) for _ in range(2)] == ["ready", "ready"]
    assert queue.state() == {"ready": ["a"]}


def test_bytes_that_are_no_message_are_moved_as_they_are(queue: Queue) -> None:
    queue.given(scheduled={"a": HOUR, "b": HOUR})
    queue.client.hset(queue.keys.messages, "a", b"\xff|\x00\n")
    queue.client.hset(queue.keys.messages, "b", b"1 %d 0 1 8|~k~s~\x00\n|\xff" % (queue.clock.start + HOUR))
    assert [reschedule(queue, id, 2 * HOUR, from_now=False) for id in "ab"] == ["scheduled"] * 2
    assert queue.client.hget(queue.keys.messages, "a") == b"\xff|\x00\n"
    at = queue.clock.start + 2 * HOUR
    assert queue.client.hget(queue.keys.messages, "b") == b"1 %d 0 1 8|~k~s~\x00\n|\xff" % at


def test_an_item_that_is_delayed_can_be_moved_too(items: Queue) -> None:
    enqueue(items, {"a": "1"}, delay=HOUR)
    assert reschedule(items, "a", 0) == "ready"
    assert items.state() == {"ready": ["a"]}
