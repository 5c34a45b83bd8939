"""Looking at what somebody else wrote: a clear error or what there is, and nothing changes."""

from __future__ import annotations

import pytest
import redis

from rpqueue import App
from rpqueue.errors import TaskFailed, Undecodable
from rpqueue.inspection import Inspection
from tests.hostile.hand import Hand


@pytest.fixture
def hand(app: App, redis_client: redis.Redis) -> Hand:
    return Hand(redis_client, app)


def test_a_call_that_cannot_be_read_still_has_a_status(app: App, hand: Hand) -> None:
    call = app.task(name="t")(print).execute()
    hand.client.hset(hand.keys().messages, call.taskid, b"no header")
    assert call.status == "waiting"
    with pytest.raises(Undecodable, match="expected 'VERSION"):
        _ = call.args
    view = Inspection(app).message(call.taskid)
    assert (view.raw, view.undecodable, view.status) == (b"no header", "no header", "ready")


def test_a_call_of_a_newer_version_is_shown_as_far_as_it_can_be(app: App, hand: Hand) -> None:
    call = app.task(name="t")(print).execute()
    message = b"2 1700000000000 60000 3 9 word|?"
    hand.client.hset(hand.keys().messages, call.taskid, message)
    assert call.status == "late"
    view = Inspection(app).message(call.taskid)
    assert (view.vis_timeout, view.attempts, view.use_dead, view.raw) == (60.0, 3, True, message)
    with pytest.raises(Undecodable):
        _ = call.args


@pytest.mark.parametrize("outcome", [b"[]", b"nonsense", b"5", b'{"state":"done","result":1e400}'])
def test_an_outcome_that_none_of_us_wrote_is_an_error(app: App, hand: Hand, outcome: bytes) -> None:
    call = app.task(name="t", save_results=60)(print).execute()
    keys = hand.keys()
    hand.client.delete(keys.messages, keys.ready)
    hand.client.set(keys.outcome(call.taskid), outcome, ex=60)
    with pytest.raises(Undecodable, match="outcome: expected"):
        call.get(5)


@pytest.mark.parametrize("record", [b"", b"|", b"failed 1|[]", b"failed 1|nonsense", b"\xff\xfe 1|{}"])
def test_a_record_of_an_error_that_cannot_be_read_is_said(app: App, hand: Hand, record: bytes) -> None:
    call = app.task(name="t")(print).execute()
    keys = hand.keys()
    hand.client.delete(keys.ready)
    hand.client.zadd(keys.dead, {call.taskid: 1})
    hand.client.hset(keys.errors, call.taskid, record)
    with pytest.raises(TaskFailed, match="dead"):
        call.get(5)
    assert len(Inspection(app).buried()) == 1


def test_workers_that_somebody_else_announced_are_shown_as_they_can_be(app: App, hand: Hand) -> None:
    app_keys = app.keys.app
    for name in (b"\xff", b"ok", b"[]"):
        hand.client.hset(app_keys.workers, name, b"{" if name == b"ok" else b"[]" if name == b"[]" else b'{"pid":"x"}')
        hand.client.zadd(app_keys.beats, {name: 1})
    assert len(Inspection(app).workers()) == 3
