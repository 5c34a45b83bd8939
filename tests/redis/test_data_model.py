"""One data queue, used in any order, does what a plain Python model of it does."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from rpqueue import App
from rpqueue.data import Data, Items
from tests.servers import Server

HOUR = 3600
COUNTS = st.integers(1, 4)


@dataclass
class Model:
    """What the queue should hold. Instants that have come are numbers, which say in what order; others are None."""

    values: dict[str, tuple[Any, int, bool]] = field(default_factory=dict)  #: value, attempts, use_dead
    ready: list[str] = field(default_factory=list)
    scheduled: dict[str, int | None] = field(default_factory=dict)
    leased: dict[str, int | None] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)  #: how many leases of it ended without a done
    dead: list[str] = field(default_factory=list)

    def look(self) -> None:
        """What every look at the queue does first: promote and reap."""
        for id in _come(self.scheduled):
            del self.scheduled[id]
            self.ready.append(id)
        for id in _come(self.leased):
            del self.leased[id]
            self.ended[id] = self.ended.get(id, 0) + 1
            _, attempts, use_dead = self.values[id]
            if self.ended[id] < attempts:
                self.ready.append(id)
            elif use_dead:
                self.dead.append(id)

    def token(self, id: str) -> int:
        return self.ended.get(id, 0) + 1

    def first(self, count: int) -> dict[str, Any]:
        return {id: self.values[id][0] for id in self.ready[:count]}

    def holds(self, items: Items) -> list[str]:
        return [id for id in items if id in self.leased and items.tokens[id] == self.token(id)]


def _come(instants: dict[str, int | None]) -> list[str]:
    return sorted((id for id, at in instants.items() if at is not None), key=lambda id: instants[id] or 0)


class DataQueue(RuleBasedStateMachine):
    """The queue and its model, side by side."""

    app: App

    def __init__(self) -> None:
        super().__init__()
        self.client = self.app.get_connection()
        self.client.flushall()
        self.queue = self.app.Data("numbers", vis_timeout=HOUR)
        self.graves = self.app.Data(self.app.settings.deadletter_queue)
        self.model = Model()
        self.hands: list[Items] = []  #: every Items that was ever leased
        self.order = itertools.count(1)

    def variant(self, attempts: int, use_dead: bool) -> Data:
        return self.app.Data("numbers", vis_timeout=HOUR, attempts=attempts, use_dead=use_dead)

    @initialize(values=st.lists(st.integers(), min_size=3, max_size=6))
    def begin(self, values: list[int]) -> None:
        self.put(values, attempts=2, use_dead=True, delayed=False)

    @rule(
        values=st.lists(st.integers() | st.text(max_size=3), min_size=1, max_size=3),
        attempts=st.integers(1, 3),
        use_dead=st.booleans(),
        delayed=st.booleans(),
    )
    def put(self, values: list[Any], attempts: int, use_dead: bool, delayed: bool) -> None:
        ids = self.variant(attempts, use_dead).put_data(values, chunksize=2, delay=HOUR if delayed else 0)
        assert len(ids) == len(values)
        self.model.values.update({id: (value, attempts, use_dead) for id, value in zip(ids, values, strict=True)})
        if delayed:
            self.model.scheduled.update(dict.fromkeys(ids))
        else:
            self.model.ready += ids

    @rule(count=COUNTS)
    def take_for_good(self, count: int) -> None:
        got = self.queue.get_data(count, vis_timeout=0)
        self.model.look()
        self.check(got, self.model.first(count))
        del self.model.ready[:count]

    @rule(count=COUNTS)
    def lease(self, count: int) -> None:
        got = self.queue.get_data(count)
        self.model.look()
        self.check(got, self.model.first(count))
        assert got.tokens == {id: self.model.token(id) for id in got}
        self.model.leased.update(dict.fromkeys(got))
        del self.model.ready[:count]
        self.hands.append(got)

    @rule(count=COUNTS)
    def look(self, count: int) -> None:
        seen = self.queue.get_data(count, vis_timeout=-1)
        self.model.look()
        self.check(seen, self.model.first(count))
        assert self.queue.done_data(seen) == []

    def check(self, got: Items, expected: dict[str, Any]) -> None:
        assert list(got.items()) == list(expected.items())

    @rule(data=st.data())
    def be_done_with_what_was_handed_out(self, data: st.DataObject) -> None:
        if self.hands:
            items = data.draw(st.sampled_from(self.hands))
            expected = self.model.holds(items)
            assert self.queue.done_data(items) == expected
            for id in expected:
                del self.model.leased[id]

    @rule(data=st.data())
    def be_done_with_bare_ids(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(list(self.model.values)), unique=True, max_size=3))
        expected = [id for id in ids if id in self.model.leased]
        assert self.queue.done_data(ids) == expected
        for id in expected:
            del self.model.leased[id]

    @rule(data=st.data())
    def refresh(self, data: st.DataObject) -> None:
        if self.hands:
            items = data.draw(st.sampled_from(self.hands))
            expected = self.model.holds(items)
            assert self.queue.refresh_data(items) == expected
            self.model.leased.update(dict.fromkeys(expected))

    @rule(data=st.data())
    def let_leases_end(self, data: st.DataObject) -> None:
        self.pass_by(data, self.model.leased, self.queue.keys.leased)

    @rule(data=st.data())
    def let_delays_end(self, data: st.DataObject) -> None:
        self.pass_by(data, self.model.scheduled, self.queue.keys.scheduled)

    def pass_by(self, data: st.DataObject, instants: dict[str, int | None], key: bytes) -> None:
        """Move instants into the past instead of sleeping until they are there."""
        if instants:
            for id in data.draw(st.lists(st.sampled_from(list(instants)), unique=True, min_size=1)):
                instants[id] = next(self.order)
                self.client.zadd(key, {id: instants[id] or 0})

    @rule()
    def count(self) -> None:
        available = self.queue.currently_available()
        self.model.look()
        assert available == (len(self.model.ready), len(self.model.scheduled) + len(self.model.leased))

    @rule(count=COUNTS, looks=st.booleans())
    def open_graves(self, count: int, looks: bool) -> None:
        rows = self.graves.get_data(count, vis_timeout=-1 if looks else 0)
        assert len(rows) == min(count, len(self.model.dead))
        for id, row in rows.items():
            assert id in self.model.dead
            assert row[:3] == [id, "", self.model.values[id][0]]
            assert row[3]["failures"] == self.model.ended[id] == self.model.values[id][1]
        died = [row[3]["died_at"] for row in rows.values()]
        assert died == sorted(died)
        if not looks:
            self.model.dead = [id for id in self.model.dead if id not in rows]

    @rule()
    def delete_all(self) -> None:
        model = self.model
        assert self.queue.delete_all() == len(model.ready) + len(model.scheduled) + len(model.leased)
        model.ready, model.scheduled, model.leased = [], {}, {}

    @invariant()
    def redis_holds_what_the_model_holds(self) -> None:
        keys, model = self.queue.keys, self.model
        pipe = self.client.pipeline()
        pipe.lrange(keys.ready, 0, -1).hkeys(keys.messages)
        for key in (keys.scheduled, keys.leased, keys.dead):
            pipe.zrange(key, 0, -1)
        ready, messages, *places = pipe.execute()
        assert [id.decode() for id in ready] == model.ready
        held = [{id.decode() for id in place} for place in places]
        assert held == [set(model.scheduled), set(model.leased), set(model.dead)]
        assert {id.decode() for id in messages} == set(model.ready).union(*held)


@pytest.mark.timeout(180)
def test_a_data_queue_does_what_its_model_does(server: Server, redis_client: redis.Redis) -> None:
    app = App(url=server.url, prefix="test")
    machine = type("Machine", (DataQueue,), {"app": app})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    app.broker.close()
