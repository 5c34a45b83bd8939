"""delete.lua: one message goes for good, wherever it is, unless somebody holds it."""

from __future__ import annotations

import pytest

from tests.redis.calls import cycle, delete
from tests.redis.harness import Queue

MINUTE = 60_000
PLACES: dict[str, dict] = {
    "ready": {"ready": ["a"]},
    "scheduled": {"scheduled": {"a": MINUTE}},
    "parked": {"parked": {"a": "tasks.send"}},
    "dead": {"dead": {"a": 0}},
    "lost": {"lost": {"a": 0}},
    "failed": {"failed": {"a": 0}},
}


def keep_notes(queue: Queue) -> None:
    for note in (queue.keys.progress("a"), queue.keys.checkpoint("a")):
        queue.client.set(note, "1 0.5", px=MINUTE)


@pytest.mark.any_server
@pytest.mark.parametrize("place", PLACES)
def test_it_leaves_nothing_behind(queue: Queue, place: str) -> None:
    queue.given(**PLACES[place], counts={"a": "4 2 1 7"})
    queue.client.hset(queue.keys.errors, "a", "failed 1|{}")
    keep_notes(queue)
    assert delete(queue, "a") == place
    assert queue.state() == {}
    assert not queue.client.exists(queue.keys.progress("a"), queue.keys.checkpoint("a"), queue.keys.outcome("a"))
    assert queue.stats() == {"purged" if place in ("dead", "lost", "failed") else "cancelled": 1}


@pytest.mark.parametrize("place", PLACES)
def test_who_waits_for_what_waited_is_told_that_it_is_cancelled(queue: Queue, place: str) -> None:
    queue.given(**PLACES[place])
    delete(queue, "a", keep_for=5000)
    told = queue.client.get(queue.keys.outcome("a"))
    assert told == (None if place in ("dead", "lost", "failed") else b"cancelled")


@pytest.mark.any_server
def test_what_somebody_holds_stays_as_it_is(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    keep_notes(queue)
    there = queue.snapshot()
    assert delete(queue, "a") == "leased"
    assert queue.snapshot() == there


def test_of_what_is_over_its_outcome_goes(queue: Queue) -> None:
    queue.given(ready=["b"])
    queue.client.set(queue.keys.outcome("a"), '{"state":"done"}', px=MINUTE)
    assert [delete(queue, "a"), delete(queue, "a")] == ["done", "gone"]
    assert queue.state() == {"ready": ["b"]}


def test_sent_twice_it_is_answered_alike_and_spares_what_took_the_id_since(queue: Queue) -> None:
    queue.given(dead={"a": 0})
    assert delete(queue, "a", number=5) == "dead"
    queue.given(ready=["a"])
    assert delete(queue, "a", number=5) == "dead"
    assert queue.state()["ready"] == ["a"]


def test_others_stay_where_they_are(queue: Queue) -> None:
    queue.given(ready=["a", "b", "c"], dead={"d": 0})
    assert delete(queue, "b") == "ready"
    assert delete(queue, "x") == "gone"
    assert queue.state() == {"ready": ["a", "c"], "dead": {"d": 0}, "errors": {"d": "dead|"}}
    assert cycle(queue).ids == ["a", "c"]
