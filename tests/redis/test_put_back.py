"""put_back.lua: what was taken for good is where it was, as it was."""

from __future__ import annotations

from typing import Any

import pytest

from rpqueue.protocol import views
from rpqueue.protocol.operation import run
from rpqueue.states import State
from tests.redis.calls import lease, purge
from tests.redis.harness import Queue

MINUTE = 60_000


def put_back(queue: Queue, place: str, *messages: tuple[str, str, str, int, str], number: int | None = None) -> Any:
    """Instants are since the queue's start."""
    words: list[Any] = []
    for id, message, counts, at, last in messages:
        words += [id, message, counts, at + queue.clock.start, last]
    return queue.call(
        "put_back", [queue.memo, *queue.index_keys], [number or queue.number(), queue.name, place, *words]
    )


@pytest.mark.any_server
@pytest.mark.parametrize("kind", ["tasks", "data"])
def test_what_was_taken_stands_at_the_head_again_in_order(queue: Queue, kind: str) -> None:
    queue = Queue(queue.client, kind=kind)
    queue.given(ready=["a", "b", "c"])
    before = queue.state()
    taken = lease(queue, 2, 0).items
    assert queue.state()["ready"] == ["c"]
    assert put_back(queue, "ready", *((id, message, "", 0, "") for id, _, message in taken)) == ["a", "b"]
    assert queue.state() == before
    assert queue.stats()["done"] == 0
    assert queue.wakes()[0]


def test_a_worker_is_woken_and_finds_the_queue(queue: Queue) -> None:
    queue.given(ready=["a"])
    [[_, _, message]] = lease(queue, 1, 0).items
    queue.sleep()
    put_back(queue, "ready", ("a", message, "2 0 0 0", 0, ""))
    assert queue.wakes() == (True, True)
    assert queue.index_is_exact()
    assert queue.state()["counts"] == {"a": "2 0 0 0"}


def test_a_dead_letter_is_dead_since_it_was_and_of_what(queue: Queue) -> None:
    queue.given(dead={"a": 5, "b": 7}, counts={"a": "2 1 0 0"}, errors={"a": "failed|{}", "b": "failed|{}"})
    before, message = queue.state(), queue.message("a")
    purge(queue, "dead", "a")
    assert put_back(queue, "dead", ("a", message, "2 1 0 0", 5, f"failed {queue.clock.start + 5}|{{}}")) == ["a"]
    assert queue.state() == before
    assert queue.stats()["purged"] == 0
    assert queue.wakes() == (False, False)


def test_sent_twice_it_puts_back_once(items: Queue) -> None:
    assert [put_back(items, "ready", ("a", "1 5|1", "", 0, ""), number=7) for _ in range(2)] == [["a"], ["a"]]
    assert items.state()["ready"] == ["a"]


def test_an_id_that_is_in_use_again_is_left_alone(items: Queue) -> None:
    items.given(leased={"a": (MINUTE, 2)})
    there = items.snapshot()
    assert put_back(items, "ready", ("a", "1 5|1", "", 0, "")) == []
    assert items.snapshot() == there


def test_the_flow_of_dead_letters_leaves_nothing_changed(queue: Queue) -> None:
    """What `taking_buried` took, `giving_back_buried` puts back: seen from outside, nothing has happened."""
    queue.given(
        dead={"a": 5, "b": 7, "c": 9},
        counts={"b": "3 1 1 0"},
        errors={id: f'failed|{{"type":"{id}"}}' for id in "abc"},
    )
    before = queue.state()

    def execute(operation: Any) -> Any:
        script = operation.script
        keys, args = list(operation.keys), list(operation.args)
        if script.memo_at is not None and operation.memo is not None:
            keys.insert(script.memo_at, queue.memo)
            args.insert(0, queue.number())
        return operation.read(queue.client.eval(script.source, len(keys), *keys, *args))

    letters = run(views.taking_buried([queue.keys], State.DEAD, 2), execute)
    assert [letter.where.id for letter in letters] == ["a", "b"]
    assert queue.state()["dead"] == {"c": 9}
    run(views.giving_back_buried(letters, State.DEAD), execute)
    after = queue.state()
    # The tokens of buried messages are not known; greater ones than before do as well.
    tries = {id: text.split()[1:] for id, text in after.pop("counts").items()}
    assert tries == {"a": ["0", "0", "0"], "b": ["1", "1", "0"]}
    assert before.pop("counts") == {"b": "3 1 1 0"}
    assert after == before
