"""The checker finds what it is there to find: each story here is told wrongly in one way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stress import work
from tests.stress.checker import check
from tests.stress.history import Event, History, read
from tests.stress.remains import PLACES, Remains

SECOND = 10**9


def event(step: str, kind: str = "ok", key: str = "again-p-1", at: float = 0, **more: Any) -> Event:
    known = {name: more.pop(name) for name in ("pid", "token", "attempt", "id") if name in more}
    return Event(step, kind, key, int(at * SECOND), known.pop("pid", 7), more=more, **known)


def sent(key: str = "again-p-1", **more: Any) -> list[Event]:
    invoke = event("enqueue", "invoke", key, 1, of=key.partition("-")[0], **more)
    return [invoke, event("enqueue", "ok", key, 1.1)]


def run(at: float, token: int = 1, kind: str = "ok", key: str = "again-p-1", **more: Any) -> list[Event]:
    return [
        event("start", "ok", key, at, token=token, attempt=more.pop("attempt", 1), id="i", **more),
        event("end", kind, key, at + 0.1, token=token, id="i", **more),
    ]


def queue(place: str = "", key: str = "again-p-1", **more: Any) -> Remains:
    """A queue with one message, in *place*; without a place, an empty one that has done one."""
    body = json.dumps([key.partition("-")[0], [key, work.payload_of(key)], {}]).encode()
    remains = Remains(
        work.TASKS,
        {"i": b"1 1700000000000|" + body} if place else {},
        {name: ["i"] if name == place else [] for name in PLACES},
        {"i": "failed"} if place in ("dead", "lost", "failed") else {},
        {"counts": set(), "errors": set()},
        {"seen": 1, "done": 0 if place else 1},
        is_indexed=place == "ready",
    )
    for name, value in more.items():
        setattr(remains, name, value)
    return remains


def broken(*events: Event, left: Remains | None = None, **more: Any) -> list[str]:
    verdict = check(sorted(events, key=lambda one: one.at), [left or queue()], **more)
    return [one.invariant for one in verdict.broken]


def test_a_message_that_ran_once_and_is_gone_breaks_nothing() -> None:
    verdict = check([*sent(), *run(2)], [queue()])
    assert verdict.broken == []
    assert verdict.counts["completed"] == verdict.counts["messages"] == 1


def test_a_message_that_never_ran_and_is_gone_is_lost() -> None:
    assert broken(*sent()) == ["I1"]


def test_a_message_whose_only_run_was_killed_is_lost_when_it_is_gone() -> None:
    [start, _] = run(2)
    assert broken(*sent(), start, event("kill", at=2.05, target=[7])) == ["I1"]


def test_a_repeatable_message_may_not_be_listed_as_lost() -> None:
    assert broken(*sent(), *run(2), left=queue("lost")) == ["I1"]


def test_what_had_not_started_may_be_listed_as_lost_only_if_supervisors_died() -> None:
    told, left = sent("once-p-1"), queue("lost", "once-p-1")
    assert broken(*told, left=left) == []
    assert broken(*told, left=left, supervised=True) == ["I1"]


def test_what_nobody_sent_may_not_run() -> None:
    assert broken(*run(2)) == ["I2"]


def test_what_was_refused_may_not_run() -> None:
    assert broken(sent()[0], event("enqueue", "fail", at=1.1), *run(2)) == ["I2"]


def test_what_is_unknown_may_have_come_or_not() -> None:
    unknown = [sent()[0], event("enqueue", "unknown", at=1.1)]
    assert broken(*unknown, left=queue(stats={})) == []
    verdict = check([*unknown, *run(2)], [queue()])
    assert verdict.broken == []
    assert verdict.counts["recovered"] == 1


def test_a_message_may_not_be_there_under_two_ids() -> None:
    assert "I2" in broken(*sent(), *run(2), *[one._replace(id="j") for one in run(4, 2)])


def test_what_may_run_once_only_may_not_run_twice() -> None:
    assert "I3" in broken(*sent("once-p-1"), *run(2, key="once-p-1"), *run(9, 2, key="once-p-1"))


@pytest.mark.parametrize(
    "why",
    [
        event("kill", at=2.2, target=[7]),
        event("death", at=2.2, key="finished"),
        event("stop", at=1.9, target=[7]),
    ],
)
def test_a_further_delivery_needs_a_reason(why: Event) -> None:
    assert broken(*sent(), *run(2), *run(2.3, 2)) == ["I4"]
    assert broken(*sent(), why, *run(2), *run(2.3, 2)) == []


def test_a_run_that_failed_and_a_lease_that_ended_are_reasons() -> None:
    assert broken(*sent(), *run(2, kind="fail"), *run(2.3, 2)) == []
    assert broken(*sent(), *run(2), *run(3.1, 2)) == []
    assert broken(*sent(), *run(2), *run(2.9, 2)) == ["I4"]


def test_a_lease_is_older_than_its_run() -> None:
    told = [*sent(), *run(2, leased=int(1.4 * SECOND))]
    assert broken(*told, *run(2.5, 2)) == []
    assert broken(*told, *run(2.3, 2)) == ["I4"]


def test_the_lease_of_a_task_with_time_is_no_reason_while_its_supervisor_lives() -> None:
    told = [*sent("hog-p-1"), *run(2, key="hog-p-1"), *run(9, 2, key="hog-p-1")]
    assert broken(*told) == []
    assert broken(*told, supervised=True) == ["I4"]


def test_there_are_no_more_deliveries_than_attempts() -> None:
    assert broken(*sent("raises-p-1"), *run(2, key="raises-p-1", attempt=4)) == ["I4"]


def test_two_deliveries_may_not_have_one_token() -> None:
    assert broken(*sent(), *run(2), *run(9, 1)) == ["I5"]


@pytest.mark.parametrize("tokens", [[1], [2, 1], [2, 2]])
def test_only_the_ack_of_the_last_delivery_may_be_accepted_and_once(tokens: list[int]) -> None:
    told = [*sent(), *run(2), *run(9, 2)]
    assert broken(*told, event("accept", at=10, token=2)) == []
    assert broken(*told, *[event("accept", at=10, token=token) for token in tokens]) == ["I5"]


def test_a_message_is_in_one_place() -> None:
    left = queue("dead")
    left.places["ready"], left.is_indexed = ["i"], True
    assert broken(*sent(), *run(2), left=left) == ["I6"]
    left.places["ready"] = []
    left.places["dead"], left.is_indexed = ["i", "i"], False
    assert broken(*sent(), *run(2), left=left) == ["I6"]


def test_a_message_in_no_place_and_an_id_without_message_are_found() -> None:
    told = [*sent(), *run(2)]
    nowhere = queue("dead")
    nowhere.places["dead"] = []
    assert "I6" in broken(*told, left=nowhere)
    assert "I6" in broken(*told, left=queue("dead", messages={}))


def test_a_completion_that_was_counted_twice_is_found() -> None:
    assert broken(*sent(), *run(2), left=queue(stats={"seen": 1, "done": 2})) == ["I6"]


def test_what_is_left_of_a_message_that_is_gone_is_found() -> None:
    assert broken(*sent(), *run(2), left=queue(others={"counts": {"i"}, "errors": set()})) == ["I6"]


def test_an_index_that_is_wrong_is_found() -> None:
    assert broken(*sent(), *run(2), left=queue(is_indexed=True)) == ["I6"]


def test_order_is_looked_at_where_one_slot_works_alone() -> None:
    other = "again-p-2"
    told = [*sent(), *sent(other), *run(2, key=other), *[one._replace(id="j") for one in run(4)]]
    left = queue(stats={"seen": 2, "done": 2})
    assert broken(*told, left=left) == []
    assert broken(*told, left=left, fifo=True) == ["I7"]


def test_slots_are_counted() -> None:
    ticks = queue(schedules={"tick": "1750"}, stats={"seen": 3, "done": 3})
    ticks.name = work.TICKS
    slots = [event("slot", "invoke", f"tick {slot}") for slot in (1000, 1250, 1500)]
    assert broken(*slots, left=ticks) == []
    ticks.stats = {"seen": 4, "done": 4}
    assert broken(*slots, left=ticks) == ["I9"]


def test_a_dead_letter_keeps_its_body_and_its_reason() -> None:
    told = [*sent(), *run(2, kind="fail")]
    assert broken(*told, left=queue("dead")) == []
    assert broken(*told, left=queue("dead", errors={})) == ["I10"]
    changed = json.dumps(["again", ["again-p-1", "something else"], {}]).encode()
    assert broken(*told, left=queue("dead", messages={"i": b"1 1700000000000|" + changed})) == ["I10"]


def test_nothing_delayed_starts_early() -> None:
    assert broken(*sent(delay=1.5), *run(2)) == ["I12"]
    assert broken(*sent(delay=1.5), *run(2.5)) == []


def test_a_result_that_is_not_there_is_found() -> None:
    assert broken(*sent(), *run(2), event("result", "ok", at=3, value=None)) == ["I14"]


def test_work_that_goes_on_late_is_found() -> None:
    fault = event("fault", "ok", "some fault", 0.5, back=1.0)
    assert broken(fault, *sent(), *run(2)) == []
    verdict = check([fault, *sent(), *run(6)], [queue()])
    assert [one.invariant for one in verdict.broken] == ["I15"]
    assert verdict.recoveries == {"some fault": [pytest.approx(5.6)]}


def test_what_was_cancelled_may_not_start_afterwards() -> None:
    left = queue(stats={"seen": 1, "cancelled": 1})
    assert broken(*sent(), event("cancel", at=1.5), left=left) == []
    assert broken(*sent(), event("cancel", at=1.5), *run(2), left=left) == ["I16"]


def test_a_payload_that_changed_is_found() -> None:
    [start, end] = run(2)
    assert broken(*sent(), start._replace(more={"broken": "{}"}), end) == ["I17"]


def test_items_that_were_taken_for_good_may_be_gone_with_their_taker_only() -> None:
    told = sent("taken-p-1")
    take = event("take", "invoke", "", 2, most=3)
    assert broken(*told) == ["I1"]
    assert broken(*told, take) == []
    assert broken(*told, take, event("take", "ok", "", 2.1)) == ["I1"]


def test_what_a_server_may_have_forgotten_is_forgiven() -> None:
    assert broken(*sent(), event("forgive", at=2, since=SECOND)) == []


def test_a_history_survives_the_process_and_a_torn_line(tmp_path: Path) -> None:
    history = History(tmp_path, "test")
    history.write("enqueue", "invoke", "a", "b", of="again", delay=0.5)
    history.write("enqueue", "ok", 'q"uote')
    [file] = tmp_path.glob("*.jsonl")
    with file.open("ab") as opened:
        opened.write(b'{"step": "enq')
    events = read(tmp_path)
    assert [(one.step, one.kind, one.key) for one in events] == [
        ("enqueue", "invoke", "a"),
        ("enqueue", "invoke", "b"),
        ("enqueue", "ok", 'q"uote'),
    ]
    assert events[0].more == {"of": "again", "delay": 0.5}
