"""Route: which queues a round visits, and where an idle worker waits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpqueue.app import App
from rpqueue.protocol.cycle import Round
from rpqueue.worker.route import ABREAST, AllQueues, NamedQueues, Route, route_for

NAMES = st.lists(st.sampled_from("abcdefghij"), unique=True)


@pytest.fixture(scope="module")
def app() -> App:
    return App(prefix="test")  # connects to nothing before it is asked to


def said(ready: Iterable[tuple[str, float]] = (), hands: Iterable[str] = ()) -> Round:
    return Round(0.0, [], [], 0.0, list(ready), list(hands), {})


def names(route: Route, also: Iterable[str] = ()) -> list[str]:
    return [keys.name for keys in route.queues(also, True)]


# ---- all queues


def test_a_worker_of_all_queues_visits_none_before_the_index_names_one(app: App) -> None:
    assert names(AllQueues(app)) == []


def test_the_queues_of_a_round_are_task_queues_under_the_prefix(app: App) -> None:
    route = AllQueues(app)
    route.learn((), said([("a", 1)]), 0.0)
    assert route.queues([], True) == [app.keys.tasks("a")]


def test_the_first_ready_queues_go_by_priority_and_no_more_than_abreast(app: App) -> None:
    route = AllQueues(app)
    route.learn((), said([("e", float("inf")), ("d", 4), ("c", 3), ("a", -1), ("b", 2), ("f", 5)]), 0.0)
    assert names(route) == ["a", "b", "c", "d"]
    assert ABREAST == 4


def test_queues_of_equal_priority_go_in_random_order(app: App) -> None:
    route = AllQueues(app)
    route.learn((), said([("a", 0), *((name, 1.0) for name in "bcdefghi")]), 0.0)
    rounds = [names(route) for _ in range(300)]
    assert {names[0] for names in rounds} == {"a"}
    assert {names[1] for names in rounds} == set("bcdefghi")
    assert all(len(names) == ABREAST for names in rounds)


@given(ready=NAMES, hands=NAMES, woken=NAMES, also=NAMES)
def test_every_queue_that_needs_a_hand_or_is_asked_for_is_visited_once(
    app: App, ready: list[str], hands: list[str], woken: list[str], also: list[str]
) -> None:
    route = AllQueues(app)
    route.learn((), said([(name, number) for number, name in enumerate(ready)], hands), 0.0)
    for name in woken:
        route.woken(name.encode())
    visited = names(route, also)
    assert visited[: len(ready[:ABREAST])] == ready[:ABREAST]
    assert set(visited) == {*ready[:ABREAST], *hands, *woken, *also}
    assert len(visited) == len(set(visited))


def test_what_a_reply_says_replaces_what_was_known(app: App) -> None:
    route = AllQueues(app)
    route.learn((), said([("a", 1)], ["b"]), 0.0)
    route.woken(b"c")
    route.learn((), said([("d", 1)], ["e"]), 0.0)
    assert names(route) == ["d", "e"]
    route.learn((), said(), 0.0)
    assert names(route) == []


def test_also_holds_for_one_round(app: App) -> None:
    route = AllQueues(app)
    assert names(route, ["a"]) == ["a"]
    assert names(route) == []


@pytest.mark.parametrize("token", [None, b""])
def test_a_wait_that_ran_out_says_nothing(app: App, token: bytes | None) -> None:
    route = AllQueues(app)
    route.woken(token)
    assert names(route) == []


def test_a_wake_token_changes_nothing_in_the_reply_it_came_after(app: App) -> None:
    route, reply = AllQueues(app), said([], ["a"])
    route.learn((), reply, 0.0)
    route.woken("grün".encode())
    assert names(route) == ["a", "grün"]
    assert reply.hands == ["a"]


def test_what_is_due_is_told_as_a_local_instant(app: App) -> None:
    reply = said()._replace(now=1_700_000_000.0, due=1_700_000_002.5)
    for route in (AllQueues(app), NamedQueues(app, ["a"])):
        assert route.learn((), reply, 100.0) == 102.5
        assert route.learn((), said(), 100.0) == 0.0


def test_a_worker_of_all_queues_waits_on_the_apps_list(app: App) -> None:
    assert list(AllQueues(app).wake_keys()) == [b"test:{app}:wake"]


# ---- named queues


def test_a_worker_of_named_queues_visits_all_of_them_in_random_order(app: App) -> None:
    route = NamedQueues(app, ["a", "b", "c"])
    rounds = [names(route) for _ in range(200)]
    assert {tuple(sorted(names)) for names in rounds} == {("a", "b", "c")}
    assert {names[0] for names in rounds} == {"a", "b", "c"}
    assert route.names == ["a", "b", "c"]


def test_a_worker_of_named_queues_visits_no_others_but_those_asked_for(app: App) -> None:
    route = NamedQueues(app, ["a"])
    route.learn((), said([("b", 1)], ["c"]), 0.0)
    route.woken(b"d")
    assert names(route) == ["a"]
    assert names(route, ["e", "a"]) == ["a", "e"]
    assert names(route) == ["a"]


def test_a_worker_of_named_queues_waits_on_each_of_theirs(app: App) -> None:
    assert list(NamedQueues(app, ["a", "b"]).wake_keys()) == [b"test:{tasks:a}:wake", b"test:{tasks:b}:wake"]


def test_a_prefix_that_changes_is_followed() -> None:
    app = App(prefix="test")
    routes: list[Any] = [AllQueues(app), NamedQueues(app, ["a"])]
    app.set_key_prefix("test2")
    assert [bytes(route.wake_keys()[0]).split(b":")[0] for route in routes] == [b"test2", b"test2"]
    assert [route.queues(["a"], True) for route in routes] == [[app.keys.tasks("a")]] * 2


# ---- which of them


def test_no_names_mean_all_queues_and_an_empty_list_means_none(app: App) -> None:
    everything, nothing, two = (
        route_for(app, app.broker, None),
        route_for(app, app.broker, []),
        route_for(app, app.broker, ["a", "b"]),
    )
    assert isinstance(everything, AllQueues)
    assert isinstance(nothing, NamedQueues)
    assert (names(nothing), list(nothing.wake_keys())) == ([], [])
    assert sorted(names(two)) == ["a", "b"]


def test_only_a_worker_of_all_queues_yields_to_queues_it_did_not_name(app: App) -> None:
    everything, two = route_for(app, app.broker, None), route_for(app, app.broker, ["a"])
    assert (everything.indexed, everything.yields) == (True, True)
    assert (two.indexed, two.yields) == (True, False)
