"""progress.lua: over, running, waiting for the first delivery or for a further one."""

from __future__ import annotations

import pytest

from tests.redis.harness import Queue

MINUTE = 60_000


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("before", "answer"),
    [
        ({}, 0),
        ({"leased": {"a": (MINUTE, 1)}}, 1),
        ({"leased": {"a": (MINUTE, 7)}}, 7),
        ({"ready": ["a"]}, -1),
        ({"ready": ["a"], "counts": {"a": "1700000000000 0 0 0"}}, -1),
        ({"ready": ["a"], "counts": {"a": "2 1 0 0"}}, -2),
        ({"ready": ["a"], "counts": {"a": "2 0 1 0"}}, -2),
        ({"scheduled": {"a": 5}, "counts": {"a": "2 0 0 1"}}, -2),
        ({"parked": {"a": "t"}, "counts": {"a": "2 0 0 0"}}, -1),
        ({"dead": {"a": 0}, "counts": {"a": "2 1 0 0"}}, 0),
        ({"lost": {"a": 0}}, 0),
        ({"failed": {"a": 0}}, 0),
    ],
)
def test_how_far_a_message_has_come(queue: Queue, before: dict, answer: int) -> None:
    queue.given(**before)
    there = queue.snapshot()
    assert queue.call("progress", [], ["a", "x", "a"]) == [answer, 0, answer]
    assert queue.snapshot() == there
