"""page.lua: messages of a queue in the order of its places."""

from __future__ import annotations

from typing import Any

import pytest

from tests.redis.harness import Queue

MINUTE = 60_000


def page(
    queue: Queue,
    *places: str,
    limit: int = 100,
    skip: int = 0,
    after: str = "",
    newest: bool = False,
    most: int = 0,
    records: int = 1,
) -> tuple[list[Any], str]:
    now, cursor, *rows = queue.call("page", [], [limit, skip, after, int(newest), most, records, *places])
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
    assert page(full, "ready", limit=3) == (
        [["ready", "0", "", full.message(id), "", id, 0] for id in ("r1", "r2", "r3")],
        "0",
    )
    assert page(full, "leased")[0] == [["leased", str(start + MINUTE), "4 0 0 0", full.message("l1"), "", "l1", 0]]
    assert page(full, "dead")[0] == [
        ["dead", str(start - 5), "", full.message("d1"), f"poison {start - 5}|{{}}", "d1", 1]
    ]
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


@pytest.mark.any_server
def test_each_place_is_shown_the_other_way_round_too(full: Queue) -> None:
    rows, _ = page(full, "ready", "scheduled", "leased", newest=True)
    assert [row[5] for row in rows] == ["r3", "r2", "r1", "s3", "s2", "s1", "l1"]
    rows, _ = page(full, "ready", "scheduled", limit=3, skip=2, newest=True)
    assert [row[5] for row in rows] == ["r1", "s3", "s2"]


@pytest.mark.any_server
@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("place", ["ready", "scheduled", "dead"])
@pytest.mark.parametrize("leaves", [False, True])
def test_pages_follow_one_another_by_their_cursor_and_leave_nothing_out(
    queue: Queue, place: str, newest: bool, leaves: bool
) -> None:
    """Also when what was seen last has left, and where many have the same instant."""
    ids = ["b", "a", "ab", "\u00fc", "c", "B", "aa"]
    queue.given(**{place: ids if place == "ready" else {id: 10 * (n > 4) for n, id in enumerate(ids)}})
    expected = [row[5] for row in page(queue, place, newest=newest)[0]]
    assert sorted(expected) == sorted(ids)
    seen: list[str] = []
    after = ""
    while after != "0":
        rows, after = page(queue, place, limit=2, after=after, newest=newest)
        assert rows
        seen += [row[5] for row in rows]
        if leaves and place != "ready":
            queue.client.zrem(getattr(queue.keys, place), *(row[5] for row in rows))
            queue.client.hdel(queue.keys.messages, *(row[5] for row in rows))
    assert seen == expected


def test_a_message_that_has_moved_on_does_not_take_the_next_page_along(queue: Queue) -> None:
    queue.given(scheduled={"a": 10, "b": 20, "c": 30, "d": 40})
    _, after = page(queue, "scheduled", limit=2)
    queue.client.zadd(queue.keys.scheduled, {"b": queue.clock.start + 99})
    assert [row[5] for row in page(queue, "scheduled", after=after)[0]] == ["c", "d", "b"]


def test_so_much_of_each_message_and_so_many_records_come_as_are_asked_for(queue: Queue) -> None:
    queue.given(dead={"a": 0, "b": 0, "c": 0}, errors={"a": "failed|1\n2\n3", "b": "lost|", "c": "failed|1"})
    for records, told in ((0, "|"), (1, "|1"), (2, "|1\n2"), (3, "|1\n2\n3"), (9, "|1\n2\n3")):
        rows, _ = page(queue, "dead", records=records, most=5)
        assert [row[3] for row in rows] == [queue.message("a")[:5]] * 3
        assert [row[4].partition("|")[2] for row in rows] == [told[1:], "", "1" if records else ""]
        assert [row[6] for row in rows] == [3, 0, 1]


def test_parked_messages_come_by_cursor(full: Queue) -> None:
    rows, cursor = page(full, "parked")
    assert (sorted(row[5] for row in rows), cursor) == (["p1", "p2"], "0")


def test_an_empty_place_has_an_empty_page(queue: Queue) -> None:
    assert page(queue, "ready", "scheduled", "dead") == ([], "0")
    assert page(queue, "parked") == ([], "0")
