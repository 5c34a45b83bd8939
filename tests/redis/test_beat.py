"""beat.lua: workers say that they are alive, and the silent are forgotten."""

from __future__ import annotations

import pytest

from tests.redis.harness import Queue

MINUTE = 60_000


def beat(queue: Queue, *workers: tuple[str, str], forget_after: int = MINUTE) -> tuple[int, int | None]:
    """Now, and the last beat that was there."""
    now, last = queue.run(
        "beat", [queue.app.workers, queue.app.beats], [forget_after, *(word for worker in workers for word in worker)]
    )
    return queue.since_start(now), last and queue.since_start(last)


def beats(queue: Queue) -> dict[str, int]:
    said = {
        id.decode(): queue.since_start(at) for id, at in queue.client.zrange(queue.app.beats, 0, -1, withscores=True)
    }
    assert set(said) == {id.decode() for id in queue.client.hgetall(queue.app.workers)}
    return said


@pytest.mark.any_server
def test_a_beat_is_kept_with_its_instant(queue: Queue) -> None:
    for _ in ("sent", "sent again"):
        now, _ = beat(queue, ("w1", '{"pid":1}'), ("w2", "{}"))
        assert now == queue.after()
        assert beats(queue) == {"w1": now, "w2": now}
    assert queue.client.hget(queue.app.workers, "w1") == b'{"pid":1}'


def test_a_beat_tells_the_last_one_of_the_same_workers(queue: Queue) -> None:
    assert beat(queue, ("w1", "{}"), ("w2", "{}"))[1] == 0
    first, _ = beat(queue, ("w2", "{}"))
    assert beat(queue, ("w3", "{}"))[1] == 0
    assert beat(queue, ("w1", "{}"), ("w2", "{}"))[1] == first
    assert beat(queue)[1] == 0
    leaving, _ = beat(queue, ("w1", ""))
    assert beat(queue, ("w1", ""))[1] == 0
    assert leaving >= first


def test_who_leaves_is_forgotten_at_once(queue: Queue) -> None:
    beat(queue, ("w1", "{}"), ("w2", "{}"))
    beat(queue, ("w1", ""), ("unknown", ""))
    assert list(beats(queue)) == ["w2"]


def test_who_is_silent_for_long_is_forgotten(queue: Queue) -> None:
    for id, at in (("gone", -MINUTE - 1), ("late", -1000)):
        queue.client.hset(queue.app.workers, id, "{}")
        queue.client.zadd(queue.app.beats, {id: queue.clock.start + at})
    beat(queue)
    assert list(beats(queue)) == ["late"]
