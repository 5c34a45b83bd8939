"""Ledger: what a process wrote down, another reads as it was."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpqueue.keys import LONGEST_NAME, text_of
from rpqueue.protocol.operation import Stamp
from rpqueue.worker import ledger as module
from rpqueue.worker.ledger import Held, Ledger, Stage

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
HELD = st.builds(
    Held,
    st.just(Stage.CLAIMED),
    NAMES,
    NAMES,
    st.integers(1, 2**62),
    st.floats(0, 1e12),
    st.floats(0, 1e12),
)


def write(ledger: Ledger, held: Held) -> int:
    return ledger.add(held.queue.encode(), held.id.encode(), held.token, held.deadline, held.ends_at)


def some(number: int = 0) -> Held:
    return Held(Stage.CLAIMED, "mail", f"{number:024d}", number + 1, 0.0, 100.0)


@given(st.data())
def test_any_moves_leave_what_a_dict_would_hold(data: st.DataObject) -> None:
    ledger, model = Ledger(4), dict[int, Held]()
    for _ in range(data.draw(st.integers(0, 20))):
        if len(model) < 4 and (not model or data.draw(st.booleans())):
            held = data.draw(HELD)
            number = write(ledger, held)
            assert number not in model
            model[number] = held
        else:
            number = data.draw(st.sampled_from(sorted(model)))
            if data.draw(st.booleans()):
                stage = data.draw(st.sampled_from([Stage.STARTED, Stage.FINISHED]))
                ledger.move(number, stage)
                model[number] = model[number]._replace(stage=stage)
            else:
                ledger.remove(number)
                assert ledger.stage(number) is Stage.FREE
                del model[number]
        assert ledger.room == 4 - len(model)
        assert list(ledger.held()) == [model[number] for number in sorted(model)]
        assert all(ledger.stage(number) is held.stage for number, held in model.items())
    ledger.close()


def test_an_empty_ledger_holds_nothing() -> None:
    ledger = Ledger()
    assert list(ledger.held()) == []
    assert ledger.room == ledger.capacity == 2048


def test_longest_names_fit_and_touch_no_neighbour() -> None:
    ledger = Ledger(3)
    longest = [
        Held(Stage.CLAIMED, letter * (LONGEST_NAME // 2), letter.upper() * (LONGEST_NAME // 2), 2**63 - 1, 1e12, 1e12)
        for letter in "éöü"
    ]
    for held in longest:
        write(ledger, held)
    assert list(ledger.held()) == longest


def test_a_short_record_over_a_long_one_shows_nothing_of_it() -> None:
    ledger = Ledger(1)
    ledger.remove(ledger.add(b"q" * 512, b"i" * 512, 9, 9.0, 9.0))
    write(ledger, some())
    assert list(ledger.held()) == [some()]


def test_a_full_ledger_has_no_room_and_refuses_more() -> None:
    ledger = Ledger(2)
    write(ledger, some(0))
    write(ledger, some(1))
    assert ledger.room == 0
    with pytest.raises(IndexError):
        write(ledger, some(2))
    assert list(ledger.held()) == [some(0), some(1)]


def test_a_record_shows_only_when_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[list[Held]] = []
    record = module._RECORD

    class Watched(bytearray):
        def __setitem__(self, at: object, value: object) -> None:
            super().__setitem__(at, value)  # type: ignore[assignment,index,call-overload]
            looks.append(list(ledger.held()))

    class WatchedRecord:
        size, unpack_from = record.size, record.unpack_from

        @staticmethod
        def pack_into(*values: Any) -> None:
            record.pack_into(*values)
            looks.append(list(ledger.held()))

    ledger = Ledger(1)
    ledger._memory = Watched(len(ledger._memory))  # type: ignore[assignment]
    monkeypatch.setattr(module, "_RECORD", WatchedRecord)
    write(ledger, some())
    assert looks == [[], [], [], [some()]]  # after queue, id, the rest, and the stage at last


def test_a_record_that_is_being_written_over_is_passed_by() -> None:
    ledger = Ledger(2)
    torn = write(ledger, some(0))
    write(ledger, some(1))
    ledger.remove(torn)
    ledger.add("é".encode()[:1], b"id", 1, 0.0, 0.0)
    assert list(ledger.held()) == [some(1)]


# ---- claims on their way


def test_nothing_is_unrecorded_before_the_first_claim() -> None:
    assert Ledger(1).unrecorded() is None


def test_a_claim_is_unrecorded_from_sending_until_recorded() -> None:
    ledger = Ledger(1)
    for number in (1, 2, 2**40):
        stamp = Stamp(b"0123456789ab", number)
        ledger.sending(stamp)
        assert ledger.unrecorded() == stamp
        ledger.recorded()
        assert ledger.unrecorded() is None


@pytest.mark.parametrize("queue", ["mail", "mäil", text_of(b"\xff no UTF-8")])
def test_the_queue_of_a_claim_is_read_as_it_was(queue: str) -> None:
    ledger = Ledger(1)
    ledger.sending(Stamp(b"0123456789ab", 1), queue)
    assert ledger.queue == queue


def test_a_claim_that_is_sent_again_is_still_the_same() -> None:
    ledger = Ledger(1)
    stamp = Stamp(b"0123456789ab", 5)
    ledger.sending(stamp)
    ledger.sending(stamp)
    assert ledger.unrecorded() == stamp


def test_the_header_fields_do_not_touch_each_other_or_the_records() -> None:
    ledger = Ledger(1)
    write(ledger, some())
    ledger.order_quit(1)
    ledger.sending(Stamp(b"x" * 14, 2**63 - 1))
    assert (ledger.quit_order, ledger.unrecorded()) == (1, Stamp(b"x" * 14, 2**63 - 1))
    ledger.recorded()
    ledger.order_quit(2)
    assert (ledger.quit_order, ledger.unrecorded(), list(ledger.held())) == (2, None, [some()])


# ---- orders


def test_an_order_to_quit_only_ever_gets_stronger() -> None:
    ledger = Ledger(1)
    assert ledger.quit_order == 0
    seen = []
    for order in (1, 2, 1, 0):
        ledger.order_quit(order)
        seen.append(ledger.quit_order)
    assert seen == [1, 2, 2, 2]


# ---- two processes


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_a_killed_child_wrote_its_parent_reads() -> None:
    ledger = Ledger(4)
    ledger.order_quit(1)
    child = os.fork()
    if child == 0:
        try:
            if ledger.quit_order == 1:
                ledger.move(write(ledger, some(0)), Stage.STARTED)
                write(ledger, some(1))
                ledger.sending(Stamp(b"session", 3))
        finally:
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert list(ledger.held()) == [some(0)._replace(stage=Stage.STARTED), some(1)]
    assert ledger.unrecorded() == Stamp(b"session", 3)
    assert ledger.room == 4, "its own list of free records is its process's"
