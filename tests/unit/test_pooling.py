"""What a worker may be told of its pool."""

from datetime import timedelta
from typing import Any

import pytest

from rpqueue.errors import RefusedInput
from rpqueue.worker.pools import Pooling, pooling_of


def test_a_pooling_is_what_was_asked_for() -> None:
    assert pooling_of() == Pooling("threads", None, None, None)
    assert pooling_of("fork", 3, timedelta(minutes=1), 1 << 20) == Pooling("fork", 3, 60.0, 1 << 20)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"pool": "thread"}, "did you mean 'threads'"),
        ({"pool": None}, "pool: expected one of"),
        ({"pool": "sync", "threads": 2}, "sync runs one task at a time"),
        ({"max_tasks": 0}, "max_tasks: expected a whole number >= 1"),
        ({"max_tasks": True}, "max_tasks: expected a whole number >= 1"),
        ({"max_tasks": 1.5}, "max_tasks: expected a whole number >= 1"),
        ({"max_memory": -1}, "max_memory: expected a whole number >= 1"),
        ({"max_age": 0}, "max_age: expected more than 0"),
        ({"max_age": "a day"}, "max_age"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(said: dict[str, Any], words: str) -> None:
    with pytest.raises((RefusedInput, TypeError), match=words):
        pooling_of(**said)
