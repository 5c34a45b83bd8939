"""lock_refresh.lua: a held lock ends later."""

from __future__ import annotations

import pytest

from rpqueue.keys import Keys
from tests.redis.harness import Queue

LOCK = Keys("test").lock("door")


@pytest.mark.any_server
@pytest.mark.parametrize(("holder", "reply"), [("mine", 1), ("other", 0), (None, 0)])
def test_only_the_holder_refreshes_it(queue: Queue, holder: str | None, reply: int) -> None:
    if holder:
        queue.client.set(LOCK, holder, px=5000)
    for _ in range(2):
        assert queue.run("lock_refresh", [LOCK], ["mine", 60_000]) == reply
    assert queue.client.get(LOCK) == (holder and holder.encode())
    assert (queue.client.pttl(LOCK) > 50_000) == bool(reply)
