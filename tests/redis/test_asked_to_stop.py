"""asked_to_stop.lua: which runs are to end, since their message is cancelled or their lease is gone."""

from __future__ import annotations

import pytest

from tests.redis.calls import asked_to_stop, cancel
from tests.redis.harness import Queue

MINUTE = 60_000


@pytest.mark.any_server
def test_a_run_goes_on_unless_it_was_cancelled_or_lost_its_lease(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1), "b": (MINUTE, 1), "c": (MINUTE, 2)}, counts={"c": "2 1 0 0"})
    assert cancel(queue, "b", running=True) == 2
    assert asked_to_stop(queue, ("a", 1), ("b", 1), ("c", 1), ("c", 2), ("gone", 1)) == [
        "held",
        "cancelled",
        "lost",
        "held",
        "lost",
    ]


def test_a_run_after_a_crash_is_cancelled_too(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    cancel(queue, "a", running=True)
    queue.client.hset(queue.keys.counts, "a", "2 0 1 0")
    assert asked_to_stop(queue, ("a", 2)) == ["cancelled"]


def test_a_later_message_with_the_same_id_is_not_cancelled(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    cancel(queue, "a", running=True)
    queue.client.hset(queue.keys.messages, "a", "1 1900000000000|[]")
    assert asked_to_stop(queue, ("a", 1)) == ["held"]


def test_who_does_not_ask_for_running_ones_stops_none(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    assert cancel(queue, "a") == 0
    assert asked_to_stop(queue, ("a", 1)) == ["held"]
