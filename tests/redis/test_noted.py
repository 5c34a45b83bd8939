"""noted.lua: the note beside a message, and not that of another message which had the id before."""

from __future__ import annotations

from tests.redis.calls import note, noted
from tests.redis.harness import Queue

MINUTE = 60_000


def test_where_there_is_no_note_there_is_an_empty_one(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    assert noted(queue, queue.keys.progress("a"), "a") == ""


def test_a_note_is_not_that_of_a_later_message_with_the_same_id(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    place = queue.keys.checkpoint("a")
    note(queue, place, "a", 1, "of the first")
    queue.client.hset(queue.keys.messages, "a", "1 1900000000000|[]")
    assert noted(queue, place, "a") == ""


def test_the_last_word_of_a_message_that_is_gone_stays(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    note(queue, queue.keys.progress("a"), "a", 1, "0.9")
    queue.client.hdel(queue.keys.messages, "a")
    assert noted(queue, queue.keys.progress("a"), "a") == "0.9"
