"""lock_release.lua: a lock is given back by its holder."""

from __future__ import annotations

import pytest

from rpqueue.keys import Keys
from tests.redis.harness import Queue

LOCK = Keys("test").lock("door")


@pytest.mark.any_server
@pytest.mark.parametrize(("holder", "reply"), [("mine", 1), ("other", 0), (None, 0)])
def test_only_the_holder_releases_it(queue: Queue, holder: str | None, reply: int) -> None:
    if holder:
        queue.client.set(LOCK, holder, px=5000)
    assert queue.run("lock_release", [LOCK], ["mine"]) == reply
    assert queue.client.get(LOCK) == (b"other" if holder == "other" else None)


def test_sent_twice_it_takes_nothing_from_the_next_holder(queue: Queue) -> None:
    queue.client.set(LOCK, "mine", px=5000)
    queue.run("lock_release", [LOCK], ["mine"])
    queue.client.set(LOCK, "next", px=5000)
    assert queue.run("lock_release", [LOCK], ["mine"]) == 0
    assert queue.client.get(LOCK) == b"next"
