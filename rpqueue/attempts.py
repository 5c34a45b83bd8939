"""
Attempts: how often a call was sent to Redis, for as long as it has no answer.

redis-py sends a call again by itself when nobody answers it, and then tells only how the last attempt ended. That this
one was refused does not say that an earlier one, which nobody answered, was not done.
"""

from __future__ import annotations

from collections.abc import Sequence

from .errors import RedisUnavailable
from .protocol.operation import Word


class Attempts:
    """Of one call, in all the ways in which it is sent."""

    __slots__ = ("number", "was_unanswered")

    def __init__(self) -> None:
        self.number = 0
        self.was_unanswered = False  #: whether it is certain that one was; see `leave_doubt` for when it may be

    def counted(self, words: Sequence[Word]) -> list[Word]:
        """A command of the call for redis-py, each sending of which is counted."""
        return [_Name(str(words[0]), self), *words[1:]]

    def were_answered(self) -> None:
        """The last attempt was answered in a way after which the call is made anew, in other words."""
        self.number = max(self.number - 1, 0)

    def leave_doubt(self, refusal: Exception) -> bool:
        """Whether a call that was refused at last may have been done all the same."""
        if type(refusal).__name__ == "AuthenticationError" and not self.was_unanswered:
            # Redis says this when redis-py connects anew, after an attempt. To who has no password it says it each
            # time, and redis-py asks again all the same.
            return self.number > 0 and "Authentication required" not in str(refusal)
        return self.was_unanswered or self.number > 1

    def in_doubt(self, meant: Exception) -> RedisUnavailable:
        """What to raise then."""
        return RedisUnavailable(f"{meant}; it had been sent before, and got no answer, so it may have been done")


class _Name(str):
    """The name of a command. redis-py encodes it for each sending, and nothing else about a command."""

    __slots__ = ("_attempts",)
    _attempts: Attempts

    def __new__(cls, name: str, attempts: Attempts) -> _Name:
        own = super().__new__(cls, name)
        own._attempts = attempts
        return own

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        self._attempts.number += 1
        return super().encode(encoding, errors)
