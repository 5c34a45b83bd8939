"""Many messages at once are encoded, decoded and read as one by one."""

from __future__ import annotations

import json
from collections import OrderedDict
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpqueue.errors import RefusedInput, Undecodable
from rpqueue.messages import (
    Flags,
    Headers,
    check_version,
    decode,
    decode_each,
    encode,
    encode_each,
    encode_task,
    header_tail,
    parse_header,
)


class Colour(IntEnum):
    RED = 1


KEYS = st.text(max_size=3) | st.integers(0, 3) | st.booleans() | st.none() | st.floats(0, 1)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([Colour.RED, b"bytes", {1}, 2 + 1j, 2**63, "\ud800"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2).map(OrderedDict)
    ),
    max_leaves=4,
)
BODIES = st.builds(lambda value: json.dumps(value).encode(), VALUES.filter(lambda value: is_json(value)))
ODD = st.sampled_from([b"", b" ", b"1,2", b"[1", b"2]", b'"', b"NaN", b"\xff", b"\xef\xbb\xbf1", b'1,"a",2', b" 1 "])


def is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def refusal_or(function: Any, *args: Any) -> Any:
    """What it returns, or the kind of its refusal."""
    try:
        return function(*args)
    except (RefusedInput, Undecodable) as error:
        return type(error)


@given(st.lists(VALUES, max_size=4), st.sampled_from([0, 20]))
@example([{"a": 1}, {2: 3}], 0)
@example([{"a": {2: 3}}], 0)
@example([{"a": [{2: 3}]}, {"b": 1}], 0)
@example([[{2: 3}], 1], 0)
@example([OrderedDict({2: 3})], 0)
@example([{True: 1}], 0)
@example([float("nan"), 1], 0)
def test_many_values_are_encoded_as_each_alone(values: list[Any], limit: int) -> None:
    alone = [refusal_or(encode, value, "value", limit) for value in values]
    refused = any(not isinstance(body, bytes) for body in alone)
    assert encode_each(values, limit) == (None if refused else alone)


LONG = 5000
SPECIAL = ["", "\x00", "\n", "\x1f", "\x7f", '"', "\\", "é", "\u2028", "\ud800", "\U0001f600", "~ "]


class Loud(str):
    def __str__(self) -> str:
        return self.upper()

    def __format__(self, spec: str) -> str:
        return self.upper()


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("at", [0, LONG // 2, LONG])
def test_long_texts_are_quoted_as_json_quotes_them(special: str, at: int) -> None:
    text = "x" * at + special + "y" * (LONG - at)
    short = special + "z"
    dumped = json.dumps(text).encode()
    assert encode_task("t", (text, short), {}, 0) == b'["t",[%s,%s],{}]' % (dumped, json.dumps(short).encode())
    assert encode_task("t", [], {"a": text}, 0) == b'["t",[],{"a":%s}]' % dumped
    assert encode_each([text, {"a": text}, [text, short], text], 0) == [
        dumped,
        b'{"a":%s}' % dumped,
        b"[%s,%s]" % (dumped, json.dumps(short).encode()),
        dumped,
    ]
    assert encode_task("t", (text, Loud(text)), {}, 0) == b'["t",[%s,%s],{}]' % (dumped, dumped)


@pytest.mark.parametrize("size", [1, LONG])
def test_other_keys_beside_long_texts_are_refused(size: int) -> None:
    text = "x" * size
    for args, kwargs in [((text, {1: 2}), {}), ((), {"a": {1: 2}, "b": text}), (({"a": {1: 2}}, text), {})]:
        with pytest.raises(RefusedInput, match="str keys"):
            encode_task("t", args, kwargs, 0)
    assert encode_each([text, {1: 2}], 0) is None
    assert encode_task("t", (text, "{"), {}, 0) == b'["t",["%s","{"],{}]' % text.encode()


@given(st.lists(BODIES | ODD, max_size=5))
@example([b"[1", b"2]"])
@example([b"1", b'1,"a",2'])
def test_many_bodies_are_decoded_as_each_alone(bodies: list[bytes]) -> None:
    together = decode_each(bodies)
    if together is not None:
        assert json.dumps(together) == json.dumps([decode(body) for body in bodies])


@given(st.lists(BODIES, min_size=2, max_size=5))
def test_good_bodies_are_decoded_together(bodies: list[bytes]) -> None:
    assert json.dumps(decode_each(bodies)) == json.dumps([decode(body) for body in bodies])


@pytest.mark.parametrize("bodies", [[], [b"1"], [b'"%s"' % (b"x" * 10_000)] * 3])
def test_where_it_does_not_pay_each_is_left_to_be_decoded_alone(bodies: list[bytes]) -> None:
    assert decode_each(bodies) is None


HEADERS = (
    st.builds(
        lambda instant, lease, attempts, flags: b"1 %d%s" % (instant, header_tail(lease, attempts, flags).encode()),
        st.integers(0, 10**15) | st.sampled_from([1_700_000_000_000, 1_700_000_000_001]),
        st.sampled_from([0, 0.5, 30]),
        st.integers(1, 3),
        st.sampled_from([0, Flags.USE_DEAD, Flags.WATCHED | Flags.DELAYED]),
    )
    | st.sampled_from([b"1 1000 5000 3 1", b"1 170000000000x", b"2 1700000000000", b"1 1700000000000 5", b"", b"1 1"])
    | st.binary(max_size=20)
)


@given(st.lists(HEADERS, max_size=8))
@example([b"1 1700000000000 5000 3 1", b"1 1700000000000 5000 3 1", b"1 170000000000x 5000 3 1"])
@example([b"1 17000000000005 5000 3 1", b"1 17000000000005 5000 3 1"])
def test_headers_say_the_same_as_each_by_itself(headers: list[bytes]) -> None:
    reader = Headers()
    for header in headers * 2:
        alone = refusal_or(check_version, header) or refusal_or(parse_header, header)
        assert refusal_or(reader.terms, header) == (alone[1:] if isinstance(alone, tuple) else alone)
