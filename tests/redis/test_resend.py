"""Every script is sent twice, as redis-py does it when a reply was lost: nothing is done twice, and nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from rpqueue import App
from rpqueue.protocol import scripts, views
from tests.redis.cases import CHANGES, ELSEWHERE, ITEM_CHANGES, QUESTIONS, arrange, send
from tests.redis.harness import Queue
from tests.redis.proxy import Proxy

#: What changes no value here; a lock's time to live is none.
SEEMS_NOTHING = {"recall", "measure", "lock_refresh"}


def timeless(snapshot: dict[Any, Any]) -> dict[Any, Any]:
    """The same without the scores of sorted sets."""
    return {key: dict(value).keys() if key_is_scored(value) else value for key, value in snapshot.items()}


def key_is_scored(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], tuple)


def without_now(reply: Any) -> Any:
    """The same without Redis's clock."""
    return reply._replace(now=0.0) if hasattr(reply, "now") else reply


@pytest.mark.parametrize("name", [*CHANGES, *ITEM_CHANGES])
def test_what_is_sent_twice_is_done_once(queue: Queue, items: Queue, name: str) -> None:
    case = CHANGES.get(name) or ITEM_CHANGES[name]
    there = arrange(queue if name in CHANGES else items)
    operation = case.make(there)
    assert operation.script is not None
    assert operation.script.name == name.partition(":")[0]
    before = there.snapshot()
    first = send(there.client, operation)
    after = there.snapshot()
    again = send(there.client, operation)
    if case.instants:
        assert timeless(there.snapshot()) == timeless(after)
    else:
        assert there.snapshot() == after
    assert without_now(again) == without_now(first) or not case.reply
    assert (after != before) == (name not in SEEMS_NOTHING)
    there.state()


@pytest.mark.parametrize("name", CHANGES)
def test_a_reply_that_is_lost_twice_is_no_loss(proxied: App, proxy: Proxy, queue: Queue, name: str) -> None:
    operation = CHANGES[name].make(arrange(queue))
    proxied.broker.execute(views.sizes([queue.keys]))
    proxy.lose_every(1, most=2)
    proxied.broker.execute(operation)
    assert proxy.lost == 2
    queue.state()


def test_no_script_is_left_out() -> None:
    tried = {name.partition(":")[0] for name in (*CHANGES, *ITEM_CHANGES)} | QUESTIONS | set(ELSEWHERE)
    assert set(scripts.names()) <= tried, "say in this file how the script behaves when it is sent twice"
