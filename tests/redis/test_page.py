"""page.lua: messages of a queue in the order of its places."""

from __future__ import annotations

from typing import Any

import pytest

from tests.redis.harness import Queue

MINUTE = 60_000


def page(queue: Queue, *places: str, limit: int = 100, skip: int = 0, after: str = "") -> tuple[list[Any], str]:
    now, cursor, *rows = queue.call("page", [], [limit, skip, after, *places])
    assert queue.since_start(now) == queue.after()
    return rows, cursor


@pytest.fixture
def full(queue: Queue) -> Queue:
    return queue.given(
        ready=["r1", "r2", "r3"],
        scheduled={"s1": 10, "s2": 20, "s3": 20},
        leased={"l1": (MINUTE, 4)},
        parked={"p1": "t", "p2": "t"},
        dead={"d1": -5},
        errors={"d1": "poison|{}"},
    )


@pytest.mark.any_server
def test_a_message_is_shown_with_all_that_is_known_of_it(full: Queue) -> None:
    there = full.snapshot()
    start = full.clock.start
    assert page(full, "ready", limit=1) == ([["ready", "0", "", full.message("r1"), "", "r1"]], "0")
    assert page(full, "leased")[0] == [["leased", str(start + MINUTE), "4 0 0 0", full.message("l1"), "", "l1"]]
    assert page(full, "dead")[0] == [["dead", str(start - 5), "", full.message("d1"), f"poison {start - 5}|{{}}", "d1"]]
    assert full.snapshot() == there


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("limit", "skip", "ids"),
    [
        (9, 0, ["r1", "r2", "r3", "s1", "s2", "s3", "l1"]),
        (2, 0, ["r1", "r2"]),
        (2, 2, ["r3", "s1"]),
        (3, 3, ["s1", "s2", "s3"]),
        (9, 5, ["s3", "l1"]),
        (9, 6, ["l1"]),
        (9, 7, []),
        (9, 99, []),
    ],
)
def test_places_follow_one_another(full: Queue, limit: int, skip: int, ids: list[str]) -> None:
    rows, _ = page(full, "ready", "scheduled", "leased", limit=limit, skip=skip)
    assert [row[5] for row in rows] == ids


def test_a_page_goes_on_behind_the_last_message_seen_even_if_that_has_left(full: Queue) -> None:
    last = f"{full.clock.start + 10} s1"
    assert [row[5] for row in page(full, "scheduled", after=last)[0]] == ["s2", "s3"]
    full.client.zrem(full.keys.scheduled, "s1")
    assert [row[5] for row in page(full, "scheduled", after=last)[0]] == ["s2", "s3"]


def test_parked_messages_come_by_cursor(full: Queue) -> None:
    rows, cursor = page(full, "parked")
    assert (sorted(row[5] for row in rows), cursor) == (["p1", "p2"], "0")


def test_an_empty_place_has_an_empty_page(queue: Queue) -> None:
    assert page(queue, "ready", "scheduled", "dead") == ([], "0")
    assert page(queue, "parked") == ([], "0")
