"""Lines: commands come out of their packing as Redis reads them."""

from __future__ import annotations

from typing import Any

import pytest
from redis.connection import Connection

from rpqueue.lines import LARGE_WORD, Line

LARGE = b"x" * (LARGE_WORD + 1)


@pytest.mark.parametrize(
    "command",
    [
        ("PING",),
        ("EVALSHA", "5e55", 2, b"k1", "k\u00fc", "7", 2.5, b"\xff\r\n", ""),
        ("EVALSHA", "5e55", 2, b"k1", "k\u00fc", "7", b"\x00$5\r\n", LARGE),
        ("EVALSHA", "5e55", 2, b"k1", LARGE, "7", "\u00fc" * len(LARGE)),
        ["ZADD", b"key", 0, LARGE.decode()],
    ],
    ids=["one word", "small words", "a large body", "large text", "a list"],
)
def test_a_command_is_its_words_with_their_lengths(command: Any) -> None:
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    expected = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    assert b"".join(Line(Connection()).pack(command)) == expected
