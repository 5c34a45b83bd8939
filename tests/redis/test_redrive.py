"""redrive.lua: buried messages go back as if they were new, but for their token."""

from __future__ import annotations

import pytest

from rpqueue.messages import Flags
from tests.redis.calls import ack, cycle, enqueue, fail, lease, redrive
from tests.redis.harness import Queue

GRAVES = ("dead", "lost", "failed")


@pytest.mark.any_server
@pytest.mark.parametrize("grave", GRAVES)
def test_the_named_ones_go_back_behind_what_is_ready_with_counters_at_nought(queue: Queue, grave: str) -> None:
    queue.given(ready=["z"], counts={"a": "4 2 1 7"}, **{grave: {"a": -9, "b": -8, "c": -7}})
    assert redrive(queue, grave, "c", "a") == ["c", "a"]
    assert queue.state() == {
        "ready": ["z", "c", "a"],
        grave: {"b": -8},
        "counts": {"a": "4 0 0 0", "c": "1 0 0 0"},
        "errors": dict.fromkeys("abc", f"{grave}|"),
    }
    assert queue.stats() == {"redriven": 2}
    assert queue.wakes() == (True, True)


def test_without_names_the_oldest_go_back_at_most_the_limit(queue: Queue) -> None:
    queue.given(dead={"new": -1, "old": -9, "older": -10})
    assert redrive(queue, "dead", limit=2) == ["older", "old"]
    assert queue.state()["dead"] == {"new": -1}


@pytest.mark.any_server
@pytest.mark.parametrize(
    "before",
    [{}, {"ready": ["a"]}, {"leased": {"a": (9000, 1)}}, {"lost": {"a": 0}}],
    ids=["unknown", "ready", "leased", "in another grave"],
)
def test_what_is_not_in_that_grave_stays_as_it_is(queue: Queue, before: dict) -> None:
    queue.given(**before)
    there = queue.snapshot()
    assert redrive(queue, "dead", "a") == []
    assert redrive(queue, "dead") == []
    assert queue.snapshot() == there


def test_sent_twice_with_names_it_moves_each_once(queue: Queue) -> None:
    queue.given(dead={"a": 0})
    assert [redrive(queue, "dead", "a") for _ in range(2)] == [["a"], []]
    assert queue.state()["ready"] == ["a"]
    assert queue.stats() == {"redriven": 1}


def test_sent_again_after_the_message_was_done_it_brings_nothing_back(queue: Queue) -> None:
    queue.given(dead={"a": 0})
    redrive(queue, "dead", "a")
    ack(queue, *((id, token) for _, id, token, _ in cycle(queue).claimed))
    assert redrive(queue, "dead", "a") == []
    assert queue.state() == {}


@pytest.mark.any_server
def test_what_its_runs_failed_of_stays_known(queue: Queue) -> None:
    enqueue(queue, {"a": "1"}, lease=60, attempts=1, flags=Flags.USE_DEAD)
    for run in (1, 2):
        [[_, _, token, _]] = cycle(queue).claimed
        assert fail(queue, "a", token, error=f'{{"run":{run}}}') == "dead"
        redrive(queue, "dead")
    assert queue.state()["errors"] == {"a": 'failed|{"run":2}\n{"run":1}'}
    ack(queue, *((id, token) for _, id, token, _ in cycle(queue).claimed))
    assert queue.state() == {}


@pytest.mark.any_server
def test_at_a_rate_they_become_due_one_after_the_other(queue: Queue) -> None:
    queue.given(dead={"a": -9, "b": -8, "c": -7}, ready=["z"])
    assert redrive(queue, "dead", limit=2, delay=1000, step=250.5) == ["a", "b"]
    state = queue.state()
    assert (state["ready"], state["dead"]) == (["z"], {"c": -7})
    assert state["scheduled"] == {"a": queue.after(1000), "b": queue.after(1250)}
    assert queue.index()["due"] == queue.after(1000)
    assert queue.wakes() == (True, True)
    assert cycle(queue).ids == ["z"]


def test_out_of_any_grave_the_named_ones_go_back(queue: Queue) -> None:
    queue.given(dead={"a": -9}, lost={"b": -8}, failed={"c": -7, "d": -6})
    assert redrive(queue, "any", "c", "b", "x") == ["b", "c"]
    assert queue.state()["ready"] == ["b", "c"]
    assert redrive(queue, "any", limit=1) == ["a"]
    assert redrive(queue, "any", limit=5) == ["d"]


@pytest.mark.parametrize("step", [0, 100])
def test_a_resend_gets_the_same_answer_and_moves_no_more(queue: Queue, step: int) -> None:
    queue.given(dead={"a": -9, "b": -8})
    answers = [redrive(queue, "dead", limit=1, step=step, number=77) for _ in range(2)]
    assert answers == [["a"], ["a"]]
    assert list(queue.state()["dead"]) == ["b"]


@pytest.mark.any_server
def test_who_held_it_before_it_died_cannot_end_its_new_life(queue: Queue) -> None:
    enqueue(queue, {"a": "[0.1]"}, lease=60, attempts=1, flags=Flags.USE_DEAD)
    cycle(queue)
    assert fail(queue, "a", 1) == "dead"
    before = queue.message("a")
    redrive(queue, "dead", "a")
    assert cycle(queue).claimed == [[1, "a", 2, before]], "bytes and all"
    assert ack(queue, ("a", 1)) == []
    assert ack(queue, ("a", 2)) == ["a"]


def test_it_has_all_its_deliveries_again(queue: Queue) -> None:
    enqueue(queue, {"a": "1"}, lease=60, attempts=2, flags=Flags.USE_DEAD)
    for life in range(3):
        verdicts = []
        for _ in range(2):
            [[_, _, token, _]] = cycle(queue).claimed
            verdicts.append(fail(queue, "a", token))
        assert verdicts == ["ready", "dead"], f"life {life}"
        redrive(queue, "dead")
    state = queue.state()
    assert (state.pop("errors").keys(), state) == ({"a"}, {"ready": ["a"], "counts": {"a": "7 0 0 0"}})


def test_a_lost_message_may_be_run_at_most_once_more(queue: Queue) -> None:
    queue.given(leased={"a": (-1, 1)})
    cycle(queue)
    redrive(queue, "lost")
    cycle(queue)
    queue.client.zadd(queue.keys.leased, {"a": queue.clock.start - 1})
    assert cycle(queue).claimed == []
    assert list(queue.state()["lost"]) == ["a"]


def test_the_index_knows_it_is_ready(queue: Queue) -> None:
    queue.given(dead={"a": 0})
    redrive(queue, "dead")
    assert queue.index() == {"priority": float("inf"), "ready": float("inf"), "due": None}
    assert queue.index_is_exact()


def test_a_data_queue_redrives_without_an_index(items: Queue) -> None:
    items.given(dead={"a": 0})
    assert redrive(items, "dead") == ["a"]
    assert items.wakes() == (True, False)
    assert lease(items, 1, 0).ids == ["a"]
    assert items.state() == {}
