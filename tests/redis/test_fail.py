"""fail.lua: a delivery failed: the next one is scheduled, or the message is buried."""

from __future__ import annotations

import pytest

from rpqueue.messages import Flags
from tests.redis.calls import ack, cycle, enqueue, fail, lease
from tests.redis.harness import Queue

MINUTE = 60_000
ERROR = '{"type":"Oops","text":"a|b\\u0000"}'


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("message", "counts", "call", "verdict", "after"),
    [
        ({"lease": 60, "attempts": 2}, "1 0 0 0", {}, "ready", "2 1 0 0"),
        ({"lease": 60, "attempts": 2}, "1 0 0 0", {"delay": 5000}, "scheduled", "2 1 0 0"),
        ({"lease": 60, "attempts": 2}, "4 0 0 3", {}, "ready", "5 1 0 3"),
        ({"lease": 60, "attempts": 2}, "2 1 0 0", {"delay": 5000}, "failed", "3 2 0 0"),
        ({"lease": 60, "attempts": 2}, "2 0 1 0", {}, "failed", "3 1 1 0"),
        ({"lease": 60, "attempts": 2, "flags": Flags.USE_DEAD}, "2 1 0 0", {}, "dead", "3 2 0 0"),
        ({"lease": 0}, "1 0 0 0", {"delay": 5000}, "failed", "2 1 0 0"),
        ({"lease": 0, "attempts": 5}, "1 0 0 0", {}, "failed", "2 1 0 0"),
        ({"lease": 0, "flags": Flags.USE_DEAD}, "1 0 0 0", {}, "dead", "2 1 0 0"),
        ({"lease": 60, "attempts": 9}, "1 0 0 0", {"reason": "undecodable"}, "dead", "2 1 0 0"),
        ({"lease": 60, "attempts": 9}, "9 0 3 0", {}, "dead", "10 1 3 0"),
        ({"lease": 60, "attempts": 9}, "9 0 3 0", {"poison": 0}, "ready", "10 1 3 0"),
    ],
    ids=[
        "deliveries left",
        "deliveries left, later",
        "interruptions are no deliveries",
        "none left",
        "a crash was one",
        "none left, dead-lettered",
        "at most once",
        "at most once whatever attempts say",
        "at most once, dead-lettered",
        "undecodable",
        "poison",
        "poison does not count here",
    ],
)
def test_a_failure_is_followed_by_a_delivery_or_a_grave(
    queue: Queue, message: dict, counts: str, call: dict, verdict: str, after: str
) -> None:
    token = int(counts.split()[0])
    queue.given(leased={"a": (MINUTE, token)}, counts={"a": counts}, **message)
    assert fail(queue, "a", token, error=ERROR, **call) == verdict
    places = {"ready": ["a"], "scheduled": {"a": queue.after(call.get("delay", 0))}}
    reason = call.get("reason") or ("poison" if counts == "9 0 3 0" and verdict == "dead" else "failed")
    assert queue.state() == {
        verdict: places.get(verdict, {"a": queue.after()}),
        "counts": {"a": after},
        "errors": {"a": f"{reason}|{ERROR}"},
    }
    buried = {verdict: 1} if verdict in ("dead", "failed") else {}
    assert queue.stats() == {"errors": 1, **buried}


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("before", "token"),
    [
        ({"leased": {"a": (MINUTE, 2)}}, 1),
        ({"leased": {"a": (MINUTE, 2)}}, 3),
        ({"ready": ["a"]}, 1),
        ({"scheduled": {"a": MINUTE}}, 1),
        ({"dead": {"a": 0}}, 1),
        ({}, 1),
    ],
)
def test_a_stale_token_changes_nothing(queue: Queue, before: dict, token: int) -> None:
    queue.given(**before)
    there = queue.state()
    assert fail(queue, "a", token) == "stale"
    assert queue.state() == there
    assert queue.stats() == {"stale": 1}
    assert queue.wakes() == (False, False)


@pytest.mark.any_server
def test_a_failure_that_is_sent_twice_counts_once(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)}, lease=60, attempts=3)
    assert [fail(queue, "a", 1, number=5) for _ in range(2)] == ["ready", "ready"]
    assert queue.state()["counts"] == {"a": "2 1 0 0"}
    assert queue.stats() == {"errors": 1}


def test_a_failure_sent_again_after_the_next_delivery_was_done_brings_nothing_back(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)}, lease=60, attempts=3)
    assert fail(queue, "a", 1, number=5) == "ready"
    assert cycle(queue).claimed[0][2] == 2
    cycle(queue, full=[("a", 2, 0, "")])
    assert fail(queue, "a", 1, number=5) == "ready"
    assert queue.state() == {}


@pytest.mark.any_server
@pytest.mark.parametrize(("flags", "end"), [(0, "failed"), (Flags.USE_DEAD, "dead")])
def test_a_task_has_exactly_as_many_deliveries_as_attempts(queue: Queue, flags: int, end: str) -> None:
    enqueue(queue, {"a": "1"}, lease=60, attempts=3, flags=flags)
    verdicts = []
    for token in (1, 2, 3):
        [[_, _, claimed, _]] = cycle(queue).claimed
        assert claimed == token
        verdicts.append(fail(queue, "a", token))
    assert verdicts == ["ready", "ready", end]
    assert cycle(queue).claimed == []
    assert queue.state()["counts"] == {"a": "4 3 0 0"}
    assert queue.stats() == {"seen": 1, "claimed": 3, "errors": 3, end: 1}


def test_failures_expiries_and_crashes_count_together(queue: Queue) -> None:
    enqueue(queue, {"a": "1"}, lease=60, attempts=3)
    cycle(queue)
    assert fail(queue, "a", 1) == "ready"
    cycle(queue)
    queue.client.zadd(queue.keys.leased, {"a": queue.clock.start - 1})
    assert cycle(queue).claimed[0][2] == 3
    assert fail(queue, "a", 3) == "failed"


def test_a_failed_item_of_a_data_queue_is_dropped_when_nothing_is_left(items: Queue) -> None:
    enqueue(items, {"a": "1"}, attempts=2)
    lease(items, 1, MINUTE)
    assert fail(items, "a", 1, keep=0) == "ready"
    lease(items, 1, MINUTE)
    assert fail(items, "a", 2, keep=0) == "failed"
    assert items.state() == {}
    assert items.lasting() == {"stats", "data_queues"}


def test_only_the_newest_failed_are_kept(queue: Queue) -> None:
    queue.given(failed={"old": -2, "new": -1})
    queue.given(leased={"a": (MINUTE, 1)})
    assert fail(queue, "a", 1, keep=2) == "failed"
    assert list(queue.state()["failed"]) == ["new", "a"]
    assert set(queue.state()["errors"]) == {"new", "a"}


def test_the_next_delivery_waits_behind_what_is_ready(queue: Queue) -> None:
    queue.given(ready=["b"], leased={"a": (MINUTE, 1)}, lease=60, attempts=2)
    fail(queue, "a", 1)
    assert queue.state()["ready"] == ["b", "a"]


@pytest.mark.parametrize(("delay", "index"), [(0, {"ready": float("inf"), "due": None}), (5000, {"ready": None})])
def test_index_and_wake_tell_of_the_next_delivery(queue: Queue, delay: int, index: dict) -> None:
    queue.given(leased={"a": (MINUTE, 1)}, lease=60, attempts=2)
    fail(queue, "a", 1, delay=delay)
    assert queue.index().items() >= ({"due": queue.after(5000)} | index).items()
    assert queue.index_is_exact()
    assert queue.wakes() == (True, True)


def test_the_holder_is_fenced_out_by_its_own_failure(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)}, lease=60, attempts=2)
    fail(queue, "a", 1)
    cycle(queue)
    assert ack(queue, ("a", 1)) == []
    assert ack(queue, ("a", 2)) == ["a"]


def test_a_failure_without_an_error_keeps_the_reason(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    fail(queue, "a", 1, error="")
    assert queue.state()["errors"] == {"a": "failed|"}


def test_the_error_of_the_last_failure_stays_when_a_lease_runs_out_for_good(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)}, lease=60, attempts=2)
    fail(queue, "a", 1, error=ERROR)
    cycle(queue)
    queue.client.zadd(queue.keys.leased, {"a": queue.clock.start - 1})
    cycle(queue)
    assert queue.state()["errors"] == {"a": f"expired|{ERROR}"}


def test_a_lease_whose_message_is_gone_is_buried_as_missing(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 3)})
    queue.client.hdel(queue.keys.messages, "a")
    assert fail(queue, "a", 3, error="") == "dead"
    assert queue.message("a") == ""
    state = queue.state()
    assert (state["dead"], state["errors"]) == ({"a": queue.after()}, {"a": "missing|"})


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("message", "again", "delay", "verdict"),
    [
        ({"lease": 0}, "retry", 5000, "scheduled"),
        ({"lease": 0}, "retry", 0, "ready"),
        ({"lease": 60, "attempts": 1}, "retry", 5000, "scheduled"),
        ({"lease": 60, "attempts": 9}, "stop", 0, "failed"),
        ({"lease": 60, "attempts": 9, "flags": Flags.USE_DEAD}, "stop", 0, "dead"),
        ({"lease": 60, "attempts": 9}, "drop", 0, "dropped"),
        ({"lease": 0}, "cancel", 0, "cancelled"),
    ],
)
def test_what_the_worker_decided_wins_over_attempts(
    queue: Queue, message: dict, again: str, delay: int, verdict: str
) -> None:
    queue.given(leased={"a": (MINUTE, 1)}, **message)
    assert fail(queue, "a", 1, again=again, delay=delay) == verdict
    state = queue.state()
    if verdict in ("dropped", "cancelled"):
        assert state == {}
        assert not queue.client.hexists(queue.keys.messages, "a")
    else:
        assert "a" in state[verdict]
        assert state["counts"] == {"a": "2 1 0 0"}


@pytest.mark.parametrize("again", ["drop", "cancel"])
def test_the_outcome_of_what_is_not_kept_is_kept_for_a_time(queue: Queue, again: str) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    fail(queue, "a", 1, again=again, keep_for=5000, outcome='{"state":"failed"}')
    assert queue.client.get(queue.keys.outcome("a")) == b'{"state":"failed"}'
    assert 4000 < queue.client.pttl(queue.keys.outcome("a")) <= 5000


@pytest.mark.any_server
def test_records_of_failures_are_kept_newest_first_up_to_a_number(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)}, lease=60, attempts=9)
    for token, text in enumerate(["[1]", "[2]", "[3]", "[4]"], 1):
        assert fail(queue, "a", token, error=text, history=3) == "ready"
        cycle(queue, wanted=1)
    assert queue.client.hget(queue.keys.errors, "a").split(b"|")[1] == b"[4]\n[3]\n[2]"


def test_large_records_leave_no_room_for_old_ones(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)}, lease=60, attempts=9)
    for token in (1, 2, 3):
        fail(queue, "a", token, error='"%s"' % (str(token) * 40_000), history=9)
        cycle(queue, wanted=1)
    assert queue.client.hget(queue.keys.errors, "a").count(b"\n") == 0
