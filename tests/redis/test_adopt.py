"""adopt.lua: messages leave the keys of 0.33 and enter a queue, or stay where they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from rpqueue.protocol.adoption import OldQueue, old_queue
from tests.redis.harness import Queue

pytestmark = pytest.mark.one_server("0.33 knew no cluster")

PREFIX = b"test-old:"


class Old:
    """What 0.33 has of a queue."""

    def __init__(self, queue: Queue) -> None:
        self.queue, self.client = queue, queue.client
        self.keys: OldQueue = old_queue(PREFIX, queue.name.encode(), "tasks" if queue.kind == "tasks" else "data")

    def given(self, *ids: str) -> None:
        for id in ids:
            self.client.hset(self.keys.messages, id, f"old {id}")

    def adopt(self, source: str, *rows: tuple[str, str, str], place: bytes | None = None, dry: bool = False) -> Any:
        """Rows are verb, entry and new message; the old message is as `given` writes it."""
        queue = self.queue
        places = {"scheduled": self.keys.scheduled, "invisible": self.keys.invisible, "nowhere": self.keys.messages}
        keys = [
            *[queue.memo, queue.keys.schedules, self.keys.messages],
            *[place or places.get(source, self.keys.ready[-1]), self.keys.scheduled, self.keys.invisible],
            *[self.keys.recurring, self.keys.ready[0], self.keys.ready[-1]],
            *(queue.index_keys or (queue.app.data_queues,)),
        ]
        words: list[Any] = [queue.number(), queue.name, source, int(dry)]
        for verb, entry, message in rows:
            words += [verb, entry, hashlib.sha1(f"old {entry}".encode()).hexdigest(), entry, message]
        return queue.call("adopt", keys, words)

    def left(self) -> set[str]:
        """Ids that the old keys still have messages of."""
        return {field.decode() for field in self.client.hkeys(self.keys.messages)}


@pytest.fixture
def old(queue: Queue) -> Iterator[Old]:
    yield Old(queue)
    queue.client.delete(*queue.client.keys(PREFIX + b"*") or [b"-"])


@pytest.mark.any_server
def test_ready_ones_go_behind_what_is_ready_in_order(queue: Queue, old: Old) -> None:
    queue.given(ready=["z"])
    old.given("a", "b")
    old.client.rpush(old.keys.ready[1], "a", "b")
    assert old.adopt("list", ("move", "a", "1 5|1"), ("move", "b", "1 5|2")) == ["ready", "ready"]
    state = queue.state()
    assert state["ready"] == ["z", "a", "b"]
    assert queue.message("b") == "1 5|2"
    assert set(state["counts"]) == {"a", "b"}  # no UUIDs, so they may have been used before
    assert (old.left(), old.client.exists(old.keys.ready[1])) == (set(), 0)
    assert queue.stats() == {"seen": 2}
    assert queue.wakes() == (True, True)
    assert queue.index_is_exact()


@pytest.mark.any_server
@pytest.mark.parametrize(("source", "place"), [("scheduled", "scheduled"), ("invisible", "leased")])
def test_instants_stay(queue: Queue, old: Old, source: str, place: str) -> None:
    at = queue.clock.start + 5000
    old.given("a")
    old.client.zadd(getattr(old.keys, source), {"a": at / 1000})
    assert old.adopt(source, ("move", "a", "1 5|1")) == [place]
    assert list(queue.state()[place]) == ["a"]
    assert abs((queue.client.zscore(getattr(queue.keys, place), "a") or 0) - at) < 1
    assert (old.left(), old.client.exists(getattr(old.keys, source))) == (set(), 0)
    assert queue.index_is_exact()


def test_one_that_is_leased_is_not_ready_though_it_stands_in_the_list(queue: Queue, old: Old) -> None:
    old.given("a")
    old.client.rpush(old.keys.ready[1], "a")
    old.client.zadd(old.keys.invisible, {"a": queue.clock.start / 1000 + 5})
    assert old.adopt("list", ("move", "a", "1 5|1")) == ["changed"]
    assert queue.state() == {}
    assert old.left() == {"a"}


@pytest.mark.parametrize("place", ["list", "scheduled", "invisible"])
def test_nowhere_means_in_no_place(queue: Queue, old: Old, place: str) -> None:
    old.given("a", "b")
    if place == "list":
        old.client.rpush(old.keys.ready[0], "a")
    else:
        old.client.zadd(getattr(old.keys, place), {"a": 1})
    assert old.adopt("nowhere", ("move", "a", "1 5|1"), ("move", "b", "1 5|2")) == ["changed", "ready"]
    assert queue.state()["ready"] == ["b"]


def test_what_has_changed_since_it_was_read_stays(queue: Queue, old: Old) -> None:
    old.given("a")
    old.client.rpush(old.keys.ready[1], "a", "b")
    old.client.hset(old.keys.messages, "a", "new")
    rows = ("move", "a", "1 5|1"), ("slot", "a", "1"), ("move", "b", "1 5|1"), ("empty", "a", "")
    assert old.adopt("list", *rows) == ["changed"] * 4
    assert queue.state() == {}
    assert old.client.lrange(old.keys.ready[1], 0, -1) == [b"a", b"b"]


@pytest.mark.parametrize(
    ("given", "message", "answer"),
    [
        ({"ready": ["a"]}, '1 5|"a"', "same"),
        ({"leased": {"a": (9000, 1)}}, '1 5|"a"', "same"),
        ({"ready": ["a"]}, '1 5|"b"', "taken"),
        ({"dead": {"a": -1}}, '1 5|"a"', "taken"),
        ({"lost": {"a": -1}}, '1 5|"a"', "taken"),
        ({"failed": {"a": -1}}, '1 5|"a"', "taken"),
    ],
)
def test_an_id_that_the_queue_has_is_not_overwritten(
    queue: Queue, old: Old, given: dict[str, Any], message: str, answer: str
) -> None:
    queue.given(**given)
    before = queue.state()
    old.given("a")
    old.client.rpush(old.keys.ready[1], "a")
    assert old.adopt("list", ("move", "a", message)) == [answer]
    assert queue.state() == before
    assert old.left() == (set() if answer == "same" else {"a"})


def test_a_spent_one_is_buried_with_a_reason(queue: Queue, old: Old) -> None:
    old.given("a", "b")
    old.client.rpush(old.keys.ready[1], "a", "b")
    assert old.adopt("list", ("spent", "a", "1 5|1"), ("spent", "b", "1 5|2")) == ["dead", "dead"]
    state = queue.state()
    assert list(state["dead"]) == ["a", "b"]
    assert state["errors"] == {"a": "expired|", "b": "expired|"}
    assert queue.stats() == {"seen": 2, "dead": 2}


def test_dead_letters_keep_their_order_behind_those_that_are_there(queue: Queue, old: Old) -> None:
    queue.given(dead={"z": 60_000})
    for letter in ("a", "b"):
        old.client.rpush(old.keys.ready[1], letter)
    assert old.adopt("list", ("bury", "a", "1 5|1"), ("bury", "b", "1 5|2")) == ["dead", "dead"]
    assert [id.decode() for id in queue.client.zrange(queue.keys.dead, 0, -1)] == ["z", "a", "b"]
    assert old.client.exists(old.keys.ready[1]) == 0


def test_a_dead_letter_is_buried_once(queue: Queue, old: Old) -> None:
    old.client.rpush(old.keys.ready[1], "a", "a", "b")
    rows = ("bury", "a", "1 5|1"), ("bury", "a", "1 5|1"), ("bury", "a", "1 5|1"), ("bury", "b", "1 5|1")
    assert old.adopt("list", *rows[:3]) == ["dead", "same", "changed"]
    assert old.adopt("list", ("bury", "b", "1 5|1")) == ["dead"]
    queue.state()


def test_a_slot_is_set_unless_there_is_one(queue: Queue, old: Old) -> None:
    old.given("a", "b")
    old.client.zadd(old.keys.scheduled, {"a": 7, "b": 7})
    queue.client.hset(queue.keys.schedules, "b", "5")
    assert old.adopt("scheduled", ("slot", "a", "7000"), ("slot", "b", "7000")) == ["slot", "slot"]
    assert queue.client.hgetall(queue.keys.schedules) == {b"a": b"7000", b"b": b"5"}
    assert (old.left(), old.client.exists(old.keys.scheduled)) == (set(), 0)


def test_ids_without_message_are_taken_out(queue: Queue, old: Old) -> None:
    old.client.rpush(old.keys.ready[1], "a", "b", "a")
    assert old.adopt("list", ("empty", "a", "")) == ["empty"]
    assert old.client.lrange(old.keys.ready[1], 0, -1) == [b"b", b"a"]


def test_a_dry_run_answers_the_same_and_writes_nothing(queue: Queue, old: Old) -> None:
    old.given("a", "b", "c")
    old.client.rpush(old.keys.ready[1], "a", "b", "c", "gone")
    rows = ("move", "a", "1 5|1"), ("spent", "b", "1 5|1"), ("slot", "c", "7"), ("empty", "gone", "")
    before = queue.snapshot()
    told = old.adopt("list", *rows, dry=True)
    assert queue.snapshot() == before
    assert old.adopt("list", *rows) == told == ["ready", "dead", "slot", "empty"]


def test_items_are_listed_among_data_queues(items: Queue) -> None:
    old = Old(items)
    old.given("a")
    old.client.rpush(old.keys.ready[0], "a")
    assert old.adopt("list", ("move", "a", "1 5|1")) == ["ready"]
    assert items.state()["ready"] == ["a"]
    assert items.client.zrange(items.app.data_queues, 0, -1) == [b"mail"]


@pytest.mark.parametrize("kind", ["ready", "scheduled", "leased", "dead", "errors", "messages"])
def test_a_key_of_a_wrong_type_is_refused_before_anything_is_written(queue: Queue, old: Old, kind: str) -> None:
    old.given("a")
    old.client.rpush(old.keys.ready[1], "a")
    key = getattr(queue.keys, kind)
    queue.client.set(key, "x")
    before = queue.snapshot()
    with pytest.raises(redis.ResponseError, match=r"WRONGTYPE|wrong kind"):
        old.adopt("list", ("move", "a", "1 5|1"))
    assert queue.snapshot() == before
    queue.client.delete(key)
