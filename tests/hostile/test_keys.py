"""Keys of a wrong type: the worker lives, other queues go on, and the queue itself does when the key is mended."""

from __future__ import annotations

import pytest

from rpqueue.errors import RedisUnsuitable
from rpqueue.inspection import Inspection
from rpqueue.keys import QUEUE_KINDS, AppKeys
from tests.hostile.hand import Hand
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench

#: Without these nothing of the queue can be delivered.
VITAL = {"messages", "ready", "scheduled", "leased", "counts"}


@pytest.mark.parametrize("queues", [None, ["default", "other"]], ids=["all queues", "named queues"])
@pytest.mark.parametrize("kind", [*QUEUE_KINDS, "wake"])
def test_a_queue_with_a_spoilt_key_waits_and_the_others_go_on(
    bench: Bench, hand: Hand, kind: str, queues: list[str] | None
) -> None:
    note = bench.task("note")
    boom = bench.task("boom", vis_timeout=60, attempts=1, use_dead=True)
    keys = hand.keys()
    bench.client.hset(keys.counts, "there", "1 0 0 0")  # so that counts are looked at
    note.execute("early", _queue="other")
    note.execute("waits")
    boom.execute("fails")
    kept = hand.spoil(getattr(keys, kind))
    worker = bench.start(queues=queues)
    bench.until_noted("ran", "early")
    for number in range(5):
        note.execute(number, _queue="other")
    bench.until_noted("ran", 4)
    if kind in VITAL:
        assert not bench.notes("ran", "waits")
        wait_until(lambda: "queue 'default' is passed over" in worker.log, SOON, "it is said")
        look = Inspection(bench.app)
        with pytest.raises(RedisUnsuitable, match="holds what rpqueue did not write"):
            look.page("default") if kind in ("messages", "counts") else look.queues()
    else:
        bench.until_noted("ran", "waits")
        bench.until_noted("start", "fails")
    child = worker.child()
    hand.mend(getattr(keys, kind), kept)
    bench.until_noted("ran", "waits")
    note.execute("last")
    bench.until_noted("ran", "last")
    wait_until(lambda: bench.ids("dead"), SOON, "the failed one is dead")
    assert worker.child() == child
    assert len(bench.notes("ran", "waits")) == 1
    assert worker.stop() == 0


@pytest.mark.parametrize("kind", [name for name in AppKeys._fields if name != "stem"])
def test_a_worker_goes_on_while_a_key_of_the_app_is_spoilt(bench: Bench, hand: Hand, kind: str) -> None:
    note = bench.task("note")
    worker = bench.start(ready=False)
    note.execute("before")
    bench.until_noted("ran", "before")
    key = getattr(bench.app.keys.app, kind)
    hand.spoil(key)
    for number in range(3):
        note.execute(number)
        bench.until_noted("ran", number)
    bench.client.delete(key)
    for number in range(3, 6):
        note.execute(number)
        bench.until_noted("ran", number)
    assert bench.labels() == ["before", *range(6)]
    assert worker.stop() == 0


def test_other_duties_are_done_while_one_is_refused(bench: Bench, hand: Hand) -> None:
    bench.client.set(bench.app.keys.app.registry, "somebody else's", ex=600)
    bench.client.set(bench.app.keys.app.workers, "somebody else's", ex=600)
    bench.task("note")
    bench.periodic("tick", 0.2, low_delay_okay=True)
    hold = bench.task("nap")
    worker = bench.start(ready=False, threads=2, worker_ttl=1.0)
    bench.until_noted("tick", number=3)
    # Its lease is kept by the supervisor, beside the beat that cannot be written.
    hold.execute("long", 3.0)
    bench.until_noted("end", "long")
    bench.until_empty()
    assert bench.stats().get("stale", 0) == 0
    assert "a duty cannot be done" in worker.log


def test_an_enqueue_that_is_refused_has_put_nothing(bench: Bench, hand: Hand) -> None:
    note = bench.task("note")
    keys = hand.keys()
    for kind in ("messages", "ready"):
        bench.client.delete(keys.messages, keys.ready)
        hand.spoil(getattr(keys, kind))
        with pytest.raises(RedisUnsuitable, match="holds what rpqueue did not write"):
            note.execute("x")
        other = keys.ready if kind == "messages" else keys.messages
        assert not bench.client.exists(other)
