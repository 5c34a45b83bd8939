"""cycle.lua: one round of a worker: what it claims, in which order, and what it says is left."""

from __future__ import annotations

import pytest

from rpqueue.messages import Flags
from tests.redis.calls import ack, cycle, enqueue
from tests.redis.harness import Queue

MINUTE = 60_000
TTL = 15_000
INF = float("inf")


@pytest.mark.any_server
def test_an_empty_round_writes_nothing_and_says_so(queue: Queue) -> None:
    reply = cycle(queue)
    assert queue.since_start(reply.now) == queue.after()
    assert reply[1:] == ([], [], 0, [], [], {}, [])
    assert list(queue.client.scan_iter()) == []


@pytest.mark.any_server
def test_ready_messages_are_claimed_first_in_first_out_for_the_ttl_of_the_worker(queue: Queue) -> None:
    queue.given(ready=["a", "b", "c"])
    reply = cycle(queue, wanted=2)
    expiry = queue.since_start(reply.now) + TTL
    assert reply.claimed == [[1, "a", 1, queue.message("a")], [1, "b", 1, queue.message("b")]]
    assert queue.state() == {"ready": ["c"], "leased": {"a": (expiry, 1), "b": (expiry, 1)}}
    assert queue.since_start(reply.due) == expiry
    assert reply.ready == ["mail", "inf"]
    assert queue.stats() == {"claimed": 2}


def test_a_first_delivery_writes_a_lease_and_nothing_beside_it(queue: Queue) -> None:
    queue.given(ready=["a"])
    cycle(queue)
    assert queue.lasting() == {"messages", "leased", "stats", "queues", "due_queues"}


@pytest.mark.parametrize(("own", "given"), [(0, TTL), (1, 1000), (15, TTL), (3600, TTL)])
def test_the_lease_is_the_messages_own_when_that_is_shorter(queue: Queue, own: int, given: int) -> None:
    queue.given(ready=["a"], lease=own, attempts=2)
    cycle(queue)
    assert queue.state()["leased"] == {"a": (queue.after(given), 1)}


@pytest.mark.any_server
def test_each_of_many_gets_the_lease_that_its_header_says(queue: Queue) -> None:
    for name, own in (("a", 0), ("b", 1), ("c", 3600), ("d", 2), ("e", 0), ("f", 1)):
        queue.given(ready=[name], lease=own)
    queue.client.hset(queue.keys.messages, "e", "1 17000000000x|1 1 1 0|")
    cycle(queue)
    ends = {"a": TTL, "b": 1000, "c": TTL, "d": 2000, "e": TTL, "f": 1000}
    assert queue.state()["leased"] == {name: (queue.after(ms), 1) for name, ms in ends.items()}


def test_with_nothing_wanted_only_the_hands_work_is_done(queue: Queue) -> None:
    queue.given(ready=["a"], scheduled={"b": -5})
    reply = cycle(queue, wanted=0)
    assert reply.claimed == []
    assert queue.state() == {"ready": ["a", "b"]}


@pytest.mark.any_server
def test_queues_are_served_in_the_order_of_the_call(queue: Queue) -> None:
    first, second = Queue(queue.client, "first", like=queue), Queue(queue.client, "second", like=queue)
    first.given(ready=["f1", "f2"])
    second.given(ready=["s1", "s2"])
    reply = cycle(second, queue, first, wanted=3)
    assert [lease[:3] for lease in reply.claimed] == [[1, "s1", 1], [1, "s2", 1], [3, "f1", 1]]
    assert first.state() == {"ready": ["f2"], "leased": {"f1": (first.after(TTL), 1)}}
    assert list(second.state()) == ["leased"]
    assert reply.ready == ["first", "inf"]


@pytest.mark.parametrize(
    ("counts", "tries"), [("1 0 0 0", {}), ("5 0 0 4", {}), ("3 2 0 0", {"a": 2}), ("7 2 1 3", {"a": 3})]
)
def test_a_worker_is_told_how_many_deliveries_went_wrong_before(queue: Queue, counts: str, tries: dict) -> None:
    queue.given(ready=["a", "b"], counts={"a": counts}, lease=60, attempts=9)
    for _ in ("sent", "sent again"):
        reply = cycle(queue, number=5)
        assert (reply.tries, reply.claimed[0][2]) == (tries, int(counts.split()[0]))


# ---- promote


def test_due_messages_are_promoted_earliest_first_behind_those_that_were_ready(queue: Queue) -> None:
    queue.given(ready=["r"], scheduled={"late": -1, "early": -900, "not yet": MINUTE})
    reply = cycle(queue)
    assert reply.ids == ["r", "early", "late"]
    assert queue.state()["scheduled"] == {"not yet": MINUTE}


def test_promotion_is_bounded_by_the_limit(queue: Queue) -> None:
    queue.given(scheduled={"a": -3, "b": -2, "c": -1})
    assert cycle(queue, limit=2).ids == ["a", "b"]
    assert queue.state()["scheduled"] == {"c": -1}


# ---- reap


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("message", "counts", "after"),
    [
        ({"lease": 60, "attempts": 2}, "1 0 0 0", {"ready": ["a"], "counts": {"a": "2 1 0 0"}}),
        ({"lease": 60, "attempts": 2}, "5 0 0 3", {"ready": ["a"], "counts": {"a": "6 1 0 3"}}),
        ({"lease": 60, "attempts": 2}, "2 1 0 0", {"failed": {"a": None}, "counts": {"a": "3 2 0 0"}}),
        ({"lease": 60, "attempts": 2}, "2 0 1 0", {"failed": {"a": None}, "counts": {"a": "3 1 1 0"}}),
        ({"lease": 60, "attempts": 1}, "1 0 0 0", {"failed": {"a": None}, "counts": {"a": "2 1 0 0"}}),
        ({"lease": 60, "flags": Flags.USE_DEAD}, "1 0 0 0", {"dead": {"a": None}, "counts": {"a": "2 1 0 0"}}),
        ({"lease": 0}, "1 0 0 0", {"lost": {"a": None}, "counts": {"a": "2 1 0 0"}}),
        ({"lease": 0, "attempts": 9, "flags": 1}, "1 0 0 0", {"lost": {"a": None}, "counts": {"a": "2 1 0 0"}}),
    ],
    ids=[
        "deliveries left",
        "interruptions are no deliveries",
        "none left",
        "a crash was one",
        "the only one",
        "the only one, dead-lettered",
        "at most once",
        "at most once whatever attempts and use_dead say",
    ],
)
def test_an_expired_lease_ends_in_another_delivery_or_a_grave(
    queue: Queue, message: dict, counts: str, after: dict
) -> None:
    queue.given(leased={"a": (-1, int(counts.split()[0]))}, counts={"a": counts}, **message)
    cycle(queue, wanted=0)
    grave = next((place for place in after if place in ("dead", "lost", "failed")), None)
    if grave:
        after = {**after, grave: {"a": queue.after()}, "errors": {"a": "expired|"}}
    assert queue.state() == after
    assert queue.stats() == {"expired": 1, **({grave: 1} if grave else {})}


def test_a_lease_that_ends_later_is_left_alone(queue: Queue) -> None:
    queue.given(leased={"a": (MINUTE, 1)}, lease=60, attempts=2)
    assert queue.since_start(cycle(queue).due) == MINUTE
    assert queue.state() == {"leased": {"a": (MINUTE, 1)}}


def test_reaping_is_bounded_by_the_limit(queue: Queue) -> None:
    queue.given(leased={"a": (-3, 1), "b": (-2, 1), "c": (-1, 1)}, lease=60, attempts=2)
    reply = cycle(queue, limit=2)
    assert reply.ids == ["a", "b"]
    assert queue.state()["leased"]["c"] == (-1, 1)
    assert queue.since_start(reply.due) == -1, "somebody has a hand to lend at once"


def test_an_expired_message_is_claimed_in_the_same_round_under_a_new_token(queue: Queue) -> None:
    queue.given(leased={"a": (-1, 1)}, lease=60, attempts=2)
    assert cycle(queue).claimed == [[1, "a", 2, queue.message("a")]]
    assert cycle(queue, done=["a"]).stale == [[1, "a"]], "the old holder's ack comes too late"
    assert queue.state() == {"leased": {"a": (queue.since_start(cycle(queue).due), 2)}, "counts": {"a": "2 1 0 0"}}


def test_of_the_failed_only_the_newest_are_kept(queue: Queue) -> None:
    queue.given(failed={"old": -3, "older": -4, "new": -2}, counts={"older": "2 1 0 0"}, lease=60)
    queue.given(leased={"a": (-1, 1)}, lease=60)
    cycle(queue, keep=2)
    assert queue.state() == {
        "failed": {"new": -2, "a": queue.after()},
        "counts": {"a": "2 1 0 0"},
        "errors": {"new": "failed|", "a": "expired|"},
    }


def test_with_none_to_keep_a_failed_message_leaves_nothing_behind(queue: Queue) -> None:
    queue.given(leased={"a": (-1, 2)}, lease=60)
    cycle(queue, keep=0)
    assert queue.state() == {}
    assert queue.stats() == {"expired": 1, "failed": 1}


# ---- bounds and oddities


def test_ids_whose_message_is_gone_are_buried_and_those_behind_are_claimed(queue: Queue) -> None:
    queue.given(ready=["a", "b"], counts={"b": "3 1 0 0"})
    queue.client.hdel(queue.keys.messages, "a")
    reply = cycle(queue, wanted=1)
    assert (reply.ids, reply.claimed[0][2], reply.tries) == (["b"], 3, {"b": 1})
    state = queue.state()
    assert list(state["leased"]) == ["b"]
    assert (state["dead"], state["errors"]) == ({"a": queue.after()}, {"a": "missing|"})


def test_an_id_that_is_ready_twice_is_claimed_once(queue: Queue) -> None:
    queue.given(ready=["a", "b", "c"], counts={"b": "3 1 0 0", "c": "4 0 1 0"})
    queue.client.rpush(queue.keys.ready, "b", "a")
    reply = cycle(queue)
    assert [lease[1:3] for lease in reply.claimed] == [["a", 1], ["b", 3], ["c", 4]]
    assert reply.tries == {"b": 1, "c": 1}
    assert sorted(queue.state()["leased"]) == ["a", "b", "c"]


def test_an_id_that_is_ready_while_it_is_leased_stays_with_its_holder(queue: Queue) -> None:
    queue.given(ready=["b"], leased={"a": (MINUTE, 7)}, counts={"b": "3 1 0 0"})
    queue.client.lpush(queue.keys.ready, "a")
    reply = cycle(queue)
    assert [lease[1:3] for lease in reply.claimed] == [["b", 3]]
    assert queue.state()["leased"] == {"a": (MINUTE, 7), "b": (queue.after(15_000), 3)}
    queue.client.rpush(queue.keys.ready, "a")
    assert cycle(queue).claimed == []


def test_counts_that_cannot_be_read_count_as_none(queue: Queue) -> None:
    queue.given(ready=["a", "b"], leased={"c": (-1, 1)}, counts={"a": "nonsense", "b": "\0"}, lease=60, attempts=5)
    queue.client.hset(queue.keys.counts, "c", "-1 x")
    assert [lease[1:3] for lease in cycle(queue).claimed] == [["a", 1], ["b", 1], ["c", 2]]


def test_an_instant_that_no_number_holds_is_far_away(queue: Queue) -> None:
    queue.given(ready=["a"])
    queue.client.zadd(queue.keys.scheduled, {"s": 1e300})
    assert cycle(queue, wanted=0).due == 2**53
    queue.client.zadd(queue.app.due_queues, {"mail": 1e300, "other": 1e300})
    assert cycle(queue, wanted=0, indexed=0).due == 2**53
    queue.client.delete(queue.keys.scheduled)
    assert cycle(queue, wanted=0).due == 2**53


def test_a_message_with_an_unreadable_header_reaches_the_worker_as_it_is(queue: Queue) -> None:
    queue.given(ready=["a", "b"])
    queue.client.hset(queue.keys.messages, "a", "9 new|[]")
    reply = cycle(queue)
    assert reply.claimed[0] == [1, "a", 1, "9 new|[]"]
    assert reply.ids == ["a", "b"]


def test_a_thousand_messages_in_one_round(queue: Queue) -> None:
    ids = [f"id{n:04}" for n in range(1000)]
    queue.given(ready=ids)
    assert cycle(queue, wanted=1000).ids == ids
    assert cycle(queue, done=ids).stale == []
    assert queue.state() == {}


def test_hostile_names_and_ids_stay_apart(queue: Queue) -> None:
    names = ["{x}", "}", "a:b", "a%3Ab", "*", "nul\0", "ü€", "q" * 200]
    queues = [Queue(queue.client, name, like=queue) for name in names]
    for each in queues:
        enqueue(each, {f"{each.name} id|{{}}": "1"})
    reply = cycle(*queues)
    assert [lease[1] for lease in reply.claimed] == [f"{name} id|{{}}" for name in names]
    for each in queues:
        assert ack(each, (f"{each.name} id|{{}}", 1)) == [f"{each.name} id|{{}}"]
        assert each.state() == {}


@pytest.mark.any_server
def test_a_lease_that_only_a_death_can_end_counts_as_a_crash(queue: Queue) -> None:
    queue.given(leased={"a": (-1, 1)}, lease=60, flags=Flags.RECOVER)
    cycle(queue, wanted=0)
    assert queue.state() == {"ready": ["a"], "counts": {"a": "2 0 1 0"}}
