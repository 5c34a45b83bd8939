"""cycle.lua: the index of queues, the baton, and what a round says is left to do."""

from __future__ import annotations

import pytest

from tests.redis.calls import cycle
from tests.redis.harness import Queue

MINUTE = 60_000
INF = float("inf")


@pytest.mark.parametrize(
    ("before", "wanted", "index"),
    [
        ({"ready": ["a"]}, 0, {"ready": INF, "due": None}),
        ({"ready": ["a", "b"]}, 1, {"ready": INF, "due": "after"}),
        ({"ready": ["a"]}, 1, {"ready": None, "due": "after"}),
        ({"scheduled": {"a": -5}}, 0, {"ready": INF, "due": None}),
        ({"scheduled": {"a": -5, "b": MINUTE}}, 0, {"ready": INF, "due": MINUTE}),
        ({"scheduled": {"a": MINUTE}}, 1, {"ready": None, "due": MINUTE}),
        ({"scheduled": {"a": MINUTE}, "leased": {"b": (30_000, 1)}}, 1, {"ready": None, "due": 30_000}),
        ({"leased": {"a": (-1, 1)}}, 1, {"ready": None, "due": None}),
    ],
    ids=["ready", "one of two claimed", "claimed", "due", "one due", "not due", "leased", "lost"],
)
def test_the_index_is_exact_after_a_round(queue: Queue, before: dict, wanted: int, index: dict) -> None:
    queue.given(**before)
    cycle(queue, wanted=wanted)
    due = queue.after(15_000) if index["due"] == "after" else index["due"]
    said = queue.index()
    assert (said["ready"], said["due"]) == (index["ready"], due)
    assert queue.index_is_exact()


def test_a_wrong_index_is_put_right_by_the_next_round(queue: Queue) -> None:
    queue.client.zadd(queue.app.ready_queues, {"mail": 5})
    queue.client.zadd(queue.app.due_queues, {"mail": queue.clock.start - 1})
    reply = cycle(queue)
    assert reply[3:6] == (0, [], [])
    assert queue.index() == {"priority": None, "ready": None, "due": None}


def test_the_reply_names_ready_queues_by_priority_and_queues_that_need_a_hand(queue: Queue) -> None:
    for name, priority in (("third", 3), ("first", -1), ("second", 2)):
        queue.client.zadd(queue.app.queues, {name: priority})
        Queue(queue.client, name, like=queue).given(ready=[name])
    Queue(queue.client, "overdue", like=queue).given(scheduled={"x": -5})
    Queue(queue.client, "expired", like=queue).given(leased={"y": (-7, 1)})
    Queue(queue.client, "later", like=queue).given(scheduled={"z": MINUTE})
    reply = cycle(queue)
    assert reply.ready == ["first", "-1", "second", "2", "third", "3"]
    assert reply.hands == ["expired", "overdue"]
    assert queue.since_start(reply.due) == -7


def test_the_reply_names_at_most_sixteen_of_each(queue: Queue) -> None:
    for n in range(20):
        Queue(queue.client, f"q{n:02}", like=queue).given(ready=[f"r{n}"], scheduled={f"s{n}": n - 100})
    reply = cycle(queue)
    assert reply.hands == [f"q{n:02}" for n in range(16)]
    assert len(reply.ready[::2]) == 16


def test_every_one_of_many_equal_queues_is_told_within_some_rounds(queue: Queue) -> None:
    names = {f"q{n:02}" for n in range(40)}
    for name in names:
        Queue(queue.client, name, like=queue).given(ready=[name])
    told = set()
    for _ in range(40):
        told.update(cycle(queue, wanted=0).ready[::2])
    assert told == names


def test_claims_go_by_the_priorities_of_the_moment_whatever_the_caller_thinks(queue: Queue) -> None:
    others = [Queue(queue.client, f"p{n}", like=queue) for n in range(3)]
    for n, other in enumerate(others):
        other.given(ready=[f"m{n}"])
    for other, priority in zip(others, (5, None, 1), strict=True):
        if priority is not None:
            queue.client.zadd(queue.app.queues, {other.name: priority})
    reply = cycle(*others, wanted=3)
    assert [claimed[1] for claimed in reply.claimed] == ["m2", "m0", "m1"]


def test_without_an_index_only_these_queues_count(queue: Queue) -> None:
    other = Queue(queue.client, "other", like=queue)
    other.given(ready=["x"], scheduled={"y": -1})
    queue.given(scheduled={"a": MINUTE})
    index = queue.index()
    reply = cycle(queue, indexed=False)
    assert (queue.since_start(reply.due), reply.ready, reply.hands) == (MINUTE, [], [])
    assert queue.index() == index
    assert queue.wakes() == (False, False)


@pytest.mark.any_server
def test_a_worker_that_leaves_work_behind_wakes_the_next(queue: Queue) -> None:
    queue.given(ready=["a", "b"])
    cycle(queue, wanted=1)
    assert queue.wakes() == (True, True)
    assert 59_000 < queue.client.pttl(queue.app.wake) <= MINUTE
    cycle(queue, wanted=0)
    assert queue.client.llen(queue.app.wake) == queue.client.llen(queue.keys.wake) == 1


def test_a_worker_that_takes_all_wakes_nobody(queue: Queue) -> None:
    queue.given(ready=["a"])
    cycle(queue)
    assert queue.wakes() == (False, False)


def test_a_worker_that_leaves_other_queues_behind_wakes_the_next(queue: Queue) -> None:
    Queue(queue.client, "other", like=queue).given(ready=["x"])
    cycle(queue)
    assert queue.client.lrange(queue.app.wake, 0, -1) == [b"other"]
    assert not queue.client.exists(queue.keys.wake)


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(("due", "passed"), [(1500, True), (MINUTE, False)])
def test_a_worker_that_goes_to_work_passes_on_the_watch_over_what_is_due_soon(
    queue: Queue, indexed: bool, due: int, passed: bool
) -> None:
    queue.given(ready=["a"], scheduled={"s": due})
    cycle(queue, indexed=indexed)
    assert queue.wakes() == ((False, passed) if indexed else (passed, False))


def test_a_worker_that_stays_idle_keeps_the_watch(queue: Queue) -> None:
    queue.given(scheduled={"s": 1500})
    cycle(queue)
    assert queue.wakes() == (False, False)
