"""enqueue.lua: new messages are scheduled, or ready under ids that users chose, once."""

from __future__ import annotations

import pytest

from tests.redis.calls import ack, cancel, cycle, enqueue
from tests.redis.harness import Queue, run


@pytest.mark.any_server
def test_a_delay_schedules_by_the_clock_of_redis(queue: Queue) -> None:
    now = enqueue(queue, {"a": "1", "b": "2"}, delay=5000)
    assert queue.since_start(now) == queue.after()
    due = queue.since_start(now) + 5000
    assert queue.state() == {"scheduled": {"a": due, "b": due}}
    assert queue.message("b") == f"1 {now + 5000}|2"
    assert queue.index() == {"priority": float("inf"), "ready": None, "due": due}


def test_a_delayed_batch_becomes_ready_in_the_order_of_the_call(queue: Queue) -> None:
    ids = [f"{number * 7919 % 1000:03}" for number in range(1000)]
    enqueue(queue, dict.fromkeys(ids, "1"), delay=5000)
    scheduled = [id.decode() for id in queue.client.zrange(queue.keys.scheduled, 0, -1)]
    assert scheduled == ids


@pytest.mark.parametrize("grave", ["dead", "lost", "failed"])
def test_a_chosen_id_that_was_given_up_is_new_again(queue: Queue, grave: str) -> None:
    queue.given(**{grave: {"a": 0}})
    before = queue.client.hget(queue.keys.counts, "a")
    now = enqueue(queue, {"a": "[2]"}, chosen=True)
    assert queue.state()["ready"] == ["a"]
    assert grave not in queue.state()
    assert queue.message("a") == f"1 {now}|[2]"
    assert queue.client.hexists(queue.keys.errors, "a") == 0
    [_, _, token, _] = cycle(Queue(queue.client, like=queue)).claimed[0]
    assert token >= max(now, int((before or b"1").split()[0]) + 1)


def test_a_call_that_is_sent_twice_enqueues_once(queue: Queue) -> None:
    first = enqueue(queue, {"a": "1"}, chosen=True, number=7)
    assert enqueue(queue, {"a": "1"}, chosen=True, number=7) == first
    assert queue.state()["ready"] == ["a"]
    assert queue.stats() == {"seen": 1}


@pytest.mark.any_server
def test_a_call_that_is_sent_again_after_the_message_was_done_does_not_bring_it_back(queue: Queue) -> None:
    first = enqueue(queue, {"a": "1"}, chosen=True, number=7)
    worker = Queue(queue.client, like=queue)
    [_, _, token, _] = cycle(worker).claimed[0]
    # By ack.lua, whose memo is another session's.
    ack(worker, ("a", token), session=b"other")
    assert enqueue(queue, {"a": "1"}, chosen=True, number=7) == first
    assert queue.state() == {}


def test_a_chosen_id_begins_with_a_token_that_no_lease_had_before(queue: Queue) -> None:
    now = enqueue(queue, {"a": "1"}, chosen=True)
    assert queue.state() == {"ready": ["a"], "counts": {"a": f"{now} 0 0 0"}}
    used = cycle(queue).claimed[0][2]
    ack(queue, ("a", used))
    assert queue.state() == {}
    later = enqueue(queue, {"a": "1"}, chosen=True)
    while later == now:  # a millisecond has to pass, which a slow machine lets pass anyhow
        cancel(queue, "a")
        later = enqueue(queue, {"a": "1"}, chosen=True)
    assert cycle(queue).claimed[0][2] > used
    assert ack(queue, ("a", used)) == [], "the holder of the first life does not end the second"


@pytest.mark.parametrize("place", ["ready", "scheduled", "leased"])
def test_a_chosen_id_with_the_same_body_stays_where_it_is(queue: Queue, place: str) -> None:
    queue.given(
        **{place: {"ready": ["a"], "leased": {"a": (60_000, 1)}}.get(place, {"a": 60_000})}, bodies={"a": "[1]"}
    )
    before = queue.state()
    assert queue.since_start(enqueue(queue, {"a": "[1]"}, chosen=True)) == queue.after()
    assert queue.state() == before


@pytest.mark.any_server
def test_a_chosen_id_with_another_body_refuses_the_whole_call(queue: Queue) -> None:
    queue.given(ready=["b"], bodies={"b": "[1]"})
    before = queue.snapshot()
    assert enqueue(queue, {"a": "1", "b": "[2]", "c": "3"}, chosen=True) == [0, "b"]
    assert queue.snapshot() == before


def test_a_body_with_bars_is_compared_whole(queue: Queue) -> None:
    enqueue(queue, {"a": '"x|y"'}, chosen=True)
    assert enqueue(queue, {"a": '"z|y"'}, chosen=True) == [0, "a"]
    enqueue(queue, {"a": '"x|y"'}, chosen=True)
    assert queue.state()["ready"] == ["a"]


def test_a_chosen_id_twice_in_one_call_is_one_message(queue: Queue) -> None:
    now = enqueue(queue, [("a", "1"), ("b", "2"), ("a", "1")], chosen=True)
    assert queue.state() == {"ready": ["a", "b"], "counts": {"a": f"{now} 0 0 0", "b": f"{now} 0 0 0"}}
    assert queue.stats() == {"seen": 2}


def test_a_chosen_id_twice_in_one_call_with_two_bodies_refuses_the_call(queue: Queue) -> None:
    assert enqueue(queue, [("a", "1"), ("a", "2")], chosen=True) == [0, "a"]
    assert queue.state() == {}


@pytest.mark.parametrize(
    ("before", "delay", "woken"),
    [
        ({}, 5000, True),
        ({"ready": ["x"]}, 5000, True),
        ({"scheduled": {"x": 60_000}}, 5000, True),
        ({"scheduled": {"x": 60_000}}, 600_000, False),
        ({"leased": {"x": (60_000, 1)}}, 600_000, False),
    ],
)
def test_a_worker_is_woken_by_news_only(queue: Queue, before: dict, delay: int, woken: bool) -> None:
    queue.given(**before)
    enqueue(queue, {"a": "1"}, delay=delay)
    assert queue.wakes() == (woken, woken)
    queue.state()


def test_a_data_queue_is_known_as_such_and_not_indexed(items: Queue) -> None:
    enqueue(items, {"a": "1"})
    enqueue(items, {"b": "1"}, delay=5000)
    assert items.client.zrange(items.app.data_queues, 0, -1) == [b"mail"]
    assert items.wakes() == (True, False)
    assert items.lasting() == {"messages", "ready", "scheduled", "stats", "data_queues"}


def test_a_raw_nul_and_bytes_that_are_no_text_pass_as_well(items: Queue) -> None:
    body = b'"\x00\xff|\r\n"'
    items.client.hset(items.keys.messages, "a", b"1 1 0 9 0|" + body)
    items.client.rpush(items.keys.ready, "a")
    words = [items.number(), 1, 0, 100]
    for _ in ("sent", "sent again"):
        reply = run(items.client, "lease", [*items.keys.block, items.memo], words)
        assert reply[1:4] == [[b"a"], [b"1 1 0 9 0|" + body], []]


def test_a_thousand_messages_go_in_one_call(queue: Queue) -> None:
    ids = [f"id{n:04}" for n in range(1000)]
    enqueue(queue, dict.fromkeys(ids, "1"), chosen=True)
    assert queue.state()["ready"] == ids
    assert queue.stats() == {"seen": 1000}


@pytest.mark.any_server
@pytest.mark.parametrize(("at", "place"), [(60_000, "scheduled"), (-60_000, "ready")])
def test_messages_may_be_due_at_an_instant_and_now_if_it_is_past(queue: Queue, at: int, place: str) -> None:
    due = queue.clock.start + at
    words = [queue.number(), queue.name, f"@{due}", "", 0, 0, "a", "1"]
    now = queue.call("enqueue", [queue.memo, *queue.index_keys], words)
    assert queue.state() == ({"scheduled": {"a": at}} if place == "scheduled" else {"ready": ["a"]})
    assert queue.message("a") == f"1 {max(due, now)}|1"


@pytest.mark.any_server
def test_a_queue_takes_no_more_than_it_may_hold_and_none_of_too_many(queue: Queue) -> None:
    queue.given(ready=["a"], scheduled={"b": 60_000}, leased={"c": (60_000, 1)}, parked={"d": "task"})
    queue.given(dead={"e": -5})
    before = queue.state()
    assert enqueue(queue, {"f": "1", "g": "2"}, most=5) == [-1, 4]
    assert queue.state() == before
    assert isinstance(enqueue(queue, {"f": "1"}, most=5), int)
    assert enqueue(queue, {"g": "1"}, most=5, delay=5000) == [-1, 5]


def test_what_is_in_a_full_queue_already_may_be_put_again(queue: Queue) -> None:
    assert isinstance(enqueue(queue, {"a": "1"}, most=1, chosen=True), int)
    assert isinstance(enqueue(queue, {"a": "1"}, most=1, chosen=True), int)
