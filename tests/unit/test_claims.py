"""Claims: many bodies decoded in one call come out as each would alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpqueue.errors import NewerMessage
from rpqueue.keys import Keys
from rpqueue.messages import Flags, encode_task, header_tail
from rpqueue.protocol.claimed import Claimed
from rpqueue.worker.claims import Claim, decode

KEYS = Keys().tasks("mail")
NOW = 1_700_000_000.0
HEADER = b"1 1700000000000"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
GOOD = st.builds(
    lambda name, args, kwargs: encode_task(name, args, kwargs, 0),
    st.text(min_size=1),
    st.lists(JSON, max_size=3),
    st.dictionaries(st.text(), JSON, max_size=3),
)
MALFORMED = st.sampled_from(
    [
        b"",
        b" ",
        b"null",
        b"nonsense",
        b'"abc"',
        b'{"a":1,"b":2,"c":3}',
        b'["a",[]]',
        b'["a",[],{},1]',
        b"[[1],[],{}]",
        b'["a",{},[]]',
        b'["a",[NaN],{}]',
        b'["a",[-Infinity],{}]',
        b'["a",["\xff"],{}]',
        b'["a",["\xed\xa0\x80"],{}]',  # a surrogate that is no UTF-8
        b"\xef\xbb\xbf" + b'["a",[],{}]',
        b'["a",[' + b"[" * 100_000 + b"]" * 100_000 + b"],{}]",
        b'["a",[' + b"9" * 5_000 + b"],{}]",
        b'\x00["a",[],{}]',
    ]
)
# Each is no JSON alone, and makes some with its neighbours.
HOSTILE = st.sampled_from(
    [
        b'["a",[],{}],["b",[],{}]',
        b'["a",[],{}],["b",[]',
        b'["x",[',
        b"{}]",
        b"2],{}]",
        b'],{}],["y",[],{}],["z",[],{}]',
        b'],{}],["y",[],{}]',
        b"],[",
        b'["a",["',
        b'"],{}]',
    ]
)
HEADERS = st.sampled_from(
    [
        HEADER,
        HEADER + b" 60000 3 1",
        HEADER + b" 0 1 10",
        b"1 1000 5000 3 1",  # as long as a header that says nothing but version and instant
        b"1 170000000000x",
        b"2 1700000000000",
        b"",
    ]
)


def claimed(*messages: bytes) -> list[Claimed]:
    """All of one queue, and the second one not for the first time."""
    again = [2, 5, 0, 1] if len(messages) > 1 else []
    return [Claimed(KEYS, [b"%024d" % number for number in range(len(messages))], list(messages), again)]


def decode_one(message: bytes, limit: int = 0) -> Claim:
    [claim] = decode(claimed(message), NOW, limit)
    return claim


def content(claim: Claim) -> tuple[Any, ...]:
    """All that a body and a header decide."""
    error = (type(claim.error), str(claim.error)) if claim.error else None
    values = json.dumps([claim.name, claim.args, claim.kwargs])  # tells 1 from 1.0 and from True
    return values, error, claim.deadline, claim.attempts, claim.flags


@given(st.lists(st.tuples(HEADERS, GOOD | MALFORMED | HOSTILE), max_size=6), st.sampled_from([0, 30]))
@example([(HEADER, b'["a",[1'), (HEADER, b'2],{}],["b",[],{}]')], 0)
@example([(HEADER, b'["x",['), (HEADER, b'["b",[],{}]'), (HEADER, b'],{}],["y",[],{}],["z",[],{}]')], 0)
def test_a_batch_decodes_as_its_messages_do_one_by_one(parts: list[tuple[bytes, bytes]], limit: int) -> None:
    messages = [header + b"|" + body for header, body in parts]
    together = decode(claimed(*messages), NOW, limit)
    assert [content(claim) for claim in together] == [content(decode_one(message, limit)) for message in messages]


@given(st.lists(GOOD, min_size=2, max_size=5))
def test_good_bodies_come_out_as_they_went_in(bodies: list[bytes]) -> None:
    claims = decode(claimed(*(HEADER + b"|" + body for body in bodies)), NOW, 0)
    assert [[claim.name, claim.args, claim.kwargs] for claim in claims] == [json.loads(body) for body in bodies]
    assert [claim.error for claim in claims] == [None] * len(bodies)


@given(MALFORMED | HOSTILE)
def test_a_body_that_is_no_task_leaves_an_error_and_nothing_half_decoded(body: bytes) -> None:
    good = HEADER + b'|["a",[1],{"b":2}]'
    before, bad, after = decode(claimed(good, HEADER + b"|" + body, good), NOW, 0)
    assert bad.error is not None
    assert "task body: expected" in str(bad.error)
    assert (bad.name, bad.args, bad.kwargs) == ("", [], {})
    for claim in (before, after):
        assert (claim.name, claim.args, claim.kwargs, claim.error) == ("a", [1], {"b": 2}, None)


def test_nothing_claimed_is_nothing_decoded() -> None:
    assert decode([], NOW, 0) == []


def test_a_body_over_the_limit_is_refused_and_its_neighbours_are_not() -> None:
    body = b'["a",["' + b"x" * 50 + b'"],{}]'
    exact, over = decode(claimed(HEADER + b"|" + body, HEADER + b"|" + body + b" "), NOW, len(body))
    assert exact.error is None
    assert exact.args == ["x" * 50]
    assert str(over.error) == f"task body: expected at most {len(body)} bytes (MAX_MESSAGE_BYTES), got {len(body) + 1}"


def test_a_limit_of_0_is_none() -> None:
    assert decode_one(HEADER + b'|["a",["' + b"x" * 2_000_000 + b'"],{}]').error is None


def test_a_header_without_lease_means_at_most_once() -> None:
    claim = decode_one(HEADER + b'|["a",[],{}]')
    assert (claim.deadline, claim.is_repeatable, claim.attempts, claim.flags) == (0.0, False, 1, Flags(0))


@pytest.mark.parametrize("lease", [0, 0.001, 30, 86_400])
def test_a_header_says_lease_attempts_and_flags(lease: float) -> None:
    tail = header_tail(lease, 4, Flags.USE_DEAD | Flags.DELAYED).encode()
    claim = decode_one(HEADER + tail + b'|["a",[],{}]')
    assert claim.error is None
    assert claim.deadline == (NOW + lease if lease else 0.0)
    assert claim.is_repeatable == (lease > 0)
    assert (claim.attempts, claim.flags) == (4, Flags.USE_DEAD | Flags.DELAYED)


@pytest.mark.parametrize("header", [b"2 1700000000000", b"99 1700000000000 60000 3 1"])
def test_a_newer_version_is_not_guessed_at(header: bytes) -> None:
    claim = decode_one(header + b'|["a",[],{}]')
    version = int(header.split()[0])
    assert isinstance(claim.error, NewerMessage)
    assert claim.error.version == version
    assert f"message version: expected 1 or less, got {version}; a newer rpqueue wrote it" in str(claim.error)
    assert claim.name == ""


@pytest.mark.parametrize(
    "header", [b"", b"1", b"nonsense", b"1 170000000000x", b"1 1700000000000 5", b"1 " + b"9" * 400, b"1 1 1e3 1 0"]
)
def test_a_malformed_header_is_an_error_of_its_message_alone(header: bytes) -> None:
    bad, good = decode(claimed(header + b'|["a",[],{}]', HEADER + b'|["b",[],{}]'), NOW, 0)
    assert "message header: expected 'VERSION AVAILABLE_AT ...'" in str(bad.error)
    assert (good.name, good.error) == ("b", None)


def test_a_message_without_a_bar_is_an_error() -> None:
    assert decode_one(HEADER).error is not None
    assert decode_one(b'["a",[],{}]').error is not None


def test_a_claim_knows_its_queue_id_token_and_delivery() -> None:
    [claim] = decode([Claimed(KEYS, [b"abc"], [HEADER + b'|["a",[],{}]'], [1, 7, 1, 1])], NOW, 0)
    assert (claim.keys, claim.id, claim.token, claim.attempt) == (KEYS, "abc", 7, 3)
