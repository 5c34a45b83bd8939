"""What is said to have several operations done in one go, by replies fed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from rpqueue.attempts import Attempts
from rpqueue.broker import Broker
from rpqueue.errors import IdTaken, RedisOutOfMemory, RedisUnavailable, RpqueueError
from rpqueue.keys import Keys
from rpqueue.protocol import moves
from rpqueue.protocol.data import bury_new
from rpqueue.protocol.operation import Operation, Stamp
from rpqueue.together import Together, ended, outcomes, transaction

KEYS = Keys("test").data("a")
OPERATIONS: list[Operation[Any]] = [
    moves.enqueue(KEYS, (), [("1", b"[]")], chosen=True),
    bury_new(KEYS, (), [("2", b"[]")]),
    moves.enqueue(KEYS, (), [("3", b"[]")], delay=5),
]
STAMPS = [Stamp(b"a", 1), Stamp(b"b", 7), Stamp(b"c", 3)]
PUT, BURY = (operation.script for operation in OPERATIONS[:2])
NOSCRIPT = redis.exceptions.NoScriptError("No matching script.")


def said(commands: list[Any]) -> list[tuple[Any, ...]]:
    """The first two words of each command, and the number of its stamp."""
    return [(*words[:2], words[words[2] + 3]) if len(words) > 1 else tuple(words) for words in commands]


def answered(*answers: list[Any]) -> tuple[list[Any], list[Any]]:
    """What a transaction says, and what it makes of these answers to it."""
    dialogue, told = transaction(Together(OPERATIONS), STAMPS), []
    told.append(said(next(dialogue)))
    try:
        for answer in answers:
            told.append(said(dialogue.send(answer)))
    except StopIteration as end:
        return told, end.value
    raise AssertionError("it has more to say")


def test_all_go_in_one_transaction_under_their_stamps() -> None:
    told, replies = answered([b"OK", b"QUEUED", b"QUEUED", b"QUEUED", [1, 2, 3]])
    assert told == [
        [("MULTI",), ("EVALSHA", PUT.sha, "1"), ("EVALSHA", BURY.sha, "7"), ("EVALSHA", PUT.sha, "3"), ("EXEC",)]
    ]
    assert replies == [1, 2, 3]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param([NOSCRIPT, NOSCRIPT, NOSCRIPT], id="all"),
        pytest.param([NOSCRIPT, 2, NOSCRIPT], id="some"),
        pytest.param([1, NOSCRIPT, 3], id="one"),
    ],
)
def test_scripts_that_redis_has_not_are_said_and_all_is_sent_again(first: list[Any]) -> None:
    told, replies = answered(
        [b"OK", b"QUEUED", b"QUEUED", b"QUEUED", first], [b"OK", b"QUEUED", b"QUEUED", b"QUEUED", [1, 2, 3]]
    )
    assert told[1] == [
        *[("MULTI",), ("EVAL", PUT.source, "1"), ("EVAL", BURY.source, "7"), ("EVALSHA", PUT.sha, "3"), ("EXEC",)]
    ]
    assert replies == [1, 2, 3]


def test_what_was_done_stays_done_when_the_rest_is_refused_in_the_end() -> None:
    abort = redis.exceptions.ExecAbortError("Transaction discarded because of previous errors.")
    queued = [b"OK", b"QUEUED", b"QUEUED", b"QUEUED"]
    assert answered([*queued, [1, NOSCRIPT, 3]], [*queued, abort])[1] == [1, abort, 3]


def test_one_that_fails_leaves_the_others_as_they_are() -> None:
    error = redis.ResponseError("WRONGTYPE")
    assert answered([b"OK", b"QUEUED", b"QUEUED", b"QUEUED", [1, error, 3]])[1] == [1, error, 3]


def test_one_that_cannot_be_queued_fails_all() -> None:
    denied = redis.exceptions.NoPermissionError("no")
    abort = redis.exceptions.ExecAbortError("Transaction discarded because of previous errors.")
    assert answered([b"OK", b"QUEUED", denied, b"QUEUED", abort])[1] == [denied] * 3
    assert answered([b"OK", b"QUEUED", b"QUEUED", b"QUEUED", abort])[1] == [abort] * 3


def test_without_a_transaction_each_is_done_by_itself() -> None:
    denied = redis.exceptions.NoPermissionError("no multi for you")
    orphan = redis.ResponseError("EXEC without MULTI")
    assert answered([denied, 1, 2, 3, orphan])[1] == [1, 2, 3]
    told, replies = answered([denied, NOSCRIPT, 2, NOSCRIPT, orphan], [denied, 1, 2, 3, orphan])
    assert told[1][1] == ("EVAL", PUT.source, "1")
    assert replies == [1, 2, 3]


def test_replies_become_results_and_errors() -> None:
    brought = outcomes(Broker(), OPERATIONS, [1500, redis.exceptions.OutOfMemoryError("OOM"), [0, b"3"]], Attempts())
    assert brought[0] == 1.5
    assert isinstance(brought[1], RedisOutOfMemory)
    assert isinstance(brought[2], IdTaken)


def test_sessions_that_were_answered_are_used_again() -> None:
    broker = Broker()
    stamps = [broker.sessions.take() for _ in range(3)]
    brought = [1.5, RedisUnavailable("away"), IdTaken("taken")]
    assert ended(broker, stamps, brought) == brought
    assert {broker.sessions.take().session for _ in range(2)} == {stamps[0].session, stamps[2].session}
    assert broker.sessions.take().session not in {stamp.session for stamp in stamps}


def test_what_is_no_error_of_redis_is_raised() -> None:
    broker = Broker()
    with pytest.raises(ZeroDivisionError):
        ended(broker, [broker.sessions.take()], [ZeroDivisionError()])
    assert issubclass(IdTaken, RpqueueError)
