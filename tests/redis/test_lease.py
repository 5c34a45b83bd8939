"""lease.lua: items of a data queue are leased, or taken for good."""

from __future__ import annotations

import pytest

from rpqueue.messages import Flags
from tests.redis.calls import ack, enqueue, fail, lease, release, rows
from tests.redis.harness import Queue

MINUTE = 60_000


@pytest.mark.any_server
def test_the_oldest_items_are_leased_in_order(items: Queue) -> None:
    items.given(ready=["a", "b", "c"])
    haul = lease(items, 2, MINUTE)
    expiry = items.since_start(haul.now) + MINUTE
    assert haul.items == [["a", 1, items.message("a")], ["b", 1, items.message("b")]]
    assert items.since_start(haul.due) == expiry
    assert items.state() == {"ready": ["c"], "leased": {"a": (expiry, 1), "b": (expiry, 1)}}
    assert items.stats() == {"claimed": 2}


@pytest.mark.any_server
def test_without_a_lease_items_are_gone(items: Queue) -> None:
    items.given(ready=["a", "b"])
    taken = items.message("a")
    haul = lease(items, 1, 0)
    assert haul.items == [["a", 1, taken]]
    assert haul.due == 0
    assert items.state() == {"ready": ["b"]}
    assert items.stats() == {"claimed": 1, "done": 1}


def test_an_empty_queue_gives_nothing_and_writes_nothing(items: Queue) -> None:
    haul = lease(items, 5, MINUTE)
    assert (haul.items, haul.due) == ([], 0)
    assert items.since_start(haul.now) == items.after()
    assert items.client.keys() == []


def test_it_says_when_something_becomes_ready_by_itself(items: Queue) -> None:
    items.given(scheduled={"a": MINUTE, "b": 2 * MINUTE}, leased={"c": (90_000, 1)})
    assert items.since_start(lease(items, 5, MINUTE).due) == MINUTE
    items.given(leased={"d": (30_000, 1)})
    assert items.since_start(lease(items, 5, MINUTE).due) == 30_000


def test_the_messages_own_lease_does_not_cap_what_a_consumer_asks_for(items: Queue) -> None:
    items.given(ready=["a"], lease=1)
    haul = lease(items, 1, MINUTE)
    assert items.state() == {"leased": {"a": (items.since_start(haul.now) + MINUTE, 1)}}


def test_due_items_come_after_those_that_were_ready_the_earliest_first(items: Queue) -> None:
    items.given(ready=["r"], scheduled={"late": -1, "early": -1000, "later": MINUTE})
    assert lease(items, 9, MINUTE).ids == ["r", "early", "late"]
    assert items.state()["scheduled"] == {"later": MINUTE}


def test_expired_leases_come_back_with_a_new_token(items: Queue) -> None:
    items.given(leased={"b": (-1, 1), "a": (-2, 1)}, attempts=3)
    haul = lease(items, 9, MINUTE)
    assert [(id, token) for id, token, _ in haul.items] == [("a", 2), ("b", 2)]
    assert items.state()["counts"] == {"a": "2 1 0 0", "b": "2 1 0 0"}
    assert items.stats() == {"claimed": 2, "expired": 2}


def test_promotion_and_reaping_are_bounded_by_the_limit(items: Queue) -> None:
    items.given(
        scheduled={"s1": -3, "s2": -2, "s3": -1}, leased={"l1": (-3, 1), "l2": (-2, 1), "l3": (-1, 1)}, attempts=9
    )
    assert lease(items, 100, MINUTE, limit=2).ids == ["s1", "s2", "l1", "l2"]
    state = items.state()
    assert (state["scheduled"], state["leased"]["l3"]) == ({"s3": -1}, (-1, 1))


@pytest.mark.any_server
@pytest.mark.parametrize(("flags", "end"), [(0, None), (Flags.USE_DEAD, "dead")], ids=["dropped", "dead-lettered"])
def test_an_item_has_exactly_as_many_deliveries_as_attempts(items: Queue, flags: int, end: str | None) -> None:
    enqueue(items, {"a": "1"}, attempts=3, flags=flags)
    tokens = []
    for _ in range(3):
        [[_, token, _]] = lease(items, 1, MINUTE).items
        tokens.append(token)
        items.client.zadd(items.keys.leased, {"a": items.clock.start - 1})
    assert tokens == [1, 2, 3]
    assert lease(items, 1, MINUTE).items == []
    if end:
        assert items.state() == {
            "dead": {"a": items.after()},
            "counts": {"a": "4 3 0 0"},
            "errors": {"a": "expired|"},
        }
    else:
        assert items.state() == {}
    assert items.stats() == {"seen": 1, "claimed": 3, "expired": 3, end or "failed": 1}


@pytest.mark.any_server
def test_a_lease_that_is_sent_twice_gives_the_same_items(items: Queue) -> None:
    items.given(ready=["a", "b", "c"])
    first = lease(items, 2, MINUTE, number=5)
    after = items.state()
    assert lease(items, 2, MINUTE, number=5).items == first.items
    assert items.state() == after
    assert items.stats() == {"claimed": 2}


@pytest.mark.any_server
def test_items_taken_for_good_are_given_again_to_the_same_call(items: Queue) -> None:
    items.given(ready=["a", "b"], bodies={"a": '[0.1,"\\u0000"]'})
    first = lease(items, 1, 0, number=5)
    assert lease(items, 1, 0, number=5).items == first.items
    assert items.state() == {"ready": ["b"]}


def test_a_lease_sent_again_leaves_out_what_was_finished_in_between(items: Queue) -> None:
    items.given(ready=["a", "b"])
    first = lease(items, 2, MINUTE, number=5)
    ack(items, ("a", 1), number=1, session=b"other")
    assert lease(items, 2, MINUTE, number=5).items == first.items[1:]


def test_a_lease_sent_again_leaves_out_what_somebody_else_holds_now(items: Queue) -> None:
    items.given(ready=["a"], attempts=5)
    lease(items, 1, MINUTE, number=5)
    items.client.zadd(items.keys.leased, {"a": items.clock.start - 1})
    other = items.call("lease", [items.keys.memo(b"other")], [1, 1, MINUTE, 100])
    assert rows(*other[1:4])[0][:2] == ["a", 2]
    assert lease(items, 1, MINUTE, number=5).items == []
    assert ack(items, ("a", 1)) == []


def test_an_empty_answer_is_not_remembered(items: Queue) -> None:
    assert lease(items, 1, MINUTE, number=5).items == []
    items.given(ready=["a"])
    assert lease(items, 1, MINUTE, number=5).ids == ["a"]


def test_the_next_consumer_is_woken_while_items_are_left(items: Queue) -> None:
    items.given(ready=["a", "b"])
    lease(items, 1, MINUTE)
    assert items.wakes() == (True, False)
    lease(items, 1, MINUTE)
    assert items.client.llen(items.keys.wake) == 1
    items.sleep()
    lease(items, 1, MINUTE)
    assert items.wakes() == (False, False)


@pytest.mark.parametrize(
    ("before", "leaving", "due", "woken"),
    [
        ({"ready": ["a"], "scheduled": {"s": 1500}}, False, 1500, True),
        ({"ready": ["a"], "scheduled": {"s": MINUTE}}, False, MINUTE, False),
        ({"scheduled": {"s": 1500}}, True, 1500, True),
        ({"scheduled": {"s": 1500}}, False, 1500, False),
        ({"scheduled": {"s": MINUTE}}, True, MINUTE, False),
    ],
    ids=["took something", "took something, due later", "goes away", "waits", "goes away, due later"],
)
def test_who_goes_passes_on_the_watch_over_what_is_due_soon(
    items: Queue, before: dict, leaving: bool, due: int, woken: bool
) -> None:
    items.given(**before)
    assert items.since_start(lease(items, 1, 2 * MINUTE, leaving=leaving).due) == due
    assert items.wakes() == (woken, False)


@pytest.mark.any_server
def test_looking_takes_nothing_and_is_not_remembered(items: Queue) -> None:
    items.given(ready=["a", "b"], scheduled={"c": -1}, attempts=3)
    first, second = (lease(items, 2, -1, number=5) for _ in range(2))
    assert first.items == second.items == [["a", 0, items.message("a")], ["b", 0, items.message("b")]]
    assert items.state() == {"ready": ["a", "b", "c"]}
    assert items.stats() == {}
    assert ack(items, ("a", 0), ("b", 0)) == []


def test_looking_at_an_empty_queue_shows_nothing(items: Queue) -> None:
    assert lease(items, 5, -1).items == []
    items.given(scheduled={"a": MINUTE}, leased={"b": (MINUTE, 1)})
    assert lease(items, 5, -1).items == []


def test_with_nothing_wanted_only_the_hands_work_is_done(items: Queue) -> None:
    items.given(ready=["a"], scheduled={"b": -1}, leased={"c": (-1, 1)}, attempts=2)
    assert lease(items, 0, MINUTE).items == []
    assert items.state() == {"ready": ["a", "b", "c"], "counts": {"c": "2 1 0 0"}}


def test_it_says_how_many_deliveries_went_wrong_before(items: Queue) -> None:
    items.given(ready=["a", "b"], counts={"a": "4 2 1 0"}, attempts=9)
    assert lease(items, 2, MINUTE).tries == {"a": 3}


@pytest.mark.any_server
def test_tasks_can_be_leased_as_well_and_the_index_knows(queue: Queue) -> None:
    queue.given(ready=["a", "b"], leased={"zero or once": (-1, 1)})
    assert lease(queue, 1, MINUTE).ids == ["a"]
    assert queue.state() == {
        "ready": ["b"],
        "leased": {"a": (queue.after(MINUTE), 1)},
        "lost": {"zero or once": queue.after()},
        "counts": {"zero or once": "2 1 0 0"},
        "errors": {"zero or once": "expired|"},
    }
    assert queue.index_is_exact()
    assert queue.wakes() == (True, True)
    assert lease(queue, 1, 0).ids == ["b"]
    assert queue.index_is_exact()


@pytest.mark.parametrize("lease_for", [MINUTE, 0])
def test_ids_whose_message_is_gone_are_buried_and_those_behind_are_got(items: Queue, lease_for: int) -> None:
    items.given(ready=["a", "b", "c", "d"])
    items.client.hdel(items.keys.messages, "a", "b", "d")
    assert lease(items, 1, lease_for).ids == ["c"]
    assert lease(items, 1, lease_for).ids == []
    state = items.state()
    assert list(state.get("leased", ())) == (["c"] if lease_for else [])
    assert state["errors"] == {"a": "missing|", "b": "missing|", "d": "missing|"}
    assert list(state["dead"]) == ["a", "b", "d"]
    assert [items.message(id) for id in "abd"] == ["", "", ""]


def test_a_look_sees_past_ids_whose_message_is_gone(items: Queue) -> None:
    items.given(ready=[str(number) for number in range(9)])
    items.client.hdel(items.keys.messages, *"0123567")
    assert lease(items, 2, -1).ids == ["4", "8"]
    assert items.client.llen(items.keys.ready) == 9


def test_a_leased_item_whose_message_is_gone_is_buried_as_missing(items: Queue) -> None:
    items.given(leased={"a": (-1, 4)})
    items.client.hset(items.keys.errors, "a", "failed 1|{}")
    items.client.hdel(items.keys.messages, "a")
    assert lease(items, 2, MINUTE).items == []
    assert items.state()["errors"] == {"a": "missing|{}"}
    assert items.message("a") == ""


def test_an_item_without_a_readable_header_is_quarantined_with_the_reason(items: Queue) -> None:
    items.given(leased={"a": (-1, 1)})
    items.client.hset(items.keys.messages, "a", "2 what|[]")
    assert lease(items, 2, MINUTE).items == []
    assert items.state() == {
        "dead": {"a": items.after()},
        "counts": {"a": "2 1 0 0"},
        "errors": {"a": "undecodable|"},
    }


def test_a_consumer_may_fail_or_release_an_item(items: Queue) -> None:
    items.given(ready=["a", "b", "c"], attempts=2)
    lease(items, 2, MINUTE)
    assert fail(items, "a", 1) == "ready"
    assert release(items, ("b", 1, "interrupted")) == [["b", "ready"]]
    assert items.state()["ready"] == ["b", "c", "a"]


def test_a_thousand_items_in_one_call(items: Queue) -> None:
    ids = [f"id{n:04}" for n in range(1000)]
    items.given(ready=ids)
    assert lease(items, 1000, 0).ids == ids
    assert items.state() == {}
