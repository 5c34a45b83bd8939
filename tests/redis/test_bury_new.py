"""bury_new.lua: items put straight into the dead set."""

from __future__ import annotations

import pytest

from rpqueue.messages import header_tail
from tests.redis.harness import Queue


def bury(items: Queue, *pairs: tuple[str, str], number: int | None = None) -> int:
    words = [items.name, header_tail(2, 3, 1), "put", *(word for pair in pairs for word in pair)]
    now = items.call("bury_new", [items.memo, items.app.data_queues], [number or items.number(), *words])
    return items.since_start(now)


@pytest.mark.any_server
def test_items_are_dead_from_the_start(items: Queue) -> None:
    now = bury(items, ("a", "[]"), ("b", "2"))
    assert now == items.after()
    assert items.state() == {"dead": {"a": now, "b": now}, "errors": {"a": "put|", "b": "put|"}}
    assert items.message("a") == f"1 {items.clock.start + now} 2000 3 1|[]"
    assert items.stats() == {"seen": 2, "dead": 2}
    assert items.client.zrange(items.app.data_queues, 0, -1) == [b"mail"]


def test_sent_twice_it_buries_once(items: Queue) -> None:
    assert bury(items, ("a", "1"), number=5) == bury(items, ("a", "1"), number=5)
    assert items.stats() == {"seen": 1, "dead": 1}


@pytest.mark.parametrize("key", ["messages", "dead", "errors"])
def test_a_key_of_a_wrong_type_is_an_error_and_nothing_is_written(items: Queue, key: str) -> None:
    items.client.set(getattr(items.keys, key), "x", px=60_000)
    there = items.snapshot()
    with pytest.raises(Exception, match="WRONGTYPE"):
        bury(items, ("a", "1"))
    assert items.snapshot() == there
