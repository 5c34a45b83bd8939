"""Operations and flows, driven by replies that are fed by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from rpqueue.app import App
from rpqueue.enqueued import EnqueuedTask, has_started, is_over
from rpqueue.errors import (
    RedisUnavailable,
    RefusedInput,
    ResultTimeout,
    TaskCancelled,
    TaskFailed,
    TaskLost,
)
from rpqueue.keys import Keys
from rpqueue.protocol import moves, scripts
from rpqueue.protocol.moves import Whereabouts
from rpqueue.protocol.operation import Flow, Operation, Stamp, Wait, Watch, as_is, command, run, run_async
from rpqueue.states import State
from tests.unit.feeding import Redis

KEYS = Keys("test").tasks("mail")
STAMP = Stamp(b"5e55", 7)


@pytest.fixture
def app() -> App:
    return App("redis://127.0.0.1:1", prefix="test")  # nothing listens there


def one(app: App, **options: Any) -> EnqueuedTask:
    task = app.Task("mail", "mail.send", None, **options)
    return app.EnqueuedTask("mail.send", "1d", "mail", task)


def where(state: State | None, **parts: Any) -> list[Whereabouts]:
    told: dict[str, Any] = dict.fromkeys(("at", "now", "failures", "crashes", "interruptions"), 0)
    return [
        Whereabouts(
            "1d", state, **{**told, "message": b"", "reason": "", "error": b"", "earlier": (), "outcome": b"", **parts}
        )
    ]


# ---- words


def test_words_are_the_number_of_keys_the_keys_and_the_arguments() -> None:
    script = scripts.load("states")
    assert script.memo_at is None
    operation = Operation(script, (b"k1", b"k2"), (b"a", "b", 3), as_is)
    assert operation.words(STAMP) == [2, b"k1", b"k2", b"a", "b", 3]


def test_the_memo_goes_to_its_place_among_the_keys_and_the_number_before_the_arguments() -> None:
    script = scripts.load("states")._replace(memo_at=1)
    operation = Operation(script, (b"k1", b"k2"), (b"a",), as_is, lambda session: b"memo:" + session)
    assert operation.words(STAMP) == [3, b"k1", b"memo:5e55", b"k2", "7", b"a"]
    assert operation.words(Stamp(b"other", 8)) == [3, b"k1", b"memo:other", b"k2", "8", b"a"]
    assert operation.keys == (b"k1", b"k2"), "as before, to be sent again"


MOVES: list[Callable[[], Operation[Any]]] = [
    lambda: moves.enqueue(KEYS, (), [("1d", b"1")], delay=1),
    lambda: moves.enqueue(KEYS, (b"a", b"b", b"c", b"d"), [("1d", b"1")], chosen=True),
    lambda: moves.enqueue(KEYS, (), [("1d", b"1")]),
    lambda: moves.enqueue(KEYS, (b"a", b"b", b"c", b"d"), [("1d", b"1")]),
    lambda: moves.ack(KEYS, [("1d", 1)]),
    lambda: moves.cancel(KEYS, "1d", 1),
    lambda: moves.put_back(KEYS, (), State.READY, []),
]


@pytest.mark.parametrize("move", MOVES)
def test_a_move_has_its_memo_where_its_script_reads_it(move: Callable[[], Operation[Any]]) -> None:
    operation = move()
    assert operation.script is not None
    at = operation.script.memo_at
    assert at is not None
    count, *words = operation.words(STAMP)
    assert words[at] == KEYS.memo(STAMP.session)
    assert words[:at] == list(KEYS.block if at == 12 else KEYS.entrance)
    assert count == len(operation.keys) + 1
    assert words[int(count)] == "7"
    assert operation.script.args[0] == "number"


def test_a_script_without_memo_is_sent_the_same_under_any_stamp() -> None:
    operation = moves.whereabouts(KEYS, ["1d"])
    assert operation.words(STAMP) == operation.words(Stamp(b"other", 99))
    assert STAMP.session not in operation.words(STAMP)


def test_an_operation_shows_its_script_or_command() -> None:
    assert repr(moves.ack(KEYS, [])) == "<Operation 'ack'>"
    assert repr(command(as_is, "HGET", "a", "b")) == "<Operation 'HGET'>"


# ---- flows


def test_a_flow_is_sent_the_result_of_each_step() -> None:
    def flow() -> Flow[list[Any]]:
        first = yield from command(int, "INCR", "a")
        token = yield from Wait([b"k"], 1.5)
        answer = yield from Watch([b"c"], command(int, "GET", "a"), bool, 2)
        return [first, token, answer]

    redis = Redis(b"41", b"token", "news")
    assert redis.carry(flow()) == [41, b"token", "news"]
    assert [type(step) for step in redis.steps] == [Operation, Wait, Watch]
    assert asyncio.run(run_async(flow(), Redis(b"41", b"token", "news").execute_later)) == [41, b"token", "news"]


def test_a_flow_without_steps_says_nothing() -> None:
    def flow() -> Flow[str]:
        return "done"
        yield

    redis = Redis()
    assert redis.carry(flow()) == "done"
    assert asyncio.run(run_async(flow(), redis.execute_later)) == "done"
    assert redis.steps == []


def test_what_a_step_raises_is_raised_and_nothing_more_is_said() -> None:
    def flow() -> Flow[None]:
        yield from command(as_is, "PING")
        yield from command(as_is, "PING")

    for carry in (
        lambda redis: run(flow(), redis.execute),
        lambda redis: asyncio.run(run_async(flow(), redis.execute_later)),
    ):
        redis = Redis(RedisUnavailable("gone"), b"PONG")
        with pytest.raises(RedisUnavailable, match="gone"):
            carry(redis)
        assert len(redis.steps) == 1


def test_an_error_thrown_into_a_flow_comes_out_where_it_waits() -> None:
    def flow() -> Flow[str]:
        try:
            yield from Wait([b"k"], 1)
        except RedisUnavailable:
            return (yield from command(bytes.decode, "GET", "a"))
        return "nothing was raised"

    running = flow()
    assert isinstance(next(running), Wait)
    step = running.throw(RedisUnavailable("gone"))
    assert step.args == ("GET", "a")
    with pytest.raises(StopIteration) as ended:
        running.send("after all")
    assert ended.value.value == "after all"


@pytest.mark.parametrize("flow", ["getting", "waiting"])
def test_an_error_thrown_into_the_flows_of_a_call_is_not_swallowed(app: App, flow: str) -> None:
    running = getattr(one(app), flow)(5)
    next(running)
    with pytest.raises(RedisUnavailable, match="gone"):
        running.throw(RedisUnavailable("gone"))


# ---- getting


def test_getting_watches_until_the_call_is_over_and_returns_its_result(app: App) -> None:
    redis = Redis(where(State.DONE, outcome=b'{"state":"done","result":[1,"a"]}'))
    assert redis.carry(one(app, save_results=60).getting(5)) == [1, "a"]
    [watch] = redis.steps
    assert isinstance(watch, Watch)
    assert (watch.timeout, watch.is_over) == (5, is_over)
    assert watch.channels == [b"test:{tasks:mail}:events:1d"]
    assert watch.question.words(STAMP) == moves.whereabouts(KEYS, ["1d"]).words(STAMP)


def test_a_call_whose_own_end_is_not_published_is_watched_by_its_queues(app: App) -> None:
    both = [b"test:{tasks:mail}:events:1d", b"test:{tasks:mail}:events:"]
    for call in (one(app), app.EnqueuedTask("mail.send", "1d", b"mail")):
        redis = Redis(where(State.DONE))
        assert redis.carry(call.getting(5)) is None
        assert redis.steps[0].channels == both


def test_a_call_of_which_nothing_is_known_any_more_is_done(app: App) -> None:
    assert Redis(where(None)).carry(one(app).getting(5)) is None


def test_getting_for_ever_has_a_timeout_that_nobody_sees(app: App) -> None:
    redis = Redis(where(None))
    redis.carry(one(app).getting(None))
    assert redis.steps[0].timeout > 86_400 * 365 * 10


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (where(State.LEASED), "started"),
        (where(State.SCHEDULED, at=2.0, now=1.0), "early"),
        (where(State.SCHEDULED, at=1.0, now=1.0), "late"),
        (where(State.READY, message=b"1 0|"), "waiting"),
        (where(State.READY, message=b"1 0 0 1 8|"), "late"),
        (where(State.PARKED, message=b"1 0|"), "waiting"),
    ],
)
def test_a_call_that_is_not_over_in_time_is_a_timeout_that_says_where_it_is(
    app: App, told: list[Whereabouts], status: str
) -> None:
    with pytest.raises(ResultTimeout, match=f"^mail.send 1d: expected it to end within 0.5 s, it is {status}$") as late:
        Redis(told).carry(one(app).getting(0.5))
    assert isinstance(late.value, TimeoutError)


@pytest.mark.parametrize(
    ("state", "kind"), [(State.FAILED, TaskFailed), (State.DEAD, TaskFailed), (State.LOST, TaskLost)]
)
def test_a_call_that_was_given_up_raises_what_its_worker_recorded(
    app: App, state: State, kind: type[TaskFailed]
) -> None:
    error = {"exception": "ZeroDivisionError", "message": "by 0", "traceback": "Traceback ...\n  line 3"}
    with pytest.raises(TaskFailed) as failed:
        Redis(where(state, reason="failed", error=json.dumps(error).encode())).carry(one(app).getting(5))
    assert type(failed.value) is kind
    assert failed.value.error == error
    assert str(failed.value) == (f"mail.send 1d: {state} (failed): ZeroDivisionError: by 0\n\nTraceback ...\n  line 3")


def test_a_call_that_was_given_up_without_record_says_so(app: App) -> None:
    with pytest.raises(TaskLost, match=r"^mail\.send 1d: lost \(given up\)$") as lost:
        Redis(where(State.LOST)).carry(one(app).getting(5))
    assert lost.value.error == {}


def test_a_cancelled_call_raises(app: App) -> None:
    with pytest.raises(TaskCancelled, match=r"^mail\.send 1d was cancelled$"):
        Redis(where(State.CANCELLED)).carry(one(app).getting(5))


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_a_timeout_out_of_range_is_refused_before_anything_is_said(app: App, timeout: float) -> None:
    redis = Redis()
    for flow in (one(app).getting(timeout), one(app).waiting(timeout)):
        with pytest.raises(RefusedInput, match="timeout: expected seconds"):
            redis.carry(flow)
    assert redis.steps == []


# ---- waiting


@pytest.mark.parametrize("state", [*State, None])
def test_waiting_says_whether_the_call_has_started(app: App, state: State | None) -> None:
    redis = Redis(where(state))
    pending = state in (State.SCHEDULED, State.READY, State.PARKED)
    assert redis.carry(one(app).waiting(3)) is not pending
    [watch] = redis.steps
    assert (watch.timeout, watch.is_over) == (3, has_started)
    assert watch.is_over(where(state)) is not pending


# ---- cancelling


@pytest.mark.parametrize(("reply", "answer"), [(1, True), (0, False), (-1, -1)])
def test_cancelling_answers_true_false_or_minus_1(app: App, reply: int, answer: bool | int) -> None:
    app.settings.remember_cancelled = 60
    redis = Redis(reply)
    result = redis.carry(one(app).cancelling())
    assert result == answer
    assert type(result) is type(answer)
    [operation] = redis.steps
    assert operation.script.name == "cancel"
    assert operation.args[:2] == ["1d", "60000"]
    assert operation.keys == (*KEYS.block, KEYS.outcome("1d"), KEYS.asked("1d"), KEYS.checkpoint("1d"))
