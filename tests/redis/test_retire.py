"""retire.lua: what was given up long ago, or is too much of it, goes; the oldest first."""

from __future__ import annotations

import pytest

from tests.redis.calls import retire
from tests.redis.harness import Queue

DAY = 86_400_000


@pytest.mark.any_server
@pytest.mark.parametrize("grave", ["dead", "lost", "failed"])
def test_the_old_ones_go_and_leave_nothing_behind(queue: Queue, grave: str) -> None:
    queue.given(ready=["z"], counts={"a": "4 2 1 7"}, **{grave: {"a": -3 * DAY, "b": -2 * DAY, "c": -DAY}})
    counts = [2 * (grave == one) for one in ("dead", "lost", "failed")]
    assert retire(queue, **{grave: (DAY + 5000, -1)}) == [*counts, 0]
    state = queue.state()
    assert state == {"ready": ["z"], grave: {"c": -DAY}, "errors": {"c": f"{grave}|"}}
    assert queue.stats() == {"retired": 2}


@pytest.mark.any_server
def test_the_newest_stay_as_many_as_are_kept(queue: Queue) -> None:
    queue.given(dead={id: -10 + n for n, id in enumerate("abcde")}, lost={"x": 0, "y": 0})
    assert retire(queue, dead=(0, 2), lost=(0, 2)) == [3, 0, 0, 0]
    state = queue.state()
    assert (list(state["dead"]), list(state["lost"])) == (["d", "e"], ["x", "y"])
    assert retire(queue, dead=(0, 0), lost=(DAY, -1)) == [2, 0, 0, 0]
    assert "dead" not in queue.state()


def test_one_call_deletes_no_more_than_its_limit_and_says_what_is_left(queue: Queue) -> None:
    queue.given(dead=dict.fromkeys("abc", -DAY), lost=dict.fromkeys("def", -DAY))
    assert retire(queue, dead=(1000, -1), lost=(1000, -1), limit=4) == [3, 1, 0, 2]
    assert retire(queue, dead=(1000, -1), lost=(1000, -1), limit=4) == [0, 2, 0, 0]
    assert queue.state() == {}


def test_nothing_to_do_is_nothing_done(queue: Queue) -> None:
    queue.given(dead={"a": 0}, lost={"b": 0}, failed={"c": 0})
    there = queue.snapshot()
    assert retire(queue) == retire(queue, dead=(DAY, 1), lost=(DAY, 5), failed=(0, -1)) == [0, 0, 0, 0]
    assert queue.snapshot() == there


def test_sent_twice_it_deletes_one_batch(queue: Queue) -> None:
    queue.given(dead={"a": -9, "b": -8})
    assert [retire(queue, dead=(0, 0), limit=1, number=5) for _ in range(2)] == [[1, 0, 0, 1]] * 2
    assert list(queue.state()["dead"]) == ["b"]
