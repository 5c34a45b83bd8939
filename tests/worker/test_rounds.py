"""How much a round brings, and when it is sent."""

from __future__ import annotations

import time
from typing import Any

import pytest

from rpqueue import CURRENT_TASK, App
from rpqueue.worker import appetite, rounds
from tests.servers import wait_until
from tests.worker.harness import SOON
from tests.worker.here import working


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The sizes of the messages of each round that brought any."""
    all_sizes: list[list[int]] = []
    original = rounds.decode

    def decode(claimed: Any, *more: Any) -> Any:
        sizes = [len(message) for came in claimed for message in came.messages]
        if sizes:
            all_sizes.append(sizes)
        return original(claimed, *more)

    monkeypatch.setattr(rounds, "decode", decode)
    return all_sizes


def drain(app: App, number: int, argument: Any) -> None:
    ran: list[Any] = []
    app.task(name="note")(ran.append).execute_many([(argument,)] * number)
    with working(app):
        wait_until(lambda: len(ran) >= number, SOON, "all ran")
        wait_until(lambda: done(app) == number, SOON, "all are acked")
    assert len(ran) == number


def done(app: App) -> int:
    return int(app.broker.client.hget(app.task_keys("default").stats, "done") or 0)


def test_small_messages_come_by_the_hundred(app: App, brought: list[list[int]]) -> None:
    drain(app, 3000, 1)
    assert max(map(len, brought)) > 100
    assert len(brought) < 100


def test_large_messages_come_in_small_rounds(app: App, brought: list[list[int]]) -> None:
    drain(app, 100, "x" * 200_000)
    assert max(map(sum, brought)) < 2 * appetite.ROUND_BYTES


def test_the_next_round_is_sent_before_the_messages_of_this_one_run(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    original = rounds.Rounds._send

    def send(self: rounds.Rounds, departed: rounds.Departed, how: Any) -> None:
        told.append("sent")
        original(self, departed, how)

    monkeypatch.setattr(rounds.Rounds, "_send", send)
    app.task(name="note")(lambda _: told.append("ran")).execute_many([(1,)] * 2000)
    with working(app):
        wait_until(lambda: told.count("ran") == 2000, SOON, "all ran")
    assert told.index("sent") < told.index("ran") + 100
    assert told.count("sent") >= 3


def test_a_round_that_was_sent_and_not_answered_is_sent_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = []
    original = rounds.Rounds._send

    def send(self: rounds.Rounds, departed: rounds.Departed, how: Any) -> None:
        original(self, departed, how)
        if self._under_way is not None and self._under_way.sent is not None and len(lost) < 5:
            # It reaches Redis, and its answer nobody.
            wait_until(lambda: self._under_way.sent._line.has_news(0), SOON, "the answer is there")
            self._under_way.sent.abandon()
            lost.append(departed.stamp)

    monkeypatch.setattr(rounds.Rounds, "_send", send)
    ran: list[int] = []
    app.task(name="note")(ran.append).execute_many([(number,) for number in range(3000)])
    with working(app):
        wait_until(lambda: len(ran) >= 3000, SOON, "all ran")
        wait_until(lambda: done(app) >= 3000, SOON, "all are acked")
    assert len(lost) == 5
    assert sorted(ran) == list(range(3000))
    assert done(app) == 3000


def test_what_an_answer_brings_too_late_for_its_lease_goes_back(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    original = rounds.Rounds._answer
    slow = []

    def answer(self: rounds.Rounds, departed: rounds.Departed) -> Any:
        reply = original(self, departed)
        if reply.claimed and not slow:
            slow.append(reply)
            time.sleep(0.7)
        return reply

    monkeypatch.setattr(rounds.Rounds, "_answer", answer)
    tokens: dict[str, int] = {}

    def note(name: str) -> None:
        tokens[name] = CURRENT_TASK.token

    for name, lease in (("short", 1), ("long", 60), ("plain", 0)):
        app.task(name=name, vis_timeout=lease, attempts=3)(note).execute(name)
    with working(app, threads=3):
        wait_until(lambda: done(app) == 3, SOON, "all are acked")
    assert tokens == {"short": 2, "long": 1, "plain": 1}
    assert len(slow) == 1
