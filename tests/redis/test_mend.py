"""mend.lua: what is wrong with one message, and what becomes of it."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from rpqueue.protocol.checkups import Verdict, mend
from tests.redis.harness import Queue, run

Kind = Literal["tasks", "data"]


def mended(queue: Queue, id: str, *, mends: bool = True, misses: bool = False) -> tuple[str, str]:
    kind: Kind = "tasks" if queue.kind == "tasks" else "data"
    operation = mend(queue.keys, queue.index_keys, kind, id, mends=mends, misses=misses)
    before = queue.snapshot()
    told: Verdict = operation.read(run(queue.client, "mend", operation.keys, operation.args))
    if not mends:
        assert queue.snapshot() == before
    return told


def place(queue: Queue, name: str, id: str) -> None:
    """Into one more place."""
    if name == "ready":
        queue.client.rpush(queue.keys.ready, id)
    elif name == "parked":
        queue.client.hset(queue.keys.parked, id, "t")
    else:
        queue.client.zadd(getattr(queue.keys, name), {id: queue.clock.start})


ONE: dict[str, dict[str, Any]] = {
    "ready": {"ready": ["a"]},
    "scheduled": {"scheduled": {"a": 5000}},
    "leased": {"leased": {"a": (5000, 1)}},
    "parked": {"parked": {"a": "t"}},
    "dead": {"dead": {"a": -1}},
    "lost": {"lost": {"a": -1}},
    "failed": {"failed": {"a": -1}},
}


@pytest.mark.any_server
@pytest.mark.parametrize("misses", [False, True])
@pytest.mark.parametrize("name", ONE)
def test_what_is_well_is_left_alone(queue: Queue, name: str, misses: bool) -> None:
    queue.given(**ONE[name])
    before = queue.snapshot()
    assert mended(queue, "a", misses=misses) == ("fine", name)
    assert mended(queue, "unknown", misses=misses) == ("fine", "gone")
    assert queue.snapshot() == before


@pytest.mark.any_server
@pytest.mark.parametrize("name", ONE)
def test_what_is_left_of_an_id_without_message_is_deleted(queue: Queue, name: str) -> None:
    queue.given(ready=["z"], counts={"a": "2 1 0 0"})
    queue.given(**ONE[name], errors={"a": "x|"})
    queue.client.hset(queue.keys.errors, "a", "failed 5|")
    queue.client.hdel(queue.keys.messages, "a")
    assert mended(queue, "a", mends=False) == ("no message", "gone")
    assert mended(queue, "a") == ("no message", "gone")
    assert queue.state() == {"ready": ["z"]}
    assert mended(queue, "a") == ("fine", "gone")


ORDER = ["leased", "dead", "lost", "failed", "parked", "scheduled", "ready"]


@pytest.mark.any_server
@pytest.mark.parametrize(("stays", "goes"), [(a, b) for at, a in enumerate(ORDER) for b in ORDER[at + 1 :]])
def test_of_two_places_the_safer_one_stays(queue: Queue, stays: str, goes: str) -> None:
    queue.given(**ONE[stays])
    place(queue, goes, "a")
    assert mended(queue, "a", mends=False) == ("twice", stays)
    assert mended(queue, "a") == ("twice", stays)
    assert [name for name in ORDER if name in queue.state()] == [stays]
    assert mended(queue, "a") == ("fine", stays)


def test_of_one_that_is_ready_three_times_the_first_stays(queue: Queue) -> None:
    queue.given(ready=["a", "b"])
    queue.client.rpush(queue.keys.ready, "a", "c", "a")
    queue.client.hset(queue.keys.messages, "c", "1 5|1")
    assert mended(queue, "a") == ("twice", "ready")
    assert queue.state()["ready"] == ["a", "b", "c"]


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("kind", "options", "counts", "where"),
    [
        # It may have run, and must not run twice.
        ("tasks", {}, None, "lost"),
        ("tasks", {"attempts": 5}, None, "lost"),
        # The delivery that it may have had counts.
        ("tasks", {"lease": 5, "attempts": 3}, None, "ready"),
        ("tasks", {"lease": 5, "attempts": 3}, "4 1 0 1", "ready"),
        ("tasks", {"lease": 5, "attempts": 3}, "4 1 1 0", "dead"),
        ("tasks", {"lease": 5, "attempts": 1}, None, "dead"),
        ("data", {"attempts": 2}, None, "ready"),
        # An item without dead-lettering would be dropped by other rules.
        ("data", {}, None, "dead"),
    ],
)
@pytest.mark.parametrize("misses", [False, True])
def test_a_message_in_no_place_goes_where_it_cannot_run_too_often(
    queue: Queue, items: Queue, kind: str, options: dict[str, Any], counts: str | None, where: str, misses: bool
) -> None:
    there = queue if kind == "tasks" else items
    there.given(ready=["a"], **options, counts={"a": counts} if counts else None)
    there.client.delete(there.keys.ready)
    assert mended(there, "a", mends=False, misses=misses) == ("nowhere", where)
    assert mended(there, "a", misses=misses) == ("nowhere", where)
    state = there.state()
    assert list(state[where]) == ["a"]
    fence, failures, crashes, interruptions = map(int, (counts or "1 0 0 0").split())
    # A holder that comes back says a token that is not the present one.
    assert state["counts"] == {"a": f"{fence + 1} {failures + 1} {crashes} {interruptions}"}
    assert (where == "ready") or state["errors"] == {"a": "orphaned|"}
    assert there.stats()["mended"] == 1
    assert there.wakes()[0] == (where == "ready")
    assert mended(there, "a") == ("fine", where)
    assert there.stats()["mended"] == 1


def test_bytes_that_are_no_message_go_to_the_dead(queue: Queue) -> None:
    queue.client.hset(queue.keys.messages, "a", "what is this")
    assert mended(queue, "a") == ("nowhere", "dead")
    assert queue.message("a") == "what is this"


def test_who_asks_for_missing_places_alone_is_told_of_nothing_else(queue: Queue) -> None:
    queue.given(leased={"a": (5000, 1)})
    place(queue, "ready", "a")
    assert mended(queue, "a", misses=True) == ("fine", "leased")
    queue.client.hdel(queue.keys.messages, "a")
    assert mended(queue, "a", misses=True) == ("fine", "gone")
    assert mended(queue, "a") == ("no message", "gone")
