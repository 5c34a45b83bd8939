"""cancel.lua: a message that has not started never runs, and leaves nothing behind."""

from __future__ import annotations

import pytest

from tests.redis.calls import cancel, cycle, enqueue, fire
from tests.redis.harness import Queue

MINUTE = 60_000
OUTCOME = '{"state":"cancelled"}'


@pytest.mark.any_server
@pytest.mark.parametrize(
    "before",
    [{"ready": ["a"]}, {"scheduled": {"a": MINUTE}}, {"scheduled": {"a": -1}}, {"parked": {"a": "tasks.send"}}],
    ids=["ready", "scheduled", "due", "parked"],
)
def test_what_has_not_started_is_removed_whole(items: Queue, before: dict) -> None:
    items.given(**before, counts={"a": "3 1 0 0"})
    items.client.hset(items.keys.errors, "a", "failed 1|{}")
    assert cancel(items, "a") == 1
    assert items.state() == {}
    assert items.lasting() == {"stats"}
    assert items.stats() == {"cancelled": 1}


def test_a_checkpoint_of_an_earlier_run_goes_with_it(items: Queue) -> None:
    items.given(scheduled={"a": MINUTE})
    items.client.set(items.keys.checkpoint("a"), "1 2", ex=60)
    items.client.set(items.keys.checkpoint("b"), "1 2", ex=60)
    assert cancel(items, "a") == 1
    assert not items.client.exists(items.keys.checkpoint("a"))
    assert items.client.exists(items.keys.checkpoint("b"))


def test_others_stay_where_they_are(items: Queue) -> None:
    items.given(ready=["a", "b", "c"], scheduled={"d": MINUTE})
    assert cancel(items, "b") == 1
    assert items.state() == {"ready": ["a", "c"], "scheduled": {"d": MINUTE}}


@pytest.mark.any_server
@pytest.mark.parametrize(
    "before",
    [{"leased": {"a": (MINUTE, 1)}}, {"leased": {"a": (-1, 1)}}, {"dead": {"a": 0}}, {"lost": {"a": 0}}, {}],
    ids=["leased", "expired, not reaped", "dead", "lost", "unknown"],
)
def test_what_started_or_is_not_there_stays_as_it_is(queue: Queue, before: dict) -> None:
    queue.given(**before)
    there = queue.snapshot()
    assert cancel(queue, "a", keep_for=5000, outcome=OUTCOME) == 0
    assert queue.snapshot() == there


def test_that_it_was_cancelled_is_remembered_as_long_as_is_said(queue: Queue) -> None:
    queue.given(ready=["a"])
    assert cancel(queue, "a", keep_for=5000, outcome=OUTCOME) == 1
    key = queue.keys.outcome("a")
    assert queue.client.get(key) == OUTCOME.encode()
    assert 3000 < queue.client.pttl(key) <= 5000


def test_the_outcome_of_a_finished_message_is_deleted(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    cycle(queue, full=[("a", 1, 5000, '"result"')])
    assert cancel(queue, "a", keep_for=5000, outcome=OUTCOME) == -1
    assert not queue.client.exists(queue.keys.outcome("a"))
    assert cancel(queue, "a", keep_for=5000, outcome=OUTCOME) == 0


def test_the_outcome_of_an_earlier_life_stays_while_the_message_runs(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    queue.client.set(queue.keys.outcome("a"), "old", px=5000)
    assert cancel(queue, "a") == 0
    assert queue.client.get(queue.keys.outcome("a")) == b"old"


@pytest.mark.any_server
def test_a_cancel_that_is_sent_twice_is_answered_alike(queue: Queue) -> None:
    queue.given(ready=["a"])
    assert [cancel(queue, "a", keep_for=5000, outcome=OUTCOME, number=5) for _ in range(2)] == [1, 1]
    assert queue.client.exists(queue.keys.outcome("a")), "the second did not delete what the first wrote"
    assert queue.stats() == {"cancelled": 1}


def test_a_cancel_sent_again_spares_the_message_that_took_the_id_since(queue: Queue) -> None:
    queue.given(ready=["a"])
    assert cancel(queue, "a", number=5) == 1
    queue.given(ready=["a"])
    assert cancel(queue, "a", number=5) == 1
    assert queue.state() == {"ready": ["a"]}


def test_a_deleted_outcome_is_answered_alike_twice(queue: Queue) -> None:
    queue.client.set(queue.keys.outcome("a"), "1", px=5000)
    assert [cancel(queue, "a", number=5) for _ in range(2)] == [-1, -1]


def test_a_cancelled_message_is_never_claimed(queue: Queue) -> None:
    enqueue(queue, {"a": "1", "b": "1"})
    enqueue(queue, {"c": "1"}, delay=1)
    assert [cancel(queue, id) for id in ("a", "c")] == [1, 1]
    assert cycle(queue).ids == ["b"]


def test_a_firing_of_a_schedule_can_be_cancelled(queue: Queue) -> None:
    fire(queue, "daily", "", 1, id="a", early=True)
    assert cancel(queue, "a") == 1
    assert queue.state() == {}


def test_the_next_round_puts_the_index_right(queue: Queue) -> None:
    queue.given(ready=["a"], scheduled={"b": MINUTE})
    assert [cancel(queue, id) for id in ("a", "b")] == [1, 1]
    queue.state()
    cycle(queue)
    assert queue.index_is_exact()


def test_waiters_hear_of_it(queue: Queue) -> None:
    queue.given(ready=["a"])
    with queue.client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(queue.keys.events + b"a")
        listener.get_message(timeout=1)
        cancel(queue, "a")
        heard = listener.get_message(timeout=2)
    assert heard is not None
    assert heard["data"] == b"cancelled"


@pytest.mark.any_server
def test_cancelled_once_more_it_is_still_cancelled(queue: Queue) -> None:
    queue.given(ready=["a"])
    outcome = '{"state":"cancelled"}'
    assert cancel(queue, "a", keep_for=60_000, outcome=outcome) == 1
    assert cancel(queue, "a", keep_for=60_000, outcome=outcome) == 1
    assert queue.client.get(queue.keys.outcome("a")) == outcome.encode()
    assert queue.stats() == {"cancelled": 1}
