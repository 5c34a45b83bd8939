"""How puts are gathered in batches, and how they learn what became of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpqueue import puts
from rpqueue.errors import NotEnqueued, RedisOutOfMemory, RedisUnavailable
from rpqueue.fates import Fate
from rpqueue.keys import Keys
from rpqueue.puts import Batch, Batches, Put

KEYS = Keys("test")


def put(queue: str = "a", *ids: str, size: int = 1, **options: Any) -> Put:
    names = list(ids) or ["1"]
    return Put(KEYS.tasks(queue), (), [(name, b"x" * size) for name in names], names, **options)


def gathered(*some: Put) -> list[list[list[str]]]:
    """The ids of each put of each batch."""
    batches = Batches()
    for one in some:
        batches.add(one)
    return [[[message_id for message_id, _ in one.pairs] for one in batch.puts] for batch in batches]


def test_neighbours_in_a_queue_are_joined_whatever_stands_between_them() -> None:
    assert gathered(put("a", "1"), put("b", "2"), put("a", "3", "4"), put("b", "5")) == [[["1", "3", "4"], ["2", "5"]]]


@pytest.mark.parametrize("other", [{"delay": 5.0}, {"tail": " 0 3 0"}, {"chosen": True}, {"is_dead": True}])
def test_what_differs_is_a_call_of_its_own_in_its_place(other: dict[str, Any]) -> None:
    assert gathered(put("a", "1"), put("a", "2", **other), put("a", "3")) == [[["1"], ["2"], ["3"]]]


@pytest.mark.parametrize("alone", [{"chosen": True}, {"is_dead": True}])
def test_chosen_ids_and_dead_letters_are_never_joined(alone: dict[str, Any]) -> None:
    assert gathered(put("a", "1", **alone), put("a", "2", **alone)) == [[["1"], ["2"]]]


def test_a_task_queue_and_a_data_queue_of_one_name_are_two() -> None:
    batches = Batches()
    batches.add(put("a"))
    batches.add(Put(KEYS.data("a"), (), [("1", b"")], ["1"]))
    assert [len(batch.puts) for batch in batches] == [2]


def test_a_full_batch_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puts, "MOST_MESSAGES", 3)
    assert gathered(*(put("ab"[n % 2], str(n)) for n in range(7))) == [
        [["0", "2"], ["1"]],
        [["3", "5"], ["4"]],
        [["6"]],
    ]
    assert gathered(put("a", "1"), put("a", "2", "3", "4", "5"), put("a", "6")) == [
        [["1"]],
        [["2", "3", "4", "5"]],
        [["6"]],
    ]


def test_a_batch_that_is_heavy_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puts, "MOST_BYTES", 10)
    assert gathered(put("a", "1", size=6), put("a", "2", size=4), put("a", "3", size=1)) == [[["1", "2"]], [["3"]]]
    assert gathered(put("a", "1", size=1), put("b", "2", size=99), put("a", "3")) == [[["1"]], [["2"]], [["3"]]]


def test_a_batch_of_many_calls_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puts, "MOST_CALLS", 2)
    assert gathered(put("a", "1"), put("b", "2"), put("a", "3"), put("c", "4"), put("a", "5")) == [
        [["1", "3"], ["2"]],
        [["4"], ["5"]],
    ]


some_puts = st.lists(
    st.builds(
        lambda queue, size, number, delay, chosen: (queue, size, number, {"delay": delay, "chosen": chosen}),
        st.sampled_from("abc"),
        st.integers(0, 40),
        st.integers(1, 12),
        st.sampled_from([0.0, 0.0, 5.0]),
        st.sampled_from([False, False, True]),
    )
)


@given(some_puts)
def test_nothing_is_lost_doubled_or_out_of_its_queues_order(some: list[Any]) -> None:
    batches, order, names = Batches(), {}, iter(range(10_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(puts, "MOST_MESSAGES", 20)
        patch.setattr(puts, "MOST_BYTES", 100)
        patch.setattr(puts, "MOST_CALLS", 3)
        for queue, size, number, options in some:
            ids = [str(next(names)) for _ in range(number)]
            order.setdefault(queue, []).extend((one, options) for one in ids)
            batches.add(put(queue, *ids, size=size, **options))
    found: dict[str, list[Any]] = {}
    for batch in batches:
        messages = [message for one in batch.puts for message in one.pairs]
        assert len(messages) <= 20 or len(batch.puts) == 1
        assert sum(len(body) for _, body in messages) <= 100 or len(batch.puts) == 1
        assert len(batch.puts) <= 3
        for one in batch.puts:
            assert one.shown == [message_id for message_id, _ in one.pairs]
            assert one.size == sum(len(body) for _, body in one.pairs)
            options = {"delay": one.delay, "chosen": one.chosen}
            found.setdefault(one.queue.name, []).extend((message_id, options) for message_id, _ in one.pairs)
    assert found == order
    assert len(batches) == sum(map(len, order.values()))


# ---- Fates.


def sent(batch: Batch, *brought: Any) -> list[Any]:
    batch.sets_out()
    return batch.arrives(brought)


def state(fate: Fate) -> str:
    try:
        fate.check("it")
        fate.check_gone("it")
    except NotEnqueued as error:
        return str(error)
    return "in"


def test_every_put_learns_what_became_of_it() -> None:
    batches = Batches()
    fates = [batches.add(put(name, name)) for name in "abcd"]
    [batch] = batches
    assert [state(fate) for fate in fates] == [
        "'it' is not in its queue: it waits in a pipeline, which sends it when its block ends"
    ] * 4
    batch.sets_out()
    assert {fate.is_in for fate in fates} == {None}
    full, away = RedisOutOfMemory("full"), RedisUnavailable("away")
    assert batch.arrives([1.0, full, away]) == [full, away]
    batches.leave("too late")
    assert [state(fate) for fate in fates] == [
        "in",
        "'it' is not in its queue: full",
        "'it' is not in its queue, and may never have been: away",
        "'it' is not in its queue: too late",
    ]
    assert batches.fates() == (["a"], ["b", "d"], ["c"])
    assert batches.fates().summary == "of 4 sent together: 1 in, 1 perhaps in, 2 not in"


def test_those_that_were_joined_share_the_fate_of_the_first() -> None:
    inner, outer = Batches(), Batches()
    outer.add(put("a", "1"))
    theirs = [inner.add(put("a", "2")), inner.add(put("b", "3"))]
    for one in inner.puts():
        outer.add(one)
    [batch] = outer
    assert [state(fate) for fate in theirs] != ["in", "in"]
    sent(batch, 1.0, RedisOutOfMemory("full"))
    assert [state(fate) for fate in theirs] == ["in", "'it' is not in its queue: full"]
    assert outer.fates() == (["1", "2"], ["3"], [])
