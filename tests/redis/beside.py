"""The engine beside its model: what must be true after every step of test_engine_model.py."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import redis
from hypothesis.stateful import RuleBasedStateMachine, invariant

from rpqueue.broker import Broker
from rpqueue.keys import Keys, QueueKeys
from rpqueue.protocol import moves, runs
from rpqueue.protocol.cycle import Round
from tests.redis.model import GRAVES, NEVER, PAST, After, Instants, Model, is_past

NAMES = ("one", "two {x}")


class EngineBesideModel(RuleBasedStateMachine):
    """Two task queues in Redis, and what they should hold."""

    broker: Broker
    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.keys = Keys("test")
        self.app = self.keys.app
        self.models = {name: Model(name) for name in NAMES}
        self.priorities: dict[str, float] = {}
        self.round: tuple[Round, Sequence[str]] | None = None  #: what the step before brought, over which queues
        self.were_ready: set[str] = set(NAMES)
        self.order = itertools.count(1)
        self.now = self.clock()
        self.ready_index: dict[str, float] = {}
        self.due_index: dict[str, float] = {}

    def clock(self) -> int:
        return _ms(self.client.time())

    def queue(self, name: str) -> QueueKeys:
        return self.keys.tasks(name)

    def any(self, *places: str) -> bool:
        return any(model.has(*places) for model in self.models.values())

    @invariant()
    def redis_holds_what_the_model_holds(self) -> None:
        before, pipe = self.now, self.client.pipeline(transaction=False)
        pipe.zrange(self.app.queues, 0, -1, withscores=True)
        pipe.zrange(self.app.ready_queues, 0, -1, withscores=True)
        pipe.zrange(self.app.due_queues, 0, -1, withscores=True)
        pipe.llen(self.app.wake)
        for name in NAMES:
            keys = self.queue(name)
            pipe.llen(keys.wake).lrange(keys.ready, 0, -1)
            for key in (keys.scheduled, keys.leased, keys.dead, keys.lost, keys.failed):
                pipe.zrange(key, 0, -1, withscores=True)
            for key in (keys.messages, keys.counts, keys.errors, keys.parked, keys.stats):
                pipe.hgetall(key)
        priorities, ready, due, app_wake, *rest, time = pipe.time().execute()
        self.now = _ms(time)
        assert _text(priorities) == self.priorities
        self.ready_index, self.due_index = _text(ready), _text(due)
        size = len(rest) // len(NAMES)
        for at, name in enumerate(NAMES):
            wake, *places = rest[at * size : (at + 1) * size]
            self.compare(self.models[name], places, before)
            self.check_index(self.models[name])
            woken = self.models[name].ready and name not in self.were_ready
            assert wake <= 1 >= app_wake, "two tokens"
            assert not woken or (wake and app_wake), "ready, and nobody was told"
            self.ask(self.models[name])
        self.check_round(due)
        self.were_ready = set(NAMES)

    def compare(self, model: Model, found: list[Any], before: int) -> None:
        """Each message is in its place, and in no other; whatever is known of it is as it should be."""
        ready, *zsets, messages, counts, errors, parked, stats = found
        assert [id.decode() for id in ready] == model.ready
        for place, scores in zip(("scheduled", "leased", *GRAVES), zsets, strict=True):
            self.compare_instants(model, place, _text(scores), before)
        assert {id.decode(): message for id, message in messages.items()} == {
            id: message.stored for id, message in model.messages.items()
        }
        placed = [*ready, *parked, *(id for scores in zsets for id, _ in scores)]
        assert sorted(placed) == sorted(messages), "not every message in one place"
        assert _text(counts) == {id: one.counts.encode() for id, one in model.messages.items() if one.is_counted}
        assert _text(parked) == {id: task.encode() for id, task in model.parked.items()}
        assert {name: int(count) for name, count in _text(stats).items()} == {
            name: count for name, count in model.stats.items() if count
        }
        told = {id: text.decode().partition("|") for id, text in _text(errors).items()}
        assert {id: (head.split(" ")[0], json) for id, (head, _, json) in told.items()} == model.errors

    def compare_instants(self, model: Model, place: str, scores: dict[str, float], before: int) -> None:
        """What was written by Redis's clock fell in the call, and is known exactly from now on."""
        instants: Instants = getattr(model, place)
        assert scores.keys() == instants.keys()
        for id, at in instants.items():
            if not isinstance(at, After):
                assert scores[id] == at
                continue
            assert before + at.delay <= scores[id] <= self.now + at.delay
            instants[id] = scores[id]
        if place in GRAVES:  # buried in the same millisecond or not, what a later call buried comes later
            at = next(self.order)
            moved: dict[str | bytes, float] = {id: at for id, score in instants.items() if not is_past(score)}
            instants.update(dict.fromkeys(moved, at))
            if moved:
                self.client.zadd(getattr(self.queue(model.name), place), moved)

    def check_index(self, model: Model) -> None:
        """
        The index hides no work. It may promise some that is gone, or too early.

        It does so until the next round over that queue: extend, ack, park and cancel leave it alone.
        """
        assert not model.ready or model.name in self.ready_index
        assert self.ready_index.get(model.name) in (None, self.priorities.get(model.name))
        due_at = min(_exact(model.scheduled, model.leased), default=NEVER)
        assert self.due_index.get(model.name, NEVER) <= due_at

    def check_round(self, due: list[tuple[bytes, float]]) -> None:
        """After a round the index is exact for its queues, and the answer says what it holds."""
        if self.round is None:
            return
        (answer, names), self.round = self.round, None
        for name in names:
            model = self.models[name]
            assert (name in self.ready_index) == bool(model.ready)
            assert self.due_index.get(name, NEVER) == min(_exact(model.scheduled, model.leased), default=NEVER)
        assert answer.ready == list(self.ready_index.items())
        assert answer.hands == [name for name, at in self.due_index.items() if at < PAST]
        assert answer.due == (int(due[0][1]) / 1000 if due else 0)

    def ask(self, model: Model) -> None:
        """What users are told of each message."""
        ids = sorted({*model.messages, *model.outcomes, *model.tokens})
        keys = self.queue(model.name)
        for kind, id in model.notes:
            note = self.broker.execute(runs.noted(keys, getattr(keys, kind)(id), id))
            assert note.decode() == model.noted(kind, id)
        for told in self.broker.execute(moves.whereabouts(self.queue(model.name), ids)):
            message, outcome = model.messages.get(told.id), model.outcomes.get(told.id, b"")
            reason, error = model.errors.get(told.id, ("", ""))
            records = b"\n".join([told.error, *told.earlier]).decode()
            assert (told.outcome, told.reason, records) == (outcome, reason, error)
            if message is None:
                assert str(told.state) == (outcome.decode()[10:-2] or "None")
                continue
            assert str(told.state) == model.place(told.id)
            assert (told.failures, told.crashes, told.interruptions, told.message) == (
                message.failures,
                message.crashes,
                message.interruptions,
                message.stored,
            )


def _ms(time: tuple[int, int]) -> int:
    return time[0] * 1000 + time[1] // 1000


def _text(pairs: dict[bytes, Any] | list[tuple[bytes, Any]]) -> dict[str, Any]:
    return {name.decode(): value for name, value in (pairs.items() if isinstance(pairs, dict) else pairs)}


def _exact(*places: Instants) -> list[float]:
    return [at for instants in places for at in instants.values() if not isinstance(at, After)]
