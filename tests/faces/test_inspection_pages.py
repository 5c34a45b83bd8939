"""Pages either way, over all queues, and of some messages only; and how many there are of each task."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rpqueue import App
from rpqueue.errors import RefusedInput, WrongType
from rpqueue.inspection import AwaitedInspection, Inspection, Page
from rpqueue.inspection import messages as inspected
from rpqueue.protocol import moves, views
from rpqueue.protocol.moves import Taken
from rpqueue.selecting import name_in
from rpqueue.states import State


@pytest.fixture
def look(app: App) -> Inspection:
    return Inspection(app)


def bury(app: App, queue: str, grave: str, calls: list[tuple[str, str]], reason: str = "failed") -> list[str]:
    """Messages in a grave, one millisecond after the other; ``(task name, record of its failure)`` for each."""
    keys = app.task_keys(queue)
    app.broker.client.zadd(app.keys.app.queues, {queue: "inf"})
    now = int(time.time() * 1000) - len(calls)
    taken = [
        Taken(
            f"{queue}{grave}{n:04}",
            b'1 %d 0 1 1|["%s",[%d],{}]' % (now, name.encode(), n),
            "3 2 1 0",
            (now + n) / 1000,
            b"%s %d|%s" % (reason.encode(), now + n, record.encode()),
        )
        for n, (name, record) in enumerate(calls)
    ]
    app.broker.execute(moves.put_back(keys, (), State(grave), taken))
    return [str(one.id) for one in taken]


def record(exception: str, message: str) -> str:
    return f'{{"exception": "{exception}", "message": "{message}", "traceback": "at {message}"}}'


def pages(look: Inspection, *args: Any, **options: Any) -> Iterator[Page]:
    after = None
    while True:
        page = look.page(*args, after=after, **options)
        yield page
        after = page.after
        if after is None:
            return


def ids(found: Iterator[Page]) -> list[str]:
    return [message.id for page in found for message in page.messages]


@pytest.mark.parametrize("state", ["ready", "scheduled", "dead"])
def test_the_newest_come_first_where_asked(app: App, look: Inspection, state: str) -> None:
    work = app.task(queue="mail", name="work")(lambda *args: None)
    if state == "dead":
        made = bury(app, "mail", "dead", [("work", "{}")] * 7)
    else:
        made = [work.execute(n, delay=60 + n if state == "scheduled" else None).taskid for n in range(7)]
    assert ids(pages(look, "mail", state, limit=3)) == made
    assert ids(pages(look, "mail", state, limit=3, newest=True)) == made[::-1]


def test_error_stands_for_all_that_was_given_up_and_other_words_for_theirs(app: App, look: Inspection) -> None:
    made = [one for grave in ("dead", "lost", "failed") for one in bury(app, "mail", grave, [("work", "{}")] * 3)]
    assert ids(pages(look, "mail", "error", limit=2)) == made
    app.task(queue="mail", name="work")(lambda: None).execute()
    assert ids(pages(look, "mail", "queued")) == ids(pages(look, "mail", State.READY))
    assert ids(pages(look, "mail", "active")) == []


def test_all_queues_are_paged_one_after_the_other(app: App, look: Inspection) -> None:
    made = [one for queue in ("a b", "b{%}", "c") for one in bury(app, queue, "lost", [("work", "{}")] * 3)]
    app.broker.client.zadd(app.keys.app.queues, {"empty": "inf"})
    found = list(pages(look, None, "lost", limit=2))
    assert ids(iter(found)) == made
    assert [len(page.messages) for page in found] == [2] * 4 + [1]
    assert ids(pages(look, None, "lost", limit=3)) == made
    with pytest.raises(RefusedInput, match="after: expected what a page of the same queues"):
        look.page(None, "lost", after="5 x")


def test_only_calls_of_one_task_are_shown(app: App, look: Inspection) -> None:
    made = bury(app, "mail", "dead", [("rare" if n % 5 == 0 else "common", "{}") for n in range(30)])
    assert ids(pages(look, "mail", "dead", name="rare", limit=2)) == made[::5]
    assert ids(pages(look, "mail", "dead", name="rare", limit=2, newest=True)) == made[::5][::-1]
    assert ids(pages(look, "mail", "dead", name="nobody")) == []
    rare = look.page("mail", "dead", name="rare", limit=1).messages[0]
    assert (rare.name, rare.args, rare.kwargs) == ("rare", [0], {})


@pytest.mark.parametrize(
    ("error", "found"),
    [("ValueError", [0, 1]), ("ValueError: no", [0]), ("two", [1, 2]), ("poison", [3]), ("nothing", [])],
)
def test_only_messages_with_one_error_are_shown(app: App, look: Inspection, error: str, found: list[int]) -> None:
    calls = [("t", record("ValueError", "no")), ("t", record("ValueError", "two")), ("t", record("KeyError", "two"))]
    made = bury(app, "mail", "dead", calls)
    keys = app.task_keys("mail")
    taken = [Taken("p", b'1 5|["t",[],{}]', "", time.time(), b"poison 5|")]
    app.broker.execute(moves.put_back(keys, (), State.DEAD, taken))
    made.append("p")
    assert ids(pages(look, "mail", "dead", error=error)) == [made[n] for n in found]
    assert ids(pages(look, "mail", "dead", error=error, name="other")) == []


def test_a_page_of_some_looks_at_so_many_and_says_where_to_go_on(
    app: App, look: Inspection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspected, "LOOK", 4)
    monkeypatch.setattr(inspected, "_PART", 3)
    made = bury(app, "mail", "dead", [("rare" if n == 9 else "common", "{}") for n in range(10)])
    found = list(pages(look, "mail", "dead", name="rare"))
    assert [[message.id for message in page.messages] for page in found] == [[], [], [made[9]]]


def test_a_page_has_as_many_records_of_runs_as_are_asked_for_and_one_message_has_all(
    app: App, look: Inspection
) -> None:
    records = "\n".join(record("E", f"run {n}") for n in (3, 2, 1))
    [one] = bury(app, "mail", "dead", [("t", records)])
    [view] = look.page("mail", "dead").messages
    assert ([run["message"] for run in view.executions], view.n_executions) == (["run 3"], 3)
    assert view.error == {"exception": "E", "message": "run 3", "traceback": "at run 3"}
    [view] = look.page("mail", "dead", executions=2).messages
    assert [run["message"] for run in view.executions] == ["run 2", "run 3"]
    found = look.message(one)
    assert found is not None
    assert [run["message"] for run in found.executions] == ["run 1", "run 2", "run 3"]
    app.broker.execute(moves.redrive(app.task_keys("mail"), app.index, State.DEAD))
    again = look.message(one)
    assert again is not None
    assert (again.failures, again.n_executions, again.executions) == (0, 3, found.executions)


def test_names_are_counted_over_so_many_messages_and_it_says_whether_that_was_all(app: App, look: Inspection) -> None:
    bury(app, "a", "dead", [("common", "{}")] * 6 + [("rare", "{}")])
    bury(app, "b", "dead", [("common", "{}")] * 2)
    assert look.names("a", "dead").names == {"common": 6, "rare": 1}
    found = look.names(None, "dead")
    assert (found.names, found.looked, found.total, found.is_all) == ({"common": 8, "rare": 1}, 9, 9, True)
    found = look.names("a", "error", limit=3)
    assert (found.names, found.looked, found.total, found.is_all) == ({"common": 3}, 3, 7, False)
    assert look.names("a", "dead", limit=2, newest=True).names == {"rare": 1, "common": 1}
    assert look.names("nobody", "ready").names == {}
    with pytest.raises(RefusedInput, match="limit: expected 1 to"):
        look.names("a", limit=0)


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (b'1 5|["a.b",[],{}]', "a.b"),
        (b'1 5 0 1 8|~key~abc=~["a",[', "a"),
        (rb'1 5|["\u00fc\"\\",[],{}]', 'ü"\\'),
        (b'1 5|[ "a" , [], {}]', "a"),
        (b'1 5|["cut off', ""),
        (b"\xff\x00", ""),
        (b"", ""),
        (b"1 5|{}", ""),
    ],
)
def test_the_name_is_in_the_beginning_of_a_message(message: bytes, name: str) -> None:
    assert name_in(message) == name


def test_what_is_to_be_selected_is_text(look: Inspection) -> None:
    with pytest.raises(WrongType, match="name: expected str, got 5"):
        look.page("mail", name=5)  # type: ignore[arg-type]
    with pytest.raises(RefusedInput, match="executions: expected 0 to 1000"):
        look.page("mail", executions=-1)


def test_the_awaited_views_are_the_same(app: App, look: Inspection) -> None:
    bury(app, "mail", "dead", [("common", "{}")] * 3)

    async def views_() -> list[Any]:
        awaited = AwaitedInspection(app)
        return [
            *(await awaited.queues(), await awaited.workers(), await awaited.message("maildead0001")),
            *(await awaited.page("mail", "dead"), await awaited.names("mail", "dead"), await awaited.buried()),
            await awaited.parked_names(),
        ]

    expected = [
        *(look.queues(), look.workers(), look.message("maildead0001")),
        *(look.page("mail", "dead"), look.names("mail", "dead"), look.buried(), look.parked_names()),
    ]
    assert asyncio.run(views_()) == expected


def test_both_faces_of_the_inspection_have_the_same_verbs() -> None:
    def shape(function: Any) -> list[Any]:
        return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]

    verbs = {name: one for name, one in vars(AwaitedInspection).items() if not name.startswith("_")}
    ours = {name for name, one in vars(Inspection).items() if callable(one) and not name.startswith("_")}
    flows = {name for name in ours if "Flow" in str(getattr(Inspection, name).__annotations__["return"])}
    assert set(verbs) == ours - flows
    for name, verb in verbs.items():
        assert inspect.iscoroutinefunction(verb)
        assert shape(verb) == shape(getattr(Inspection, name))


#: 50,000 ids, ready and dead, ten of them at each instant.
FILL = """
for first = tonumber(ARGV[1]), ARGV[1] + 49999, 2000 do
  local ids, scored = {}, {}
  for n = first, first + 1999 do
    ids[#ids + 1] = string.format('%07d', n)
    scored[#scored + 1] = string.format('%.0f', 1.7e12 + math.floor(n / 10))
    scored[#scored + 1] = ids[#ids]
  end
  redis.call('RPUSH', KEYS[1], unpack(ids))
  redis.call('ZADD', KEYS[2], unpack(scored))
end
"""


@pytest.mark.stress
def test_very_many_messages_do_not_slow_a_page(app: App, look: Inspection) -> None:
    keys, client, many = app.task_keys("mail"), app.broker.client, 200_000
    client.zadd(app.keys.app.queues, {"mail": "inf"})
    for first in range(0, many, 50_000):
        client.eval(FILL, 2, keys.ready, keys.dead, first)
    client.copy(keys.dead, keys.scheduled)
    for state in ("ready", "scheduled", "dead"):
        for newest in (False, True):
            for skip in (0, many // 2, many - 100):
                found = app.broker.execute(views.page(keys, (State(state),), 50, skip=skip, newest=newest))
                assert len(found.rows) == 50
                taken = []
                for _ in range(5):
                    begun = time.perf_counter()
                    page = look.page("mail", state, found.cursor, limit=50, newest=newest)
                    taken.append(time.perf_counter() - begun)
                    assert len(page.messages) == 50
                print(f"{state} {'newest' if newest else 'oldest'} first, behind {skip:,}: {min(taken) * 1000:.1f} ms")
                assert min(taken) < 0.25  # some milliseconds; the machine may be busy
