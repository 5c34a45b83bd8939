"""note.lua: what a run leaves beside its message, while it holds it."""

from __future__ import annotations

import pytest

from tests.redis.calls import note, noted
from tests.redis.harness import Queue

MINUTE = 60_000


@pytest.mark.any_server
def test_a_note_of_who_holds_the_message_is_kept_for_a_time(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    place = queue.keys.progress("a")
    assert note(queue, place, "a", 1, "[1]", keep_for=5000) == 1
    assert noted(queue, place, "a") == "[1]"
    assert 4000 < queue.client.pttl(place) <= 5000


def test_a_note_under_a_token_that_is_over_changes_nothing(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 2)}, counts={"a": "2 1 0 0"})
    place = queue.keys.checkpoint("a")
    assert note(queue, place, "a", 2, "mine") == 1
    assert note(queue, place, "a", 1, "late") == 0
    assert noted(queue, place, "a") == "mine"


def test_an_empty_note_takes_the_last_one_away(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    place = queue.keys.checkpoint("a")
    assert [note(queue, place, "a", 1, "x"), note(queue, place, "a", 1, "")] == [1, 1]
    assert not queue.client.exists(place)


def test_a_message_of_nobody_takes_no_note(queue: Queue) -> None:
    queue.given(ready=["a"])
    assert note(queue, queue.keys.checkpoint("a"), "a", 1, "x") == 0
    assert not queue.client.exists(queue.keys.checkpoint("a"))
