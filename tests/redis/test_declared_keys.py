"""Scripts touch no key that is not among their KEYS: a Cluster, a proxy or an ACL could not know of it."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from rpqueue.protocol.operation import Stamp
from tests.redis.cases import CHANGES, ITEM_CHANGES, arrange, send
from tests.redis.harness import Queue


def touched(client: redis.Redis, operation: Any) -> set[str]:
    """The keys in the commands of a script, as the server tells them, while it runs."""
    told: set[str] = set()
    with client.monitor() as monitor:
        send(client, operation)
        client.echo("the end")
        for said in monitor.listen():
            if said["client_type"] == "lua" and not said["command"].startswith("PUBLISH "):
                told.update(word for word in said["command"].split(" ") if word.startswith("test:"))
            elif said["command"] == "ECHO the end":
                return told
    return told


@pytest.mark.one_server("it is told of commands by one server")
@pytest.mark.parametrize("name", [*CHANGES, *ITEM_CHANGES])
def test_a_script_touches_the_keys_that_it_declares_and_no_others(queue: Queue, items: Queue, name: str) -> None:
    case = CHANGES.get(name) or ITEM_CHANGES[name]
    operation = case.make(arrange(queue if name in CHANGES else items))
    number, *rest = operation.words(Stamp(b"sender", 7))
    declared = {word.decode() for word in rest[: int(number)] if isinstance(word, bytes)}
    found = touched(queue.client, operation)
    assert found, "nothing was touched, so nothing is shown"
    assert found <= declared
