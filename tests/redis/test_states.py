"""states.lua: where messages are, and not a byte written."""

from __future__ import annotations

import pytest

from tests.redis.calls import cycle, states
from tests.redis.harness import Queue

MINUTE = 60_000


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("before", "state", "at"),
    [
        ({"ready": ["a"]}, "ready", None),
        ({"scheduled": {"a": MINUTE}}, "scheduled", MINUTE),
        ({"scheduled": {"a": -5}}, "scheduled", -5),
        ({"leased": {"a": (MINUTE, 1)}}, "leased", MINUTE),
        ({"leased": {"a": (-5, 1)}}, "leased", -5),
        ({"parked": {"a": "t"}}, "parked", None),
        ({"dead": {"a": -7}}, "dead", -7),
        ({"lost": {"a": -7}}, "lost", -7),
        ({"failed": {"a": -7}}, "failed", -7),
    ],
)
def test_every_state_has_its_word_and_its_instant(queue: Queue, before: dict, state: str, at: int | None) -> None:
    queue.given(**before, counts={"a": "1 0 0 0"}, errors={"a": 'oops|{"x":1}'})
    there = queue.snapshot()
    now, answer = states(queue, "a")
    assert queue.since_start(now) == queue.after()
    error = f'oops {queue.clock.start - 7}|{{"x":1}}' if at == -7 else ""
    instant = "0" if at is None else str(queue.clock.start + at)
    assert answer == [state, instant, "1 0 0 0", queue.message("a"), error, ""]
    assert queue.snapshot() == there


@pytest.mark.parametrize("signature", ["", "~key~c2lnbmF0dXJl~"])
@pytest.mark.parametrize(
    ("outcome", "state"),
    [('{"state":"done","result":1}', "done"), ('{"state":"failed","error":{}}', "failed"), ("[]", "done")],
)
def test_an_outcome_says_how_it_ended_signed_or_not(queue: Queue, signature: str, outcome: str, state: str) -> None:
    queue.client.set(queue.keys.outcome("a"), signature + outcome, ex=60)
    _, answer = states(queue, "a")
    assert answer == [state, "0", "", "", "", signature + outcome]


def test_what_is_gone_without_an_outcome_is_gone(queue: Queue) -> None:
    _, answer = states(queue, "a")
    assert answer == ["gone", "0", "", "", "", ""]
    assert list(queue.client.scan_iter()) == []


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ('{"state":"done","result":[]}', "done"),
        ('{"state":"cancelled"}', "cancelled"),
        ('{"state":"failed","error":{}}', "failed"),
        ('{"result":{"state":"no"}}', "done"),
    ],
)
def test_an_outcome_says_how_it_ended(queue: Queue, outcome: str, state: str) -> None:
    queue.given(leased={"a": (MINUTE, 1)})
    cycle(queue, full=[("a", 1, 5000, outcome)])
    assert states(queue, "a")[1] == [state, "0", "", "", "", outcome]


def test_an_id_that_is_used_again_is_where_it_is_now(queue: Queue) -> None:
    queue.given(ready=["a"])
    queue.client.set(queue.keys.outcome("a"), '{"state":"done"}', px=5000)
    assert states(queue, "a")[1][0::5] == ["ready", '{"state":"done"}']


def test_many_are_answered_in_the_order_of_the_call(queue: Queue) -> None:
    queue.given(ready=["r"], scheduled={"s": 5}, leased={"l": (MINUTE, 3)})
    _, *answers = states(queue, "l", "x", "s", "r", "l")
    assert [answer[0] for answer in answers] == ["leased", "gone", "scheduled", "ready", "leased"]
    assert answers[0][2] == "3 0 0 0"


def test_none_are_answered_with_the_time(queue: Queue) -> None:
    [now] = states(queue)
    assert queue.since_start(now) == queue.after()
