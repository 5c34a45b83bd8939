"""A key that holds something else than rpqueue put there: an error, and the call has changed nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.redis import calls
from tests.redis.harness import Queue

MINUTE = 60_000

#: The call, and the keys whose type it finds out before it writes.
CALLS: dict[str, tuple[Callable[[Queue], Any], str]] = {
    "enqueue": (lambda queue: calls.enqueue(queue, {"n": "1"}), "messages ready"),
    "enqueue for later": (
        lambda queue: calls.enqueue(queue, {"n": "1"}, delay=5000),
        "messages ready scheduled leased",
    ),
    "enqueue a chosen id": (
        lambda queue: calls.enqueue(queue, {"n": "1"}, chosen=True),
        "messages ready scheduled leased",
    ),
    "cycle": (lambda queue: calls.cycle(queue, done=["l"]), "leased counts"),
    "ack": (lambda queue: calls.ack(queue, ("l", 1)), "leased counts"),
    "extend": (lambda queue: calls.extend(queue, 5000, ("l", 1, 0)), "leased counts"),
    "fail": (lambda queue: calls.fail(queue, "l", 1), "leased counts"),
    "release": (lambda queue: calls.release(queue, ("l", 1, "crashed")), "leased counts"),
    "park": (lambda queue: calls.park(queue, ("l", 1, "t")), "leased counts"),
    "unpark": (lambda queue: calls.unpark(queue, "p"), "parked"),
    "redrive": (lambda queue: calls.redrive(queue, "dead"), "dead"),
    "cancel": (lambda queue: calls.cancel(queue, "s"), "scheduled"),
}
CASES = [(name, key) for name, (_, keys) in CALLS.items() for key in keys.split()]


@pytest.mark.parametrize(("name", "key"), CASES)
def test_an_error_and_nothing_written(queue: Queue, name: str, key: str) -> None:
    queue.given(
        ready=["r"],
        scheduled={"s": MINUTE},
        leased={"l": (MINUTE, 1)},
        parked={"p": "t"},
        dead={"d": 0},
        counts={"d": "2 1 0 0"},
        lease=60,
        attempts=5,
    )
    spoilt = getattr(queue.keys, key)
    queue.client.delete(spoilt)
    queue.client.set(spoilt, "somebody else's", px=MINUTE)
    there = queue.snapshot()
    with pytest.raises(redis.exceptions.ResponseError, match="WRONGTYPE"):
        CALLS[name][0](queue)
    assert queue.snapshot() == there
