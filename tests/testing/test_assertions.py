"""assert_enqueued and its kin: what they find, and what they say when it is not there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest import mock

import pytest

from rpqueue import testing
from rpqueue.errors import RefusedInput, WrongType
from rpqueue.testing import Sandbox


@pytest.fixture
def send(box: Sandbox) -> Any:
    return box.app.task(lambda *args, **kwargs: None, name="mail.send", queue="mail")


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"args": (1, ("a", "b"))},
        {"args": [1, ["a", "b"]]},
        {"args": (mock.ANY, mock.ANY)},
        {"kwargs": {"to": {"x": (1,)}}},
        {"kwargs": {"to": mock.ANY}},
        {"queue": "mail"},
        {"queue": b"mail"},
        {"delay": 0},
        {"count": 1},
        {"args": (1, ("a", "b")), "kwargs": {"to": {"x": [1]}}, "queue": "mail", "delay": 0, "count": 1},
    ],
)
def test_a_call_is_found_by_any_part_of_it(box: Sandbox, send: Any, expected: dict[str, Any]) -> None:
    call = send.execute(1, ("a", "b"), to={"x": (1,)})
    box.app.task(lambda: None, name="other").execute()
    [found] = box.assert_enqueued(send, **expected)
    assert found == box.assert_enqueued("mail.send", **expected)[0]
    assert (found.id, found.name, found.args, found.queue, found.state) == (
        call.taskid,
        "mail.send",
        [1, ["a", "b"]],
        "mail",
        "ready",
    )


@pytest.mark.parametrize(
    "expected",
    [
        {"args": (1,)},
        {"args": ()},
        {"kwargs": {}},
        {"kwargs": {"to": 2}},
        {"queue": "other"},
        {"delay": 60},
        {"count": 0},
        {"count": 2},
    ],
)
def test_a_call_that_differs_is_not_found(box: Sandbox, send: Any, expected: dict[str, Any]) -> None:
    send.execute(1, 2, to="ada")
    with pytest.raises(AssertionError, match="assert_enqueued: expected"):
        box.assert_enqueued(send, **expected)
    if expected != {"count": 0}:
        expected.pop("count", None)
        if expected:
            box.refute_enqueued(send, **expected)


def test_without_a_task_any_call_counts(box: Sandbox, send: Any) -> None:
    box.refute_enqueued()
    send.execute_many([(1,), (2,), (2,)])
    assert len(box.assert_enqueued()) == 3
    box.assert_enqueued(count=3)
    box.assert_enqueued(args=(2,), count=2)
    with pytest.raises(AssertionError, match=r"refute_enqueued: expected none, got 2: call of mail.send, args \[2\]"):
        box.refute_enqueued(send, args=(2,))


def test_a_delay_is_compared_with_what_it_may_have_been(box: Sandbox, send: Any) -> None:
    send.execute(delay=60)
    for delay in (60, 60.0, timedelta(minutes=1)):
        [call] = box.assert_enqueued(send, delay=delay)
        assert (call.state, 0 < call.due <= 60) == ("scheduled", True)
    for delay in (0, 50, 61, 3600):
        box.refute_enqueued(send, delay=delay)
    box.clock.advance(30)
    send.execute(delay=60)
    box.assert_enqueued(send, delay=60, count=2)
    box.refute_enqueued(send, delay=45)  # as if it had been enqueued while the clock was turned
    box.clock.advance(30)
    assert [call.args for call in box.assert_enqueued(send, delay=60)] == [[], []]
    box.worker.run()
    box.assert_enqueued(send, delay=60, count=1)


def test_the_message_shows_what_waits_instead(box: Sandbox, send: Any) -> None:
    send.execute(2, "x")
    send.execute(1, "x", _queue="elsewhere", delay=60)
    box.app.task(lambda: None, name="report").execute()
    with pytest.raises(AssertionError) as told:
        box.assert_enqueued(send, args=(1, "x"), queue="mail")
    lines = str(told.value).splitlines()
    assert lines[:2] == [
        "assert_enqueued: expected one at least, got none: call of mail.send, queue 'mail', args [1, 'x']",
        "3 wait:",
    ]
    assert lines[2:] == [
        "  mail.send(1, 'x') in elsewhere, due in 60.0 s",
        "      queue: expected 'mail', got 'elsewhere'",
        "  mail.send(2, 'x') in mail, ready",
        "      args: expected [1, 'x'], got [2, 'x']",
        "  report() in default, ready",
    ]


def test_long_values_are_shown_as_a_difference(box: Sandbox, send: Any) -> None:
    given = {"name": "Ada Lovelace", "street": "Dorset Street", "town": "London"}
    send.execute(**given)
    with pytest.raises(AssertionError) as told:
        box.assert_enqueued(send, kwargs={**given, "town": "Paris"})
    text = str(told.value)
    assert "kwargs: expected (-), got (+)" in text
    assert "- " in text
    assert "'Paris'" in text
    assert "'London'" in text


def test_those_that_fit_are_marked_when_they_are_too_many(box: Sandbox, send: Any) -> None:
    send.execute_many([(1,), (1,), (2,)])
    with pytest.raises(AssertionError) as told:
        box.assert_enqueued(send, args=(1,), count=1)
    assert str(told.value).splitlines() == [
        "assert_enqueued: expected 1, got 2: call of mail.send, args [1]",
        "3 wait:",
        "  = mail.send(1) in mail, ready",
        "  = mail.send(1) in mail, ready",
        "  mail.send(2) in mail, ready",
        "      args: expected [1], got [2]",
    ]


def test_of_many_only_the_nearest_are_shown(box: Sandbox, send: Any) -> None:
    send.execute_many([(number,) for number in range(30)])
    with pytest.raises(AssertionError, match="and 10 more"):
        box.assert_enqueued(send, args=("x",))


def test_nothing_is_said_to_be_nothing(box: Sandbox, send: Any) -> None:
    with pytest.raises(AssertionError, match=r"Nothing waits\.$"):
        box.assert_enqueued(send)
    box.app.settings.always_eager = True
    send.execute()
    with pytest.raises(AssertionError, match="ALWAYS_EAGER is on, so calls ran when they were made"):
        box.assert_enqueued(send)


def test_redacted_arguments_are_compared_and_not_shown(box: Sandbox) -> None:
    login = box.app.task(lambda user, password: None, name="login", redact=["password"])
    login.execute("ada", "hush")
    box.assert_enqueued(login, args=("ada", "hush"))
    with pytest.raises(AssertionError) as told:
        box.assert_enqueued(login, queue="other")
    assert "hush" not in str(told.value)
    assert "login('ada', '***')" in str(told.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": 7},
        {"args": 7},
        {"args": "x"},
        {"kwargs": []},
        {"count": -1},
        {"count": True},
        {"delay": "soon"},
        {"queue": ""},
    ],
)
def test_expectations_that_make_no_sense_are_refused(box: Sandbox, wrong: dict[str, Any]) -> None:
    with pytest.raises((WrongType, RefusedInput), match="expected"):
        box.assert_enqueued(**wrong)


def test_items_are_found_as_calls_are(box: Sandbox) -> None:
    items = box.app.Data("items", vis_timeout=60)
    box.refute_put()
    [first, second] = items.put_data([{"a": (1,)}, "x"])
    box.app.Data("others", vis_timeout=60).put_data([7], delay=60)
    assert [item.id for item in box.assert_put(items, item={"a": [1]})] == [first]
    assert [item.id for item in box.assert_put("items", "x", delay=0)] == [second]
    box.assert_put(item=mock.ANY, count=3)
    box.assert_put("others", 7, delay=60, count=1)
    box.assert_put("others", count=1)
    box.refute_put("items", 7)
    assert [(item.value, item.queue, item.state) for item in box.all_put()] == [
        ({"a": [1]}, "items", "ready"),
        ("x", "items", "ready"),
        (7, "others", "scheduled"),
    ]
    items.get_data()
    assert [item.state for item in box.assert_put(items)] == ["ready", "leased"]
    with pytest.raises(AssertionError) as told:
        box.assert_put(items, "y")
    assert (
        str(told.value).splitlines()[0] == "assert_put: expected one at least, got none: item, queue 'items', value 'y'"
    )
    assert "  'x' in items, ready" in str(told.value)


def test_none_is_an_item_like_any_other(box: Sandbox) -> None:
    box.app.Data("items").put_data([None, 1])
    box.assert_put("items", None, count=1)


def test_plain_functions_mean_the_sandbox_that_was_entered_last(box: Sandbox, send: Any) -> None:
    send.execute(1)
    box.app.Data("items").put_data(["x"])
    assert testing.current() is box
    assert testing.assert_enqueued(send, args=(1,)) == testing.all_enqueued()
    testing.refute_enqueued(send, args=(2,))
    assert testing.assert_put("items", "x") == testing.all_put()
    testing.refute_put("items", "y")
    for verb in (
        lambda: testing.assert_enqueued(count=2),
        lambda: testing.refute_enqueued(send),
        lambda: testing.assert_put(count=2),
        lambda: testing.refute_put("items"),
    ):
        with pytest.raises(AssertionError):
            verb()
