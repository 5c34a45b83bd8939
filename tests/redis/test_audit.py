"""audit.lua: what is wrong in a part of a place."""

from __future__ import annotations

import pytest

from rpqueue.protocol.checkups import PLACES, Part, Place, audit
from tests.redis.harness import Queue, run


def part(queue: Queue, place: Place, from_: str = "0", count: int = 100) -> Part:
    operation = audit(queue.keys, place, from_, count)
    return operation.read(run(queue.client, "audit", operation.keys, operation.args))


def everywhere(queue: Queue) -> Queue:
    queue.given(ready=["r", "s"], scheduled={"c": 5000}, leased={"l": (9000, 2)}, parked={"p": "t"})
    return queue.given(dead={"d": 0}, lost={"o": 0}, failed={"f": 0})


@pytest.mark.any_server
@pytest.mark.parametrize("place", [*PLACES, "counts", "errors"])
def test_where_all_is_well_nothing_is_wrong(queue: Queue, place: Place) -> None:
    found = part(everywhere(queue), place)
    assert found == ("0", [])


@pytest.mark.any_server
@pytest.mark.parametrize("place", PLACES)
def test_an_id_without_message_is_wrong(queue: Queue, place: Place) -> None:
    everywhere(queue)
    gone = {"ready": "r", "scheduled": "c", "leased": "l", "dead": "d", "lost": "o", "failed": "f", "parked": "p"}[
        place
    ]
    queue.client.hdel(queue.keys.messages, gone)
    assert part(queue, place).wrong == [gone]


@pytest.mark.any_server
@pytest.mark.parametrize("place", PLACES)
def test_an_id_that_stands_elsewhere_too_is_wrong(queue: Queue, place: Place) -> None:
    everywhere(queue)
    one = {"ready": "r", "scheduled": "c", "leased": "l", "dead": "d", "lost": "o", "failed": "f", "parked": "p"}[place]
    queue.client.zadd(queue.keys.leased if place != "leased" else queue.keys.dead, {one: 5})
    assert part(queue, place).wrong == [one]


@pytest.mark.any_server
def test_a_message_in_no_place_is_wrong_and_so_may_be_a_ready_one(queue: Queue) -> None:
    everywhere(queue)
    queue.client.hset(queue.keys.messages, "n", "1 5|1")
    assert sorted(part(queue, "messages").wrong) == ["n", "r", "s"]


@pytest.mark.parametrize("place", ["counts", "errors"])
def test_what_is_left_of_a_message_that_is_gone_is_wrong(queue: Queue, place: Place) -> None:
    everywhere(queue)
    queue.client.hset(getattr(queue.keys, place), "n", "1 0 0 0")
    assert part(queue, place).wrong == ["n"]


def test_ready_ones_are_looked_at_from_the_end_in_parts(queue: Queue) -> None:
    queue.given(ready=[f"{number:02}" for number in range(25)])
    queue.client.hdel(queue.keys.messages, *(f"{number:02}" for number in range(25)))
    assert part(queue, "ready", count=10) == ("10", [f"{number:02}" for number in range(15, 25)])
    # What is popped at the other end meanwhile does not hide what stays.
    queue.client.lpop(queue.keys.ready, 5)
    assert part(queue, "ready", "10", 10) == ("0", [f"{number:02}" for number in range(5, 15)])


@pytest.mark.any_server
@pytest.mark.parametrize("place", ["messages", "dead", "errors"])
def test_a_large_place_is_gone_through_in_parts(queue: Queue, place: Place) -> None:
    queue.given(dead={f"{number:05}": number for number in range(3000)})
    queue.client.zadd(queue.keys.dead, {"extra": 1})
    queue.client.hset(queue.keys.messages, "nowhere", "1 5|1")
    queue.client.hset(queue.keys.errors, "left", "|")
    wrong: set[str] = set()
    on, calls = "0", 0
    while True:
        found = part(queue, place, on, 100)
        wrong.update(found.wrong)
        calls += 1
        on = found.on
        if on == "0":
            break
    assert calls > 10
    assert wrong == {{"messages": "nowhere", "dead": "extra", "errors": "left"}[place]}


@pytest.mark.one_server("it configures one")
def test_a_small_hash_with_many_fields_comes_whole(queue: Queue) -> None:
    queue.client.config_set("hash-max-listpack-entries", 5000)
    try:
        queue.given(dead={f"{number:05}": number for number in range(3000)})
        queue.client.hset(queue.keys.messages, "nowhere", "1 5|1")
        assert part(queue, "messages", count=10).wrong == ["nowhere"]
    finally:
        queue.client.config_set("hash-max-listpack-entries", 512)
