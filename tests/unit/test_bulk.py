"""Many calls of one task, before anything is sent."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpqueue.bulk import OPTIONS, bodies, cut
from rpqueue.errors import MessageTooLarge, RefusedInput, UnserializableValue, WrongType
from rpqueue.messages import encode_task
from rpqueue.puts import MOST_BYTES, MOST_MESSAGES

Point = namedtuple("Point", "x y")

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
#: A hypothesis that reads the constants of the library tries its options, too.
keywords = st.dictionaries(
    st.text().map(lambda name: "_" + name).filter(lambda name: name not in OPTIONS), json, max_size=4
)


@given(
    name=st.text(min_size=1),
    calls=st.lists(st.lists(json) | st.lists(json).map(tuple) | keywords),
    more=st.sampled_from([{}, {"_attempts": 3}]),
)
def test_bodies_are_those_of_calls_one_by_one(name: str, calls: list[Any], more: dict[str, Any]) -> None:
    one_by_one = [
        encode_task(name, (), {**call, **more}, 0) if isinstance(call, dict) else encode_task(name, call, more, 0)
        for call in calls
    ]
    assert bodies(name, calls, more, 0) == one_by_one


def test_any_iterable_of_calls_will_do() -> None:
    expected = bodies("add", [(1,), (2,)], {}, 0)
    assert bodies("add", ((n,) for n in (1, 2)), {}, 0) == expected
    assert bodies("add", {(1,): None, (2,): None}.keys(), {}, 0) == expected
    assert bodies("add", [Point(1, 2)], {}, 0) == [encode_task("add", (1, 2), {}, 0)]
    assert bodies("add", [], {}, 0) == []


@pytest.mark.parametrize("calls", ["abc", b"abc", 7, None, {"x": 1}, object()])
def test_what_is_no_iterable_of_calls_is_refused(calls: Any) -> None:
    with pytest.raises(WrongType, match="calls of add: expected an iterable of calls, got"):
        bodies("add", calls, {}, 0)


@pytest.mark.parametrize("call", [5, "abc", None, {1}, iter([1])])
def test_what_is_no_call_is_refused_by_its_number(call: Any) -> None:
    with pytest.raises(WrongType, match=r"^call 2: expected a tuple or list .*, got .*; nothing was sent$") as caught:
        bodies("add", [(1,), (2,), call], {}, 0)
    assert ("(argument,)" in str(caught.value)) == (not isinstance(call, set))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        ((float("nan"),), UnserializableValue, "arguments of add"),
        ([{1: 2}], UnserializableValue, "str keys"),
        ({1: 2}, UnserializableValue, "str keys"),
        ({"x": {3}}, UnserializableValue, "arguments of add"),
        (("x" * 100,), MessageTooLarge, "expected at most 50 bytes"),
        ({"x": "y" * 100}, MessageTooLarge, "expected at most 50 bytes"),
        ({"x": 1, "delay": 5}, RefusedInput, "the option 'delay'"),
        ({"_queue": "x", "_attempts": 5}, RefusedInput, "the option '_attempts'"),
    ],
)
def test_a_call_that_cannot_be_sent_is_refused_by_its_number(call: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^call 1: .*{words}.*; nothing was sent$"):
        bodies("add", [(1,), call], {}, 50)


def test_the_size_limit_is_that_of_a_single_call() -> None:
    whole = encode_task("add", ("x" * 20,), {}, 0)
    assert bodies("add", [("x" * 20,)], {}, len(whole)) == [whole]
    with pytest.raises(MessageTooLarge) as one:
        encode_task("add", ("x" * 20,), {}, len(whole) - 1)
    with pytest.raises(MessageTooLarge) as many:
        bodies("add", [("x" * 20,)], {}, len(whole) - 1)
    assert str(many.value) == f"call 0: {one.value}; nothing was sent"


def test_a_list_that_holds_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(UnserializableValue, match="call 0"):
        bodies("add", [circle], {}, 0)


def test_an_error_of_the_users_own_iterable_comes_through() -> None:
    def calls() -> Any:
        yield (1,)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bodies("add", calls(), {}, 0)


@pytest.mark.parametrize("number", [0, 1, 999, 1000, 1001, 2500])
def test_pieces_have_at_most_a_thousand_messages(number: int) -> None:
    pairs = [(str(n), b"[]") for n in range(number)]
    pieces = list(cut(pairs))
    assert [pair for piece in pieces for pair in piece] == pairs
    assert all(0 < len(piece) <= MOST_MESSAGES for piece in pieces)
    assert len(pieces) == -(-number // MOST_MESSAGES)


def test_pieces_have_at_most_so_many_bytes_unless_one_message_has_more() -> None:
    half, more = b"x" * (MOST_BYTES // 2), b"x" * (MOST_BYTES + 1)
    assert [len(piece) for piece in cut([("a", half)] * 5)] == [2, 2, 1]
    assert [len(piece) for piece in cut([("a", b""), ("b", more), ("c", b""), ("d", half)])] == [1, 1, 2]
    assert [len(piece) for piece in cut([("b", more), ("c", more)])] == [1, 1]
