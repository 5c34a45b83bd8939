"""Messages on the wire: values come back equal, and what JSON cannot carry is refused in words."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections import OrderedDict
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpqueue.errors import MessageTooLarge, NewerMessage, RefusedInput, Undecodable, UnserializableValue, WrongType
from rpqueue.messages import (
    MAX_MESSAGE_BYTES,
    Flags,
    Headers,
    can_read,
    decode,
    decode_task,
    encode,
    encode_task,
    header_tail,
    new_id,
    new_ids,
    parking_name,
    parse_header,
    seconds,
    split,
)

TEXT = st.text(st.characters())  # lone surrogates included
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


class Unspeakable:
    def __repr__(self) -> str:
        raise LookupError("no words")


def itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


# ---- bodies


@given(JSON)
@example([])
@example({})
@example("")
@example(2**63)
@example(-(2**200))
@example(0.1 + 0.2)
@example(5e-324)
@example([[[{"a": [None, True, False, {"": []}]}]]])
@example("\x00 \u2028 \U0001f600 é")
@example("\ud800")
@example({"\udfff": "\ud83d"})
def test_a_json_value_comes_back_equal_and_of_the_same_types(value: Any) -> None:
    back = decode(encode(value, "item", 0))
    assert back == value
    assert json.dumps(back) == json.dumps(value)  # tells 1 from 1.0 and from True


def test_minus_zero_keeps_its_sign() -> None:
    assert math.copysign(1, decode(encode(-0.0, "item"))) == -1


@given(TEXT)
def test_bodies_are_ascii_with_surrogates_escaped(text: str) -> None:
    assert encode(text, "item").isascii()
    assert encode("\ud800", "item") == b'"\\ud800"'


def test_bodies_hold_no_needless_spaces() -> None:
    assert encode({"a": [1, 2], "b": None}, "item") == b'{"a":[1,2],"b":null}'


def test_tuples_and_subclasses_of_dict_are_carried_as_json_has_them() -> None:
    assert decode(encode((1, (2, [])), "item")) == [1, [2, []]]
    assert decode(encode(OrderedDict(b=1, a=2), "item")) == {"b": 1, "a": 2}


@pytest.mark.parametrize("around", [lambda value: value, lambda value: [value], lambda value: {"a": (value,)}])
@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        {1, 2},
        frozenset(),
        b"bytes",
        bytearray(b"bytes"),
        object(),
        1j,
        {1: "one"},
        {None: 1},
        {True: 1},
        {1.5: 1},
        {(1, 2): 3},
        {b"key": 1},
        itself(),
        nested(100_000),
        10**5_000,
        timedelta(1),
        Unspeakable(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_carry_is_refused_wherever_it_stands(value: Any, around: Any) -> None:
    with pytest.raises(UnserializableValue, match=r"^item 3: expected .*JSON.*, got .+"):
        encode(around(value), "item 3")


def test_a_refusal_shows_the_value_cut_short() -> None:
    with pytest.raises(UnserializableValue) as refused:
        encode({"x" * 1000, "y"}, "item")
    assert re.match(r"item: expected a value that JSON can carry, got \{'.{75}\.\.\. \(.*set.*\)$", str(refused.value))


def test_a_refusal_can_be_said_of_a_value_without_repr() -> None:
    with pytest.raises(UnserializableValue, match="a Unspeakable whose repr failed with LookupError"):
        encode(Unspeakable(), "item")


def test_a_refusal_of_other_keys_says_that_keys_must_be_str() -> None:
    with pytest.raises(UnserializableValue, match=r"item: expected dicts with str keys, as in JSON, got \{1: 2\}"):
        encode({1: 2}, "item")


def test_refusals_are_value_errors_with_a_cause() -> None:
    with pytest.raises(ValueError, match="JSON") as refused:
        encode(math.nan, "item")
    assert isinstance(refused.value, RefusedInput)
    assert isinstance(refused.value.__cause__, ValueError)


def test_a_value_may_fill_the_limit_and_not_a_byte_more() -> None:
    assert encode("x" * 8, "item", 10) == b'"xxxxxxxx"'
    with pytest.raises(
        MessageTooLarge, match=r"^item: expected at most 10 bytes of JSON \(MAX_MESSAGE_BYTES\), got 11"
    ):
        encode("x" * 9, "item", 10)


def test_the_limit_counts_the_bytes_of_the_wire() -> None:
    with pytest.raises(MessageTooLarge, match="got 14;"):
        encode("éé", "item", 13)  # each takes six bytes as an escape


def test_a_limit_is_set_unless_it_is_0() -> None:
    big = "x" * MAX_MESSAGE_BYTES
    with pytest.raises(MessageTooLarge):
        encode(big, "item")
    assert decode(encode(big, "item", 0), limit=0) == big


def test_a_body_over_the_limit_is_not_even_parsed() -> None:
    assert decode(b"[1,2]", "body", 5) == [1, 2]
    with pytest.raises(Undecodable, match=r"^body: expected at most 4 bytes \(MAX_MESSAGE_BYTES\), got 5$"):
        decode(b"nope!", "body", 4)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nope",
        b"[1,]",
        b"[1] 2",
        b"NaN",
        b"[Infinity]",
        b'{"a":-Infinity}',
        b"\xff",
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf[]",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"1e400",
        b"[-1E999]",
        b"9" * 400 + b".5",
        b"9" * 5_000,
        b"[-" + b"9" * 5_000 + b"]",
        b"[]".decode().encode("utf-16"),
    ],
    ids=lambda body: repr(body[:10]),
)
def test_bytes_that_are_no_json_are_undecodable(body: bytes) -> None:
    with pytest.raises(Undecodable, match=r"^body: expected JSON, got \d+ other bytes \("):
        decode(body, "body")


@given(st.binary())
def test_no_bytes_make_decoding_crash(body: bytes) -> None:
    with contextlib.suppress(Undecodable):
        decode(body)


@given(st.text(min_size=1), st.lists(JSON, max_size=3), st.dictionaries(TEXT, JSON, max_size=3))
def test_a_task_body_keeps_name_args_and_kwargs(name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    assert decode_task(encode_task(name, tuple(args), kwargs, 0)) == (name, args, kwargs)


@pytest.mark.parametrize(
    "body", [b"null", b'"abc"', b'["a",[]]', b'["a",[],{},1]', b"[1,[],{}]", b'["a",{},{}]', b'["a",[],[]]', b"{}"]
)
def test_json_of_another_shape_is_no_task(body: bytes) -> None:
    with pytest.raises(Undecodable, match=r"task body: expected \[name, args, kwargs\], got other JSON of \d+ bytes$"):
        decode_task(body)


def test_a_task_whose_arguments_are_refused_is_named() -> None:
    with pytest.raises(UnserializableValue, match=r"^arguments of mail\.send: expected"):
        encode_task("mail.send", ({1},), {}, 0)
    with pytest.raises(MessageTooLarge, match=r"^arguments of mail\.send: expected at most 5"):
        encode_task("mail.send", (), {}, 5)
    with pytest.raises(Undecodable, match="task body: expected at most 5"):
        decode_task(encode_task("mail.send", (), {}, 0), 5)


# ---- headers


@given(
    st.integers(0, 10**13),
    st.integers(0, 10**13),
    st.integers(0, 10**9),
    st.integers(0, sum(Flags)),
)
def test_a_header_says_what_its_tail_was_made_of(available_at: int, lease: int, attempts: int, flags: int) -> None:
    header = f"1 {available_at}{header_tail(lease / 1000, attempts, flags)}".encode()
    assert parse_header(header) == (available_at / 1000, lease / 1000, attempts, Flags(flags))


def test_the_usual_header_has_no_tail() -> None:
    assert header_tail() == ""
    assert parse_header(b"1 1500") == (1.5, 0, 1, Flags(0))


@pytest.mark.parametrize("part", [{"lease": 0.001}, {"attempts": 2}, {"flags": Flags.WATCHED}])
def test_whatever_differs_from_the_default_makes_a_tail(part: dict[str, Any]) -> None:
    assert header_tail(**part).startswith(" ")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"1",
        b"x 1",
        b"1 x",
        b"1 1 1",
        b"1 1 1 1",
        b"1 1 1 1 x",
        b"1  1",
        b"1 1.5",
        b"1 " + b"9" * 400,
        b"1 1 " + b"9" * 400 + b" 1 1",
        b"1 " + b"9" * 5_000,
        b"\xff \xff",
        # What int() takes and Lua does not.
        b"+1 1500",
        b"01 1500",
        b"0 1500",
        b"1 +5",
        b"1 1_0",
        b"1 -5",
        b"1 1500\n",
        b" 1 1500",
        "1 \u0661".encode(),
        b"1 1500 2000 3 1more",
    ],
    ids=lambda header: repr(header[:20]),
)
def test_a_malformed_header_is_undecodable(header: bytes) -> None:
    with pytest.raises(Undecodable, match=r"^message header: expected 'VERSION AVAILABLE_AT .*', got \d+ other bytes$"):
        parse_header(header)


@given(st.binary(max_size=40))
def test_no_bytes_make_a_header_crash(header: bytes) -> None:
    with contextlib.suppress(Undecodable):
        parse_header(header)


def test_a_header_of_a_newer_version_is_read_and_its_body_is_not() -> None:
    assert parse_header(b"2 1500 2000 3 1 more") == (1.5, 2.0, 3, Flags.USE_DEAD)
    with pytest.raises(NewerMessage, match=r"^message version: expected 1 or less, got 2; a newer rpqueue") as caught:
        split(b"abc", 7, b"2 1500|[]")
    assert caught.value.version == 2


def test_what_an_older_version_parked_is_told_from_the_names_of_tasks() -> None:
    assert parking_name(2) == "version 2"
    assert [can_read(one) for one in ("version 1", "version 0", "version 2", "version", "version x", "one")] == [
        *[True, True, False, False, False, False]
    ]
    assert not can_read("version " + "1" * 5000)


@pytest.mark.parametrize("header", [b"1 1500 2000 3 1 more words", b"1 1500 2000 3 1 "])
def test_further_words_of_a_header_are_let_be(header: bytes) -> None:
    assert parse_header(header) == (1.5, 2.0, 3, Flags.USE_DEAD)
    assert Headers().terms(header) == (2.0, 3, Flags.USE_DEAD)


def test_flags_that_a_newer_version_knows_are_let_be() -> None:
    assert parse_header(b"1 1500 0 1 %d" % (2**40 + 2))[3] == Flags.WATCHED


def test_a_message_is_split_at_its_first_bar() -> None:
    leased = split(b"abc", 7, b"1 1500 2000 3 1|a|b")
    assert leased == ("abc", 7, 1.5, 2.0, 3, Flags.USE_DEAD, b"a|b")


def test_a_message_without_a_bar_is_undecodable() -> None:
    with pytest.raises(Undecodable, match=r"message b'abc': expected 'header\|body', got 6 bytes without a bar$"):
        split(b"abc", 7, b"1 1500")


# ---- ids and seconds


def test_an_id_is_24_hex_characters() -> None:
    for one in [new_id(), *new_ids(3)]:
        assert re.fullmatch("[0-9a-f]{24}", one)


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_new_ids_are_as_many_as_asked_for_and_distinct(count: int) -> None:
    ids = new_ids(count)
    assert ids == sorted(ids)
    assert len(ids) == count
    assert len({*ids, *(new_id() for _ in range(count))}) == 2 * count


def test_many_ids_cost_one_reading_of_the_random_source(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "urandom", lambda size: asked.append(size) or bytes(range(size)))
    assert new_ids(2) == ["000102030405060708090a0b", "0c0d0e0f1011121314151617"]
    assert asked == [24]


@pytest.mark.parametrize(("value", "number"), [(0, 0.0), (1, 1.0), (0.5, 0.5), (timedelta(minutes=1), 60.0)])
def test_seconds_are_numbers_or_timedeltas(value: Any, number: float) -> None:
    assert seconds(value, "delay") == number
    assert type(seconds(value, "delay")) is float


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf, 1e10, timedelta(-1), 10**400])
def test_seconds_out_of_range_are_refused(value: Any) -> None:
    with pytest.raises(RefusedInput, match=r"^delay: expected seconds >= 0, got "):
        seconds(value, "delay")


@pytest.mark.parametrize("value", [None, True, "1", b"1", [], {}])
def test_seconds_of_another_type_are_refused(value: Any) -> None:
    with pytest.raises(WrongType, match=r"^delay: expected seconds as int, float or timedelta, got "):
        seconds(value, "delay")
