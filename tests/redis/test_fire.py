"""fire.lua: a slot of a schedule is fired once, however many workers try."""

from __future__ import annotations

import pytest

from rpqueue.messages import Flags
from tests.redis.calls import ack, cycle, fire
from tests.redis.harness import Queue


def stored(queue: Queue) -> dict[bytes, bytes]:
    """The next slots; the ids of last messages, which begin with a byte of their own, left out."""
    schedules = queue.client.hgetall(queue.keys.schedules)
    return {name: slot for name, slot in schedules.items() if not name.startswith(b"\1")}


@pytest.fixture
def slot(queue: Queue) -> int:
    """A slot of the schedule "daily" that has come, as stored."""
    slot = queue.clock.start - 1
    queue.client.hset(queue.keys.schedules, "daily", slot)
    return slot


@pytest.mark.any_server
def test_a_slot_that_has_come_is_fired_and_the_next_one_set(queue: Queue, slot: int) -> None:
    fired, next_slot, now = fire(queue, "daily", slot, slot + 5000, id="a", body='["t",[],{}]', lease=2, flags=1)
    assert (fired, next_slot) == (1, str(slot + 5000))
    assert queue.since_start(now) == queue.after()
    assert queue.state() == {"ready": ["a"], "counts": {"a": f"{now} 0 0 0"}}
    assert queue.message("a") == f'1 {now} 2000 1 1|["t",[],{{}}]'
    assert stored(queue) == {b"daily": str(slot + 5000).encode()}
    assert queue.stats() == {"seen": 1}
    assert queue.wakes() == (True, True)
    assert queue.index() == {"priority": float("inf"), "ready": float("inf"), "due": None}


@pytest.mark.any_server
def test_of_many_workers_one_wins_the_slot(queue: Queue, slot: int) -> None:
    answers = [fire(queue, "daily", slot, slot + 5000, id=f"id{n}") for n in range(5)]
    assert [fired for fired, _, _ in answers] == [1, 0, 0, 0, 0]
    assert {next_slot for _, next_slot, _ in answers} == {str(slot + 5000)}
    assert queue.state()["ready"] == ["id0"]


def test_sent_again_after_the_task_ran_it_fires_nothing(queue: Queue, slot: int) -> None:
    fire(queue, "daily", slot, slot + 5000, id="a")
    ack(queue, *((id, token) for _, id, token, _ in cycle(queue).claimed))
    assert fire(queue, "daily", slot, slot + 5000, id="a")[:2] == [0, str(slot + 5000)]
    assert queue.state() == {}


@pytest.mark.parametrize(("early", "fired"), [(False, 0), (True, 1)])
def test_a_slot_that_has_not_come_waits_unless_early_is_allowed(queue: Queue, early: bool, fired: int) -> None:
    slot = queue.clock.start + 60_000
    queue.client.hset(queue.keys.schedules, "daily", slot)
    answer = fire(queue, "daily", slot, slot + 5000, id="a", early=early)
    assert answer[:2] == [fired, str(slot + 5000 * fired)]
    assert ("ready" in queue.state()) == bool(fired)


def test_a_first_look_sets_the_first_slot_and_fires_nothing(queue: Queue) -> None:
    assert fire(queue, "daily", "", 123)[:2] == [1, "123"]
    assert queue.state() == {}
    assert stored(queue) == {b"daily": b"123"}
    assert queue.wakes() == (False, False)
    assert fire(queue, "daily", "", 456)[:2] == [0, "123"], "the first to look decides"


def test_a_slot_may_be_skipped(queue: Queue, slot: int) -> None:
    assert fire(queue, "daily", slot, slot + 5000)[0] == 1
    assert queue.state() == {}
    assert stored(queue) == {b"daily": str(slot + 5000).encode()}


def test_a_slot_that_nobody_stored_is_not_fired(queue: Queue) -> None:
    there = queue.snapshot()
    assert fire(queue, "daily", 5, 6, id="a")[:2] == [0, ""]
    assert queue.snapshot() == there


def test_schedules_of_a_queue_keep_apart(queue: Queue, slot: int) -> None:
    queue.client.hset(queue.keys.schedules, "hourly", slot)
    fire(queue, "hourly", slot, slot + 1, id="a")
    assert stored(queue) == {b"daily": str(slot).encode(), b"hourly": str(slot + 1).encode()}


def test_a_firing_whose_predecessor_still_waits_moves_the_slot_and_keeps_that_one(queue: Queue, slot: int) -> None:
    queue.given(ready=["a"], bodies={"a": "[1]"})
    assert fire(queue, "daily", slot, slot + 5000, id="a", body="[2]")[:2] == [1, str(slot + 5000)]
    assert queue.state() == {"ready": ["a"]}
    assert queue.message("a").endswith("|[1]")


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("place", "piles_up"),
    [
        ({"ready": ["last"]}, False),
        ({"scheduled": {"last": 60_000}}, False),
        ({"parked": {"last": "t"}}, False),
        ({"leased": {"last": (60_000, 1)}}, True),
        ({"dead": {"last": 0}}, True),
        ({"lost": {"last": 0}}, True),
        ({"failed": {"last": 0}}, True),
        ({}, True),
    ],
    ids=["ready", "scheduled", "parked", "leased", "dead", "lost", "failed", "done"],
)
def test_a_schedule_that_must_not_pile_up_waits_for_its_last_message_to_be_claimed(
    queue: Queue, slot: int, place: dict, piles_up: bool
) -> None:
    fire(queue, "daily", slot, slot + 1, id="last", overlap="queue_one")
    ack(queue, *((id, token) for _, id, token, _ in cycle(queue).claimed))
    queue.given(**place)
    assert fire(queue, "daily", slot + 1, slot + 2, id="next", early=True, overlap="queue_one")[:2] == [
        1,
        str(slot + 2),
    ]
    assert ("next" in queue.state().get("ready", [])) == piles_up
    assert fire(queue, "daily", slot + 2, slot + 3, id="other", early=True)[0] == 1
    assert "other" in queue.state()["ready"], "one that may pile up does"


def test_the_token_of_a_firing_is_newer_than_any_of_an_earlier_one(queue: Queue, slot: int) -> None:
    fire(queue, "daily", slot, slot + 1, id="a", lease=60, attempts=9, flags=Flags.USE_DEAD)
    [[_, _, first, _]] = cycle(queue).claimed
    ack(queue, ("a", first))
    while queue.clock.now() <= first:
        pass
    fire(queue, "daily", slot + 1, slot + 2, id="a", early=True)
    assert cycle(queue).claimed[0][2] > first
    assert ack(queue, ("a", first)) == []


@pytest.mark.any_server
@pytest.mark.parametrize("where", ["ready", "leased", "scheduled"])
def test_a_schedule_that_must_not_overlap_waits_for_its_last_call_to_end(queue: Queue, slot: int, where: str) -> None:
    queue.given(**{where: {"ready": ["last"], "leased": {"last": (60_000, 1)}, "scheduled": {"last": 60_000}}[where]})
    queue.client.hset(queue.keys.schedules, "\1daily", "last")
    assert fire(queue, "daily", slot, slot + 1, id="next", overlap="skip")[:2] == [1, str(slot + 1)]
    assert not queue.client.hexists(queue.keys.messages, "next")


@pytest.mark.parametrize("where", ["dead", "lost", "failed", "gone"])
def test_a_last_call_that_was_given_up_stops_no_schedule(queue: Queue, slot: int, where: str) -> None:
    if where != "gone":
        queue.given(**{where: {"last": -5}})
    queue.client.hset(queue.keys.schedules, "\1daily", "last")
    fire(queue, "daily", slot, slot + 1, id="next", overlap="skip")
    assert queue.state()["ready"] == ["next"]


@pytest.mark.any_server
def test_a_firing_may_be_due_a_little_later(queue: Queue, slot: int) -> None:
    fire(queue, "daily", slot, slot + 5000, id="a", delay=3000)
    assert queue.state()["scheduled"] == {"a": queue.after(3000)}
    assert queue.index()["due"] is not None
