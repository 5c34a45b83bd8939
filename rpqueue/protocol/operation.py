"""
Operations: one call to Redis as a value, and flows made of several.

An `Operation` says what to send and how to read the reply; it does nothing. A `Flow` is a generator that yields
Operations (and Waits) and is sent their results. `run` and `run_async` drive either with a function that carries one
step to Redis, so each verb of this library is written once and works for both kinds of callers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from ..keys import wire

if TYPE_CHECKING:
    from .scripts import Script

T = TypeVar("T")
R = TypeVar("R")

#: What Redis takes as a word of a command.
Word = bytes | str | int


class Stamp(NamedTuple):
    """
    Names one call of one session, so that its resend is recognised and answered, not done again.

    redis-py sends a command again when the reply was lost. A session has one call under way at a time; scripts keep
    the number and the answer of a session's last call for a minute, in the session's ``memo`` key.
    """

    session: bytes
    number: int


class Operation(Generic[T]):
    """One script call or plain command: what to send, and how to read the reply."""

    __slots__ = ("args", "before", "keys", "meanwhile", "memo", "read", "script")

    def __init__(
        self,
        script: Script | None,
        keys: Sequence[bytes],
        args: Sequence[Word],
        read: Callable[[Any], T],
        memo: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """
        Say what to send.

        Args:
            script: None for a plain command, whose words are *args*.
            keys: all KEYS but the memo.
            args: all ARGV but the number.
            read: turns the reply into what the caller wants.
            memo: gives the memo key of a session; for scripts that have one.
        """
        self.script = script
        self.keys = keys
        self.args = args
        self.read = read
        self.memo = memo
        #: A command to carry out first, not long before: what the script cannot do on Cluster.
        self.before: Operation[Any] | None = None
        #: Something to do while Redis is at work, where that is possible; it must not raise.
        self.meanwhile: Callable[[], None] | None = None

    def words(self, stamp: Stamp) -> list[Word]:
        """What follows the script's name in EVALSHA or EVAL: the number of keys, the keys, the arguments."""
        if self.memo is None or self.script is None or self.script.memo_at is None:
            return [len(self.keys), *self.keys, *self.args]
        at = self.script.memo_at
        keys = [*self.keys[:at], self.memo(stamp.session), *self.keys[at:]]
        return [len(keys), *keys, str(stamp.number), *self.args]

    def __iter__(self) -> Generator[Operation[Any], Any, T]:
        """``reply = yield from operation`` inside a flow."""
        reply: T = yield self
        return reply

    def __repr__(self) -> str:
        return f"<Operation {self.script.name if self.script else self.args[0]!r}>"


class Wait:
    """
    Block until one of some lists holds something and take that, at most *timeout* seconds; None when nothing came.

    *hand_on* is what to say to Redis when something was taken for somebody who no longer waits. Where nobody can go
    away while waiting, as in a thread, it is not needed.
    """

    __slots__ = ("hand_on", "keys", "timeout")

    def __init__(self, keys: Sequence[bytes], timeout: float, hand_on: Operation[Any] | None = None) -> None:
        self.keys = keys
        self.timeout = timeout
        self.hand_on = hand_on

    def __iter__(self) -> Generator[Wait, Any, bytes | None]:
        """``token = yield from Wait(...)`` inside a flow."""
        reply: bytes | None = yield self
        return reply


class Watch(Generic[T]):
    """
    Ask *question* until `is_over` its answer, at most *timeout* seconds, and again whenever one of *channels* has news.

    The reply is the last answer. News is a hint: the question, which has no memo, is asked again now and then without
    any. Some news is the answer: *tells* gives that for a channel and what was published there, or None.
    """

    __slots__ = ("channels", "is_over", "question", "tells", "timeout")

    def __init__(
        self,
        channels: Sequence[bytes],
        question: Operation[T],
        is_over: Callable[[T], bool],
        timeout: float,
        tells: Callable[[bytes, bytes], T | None] | None = None,
    ) -> None:
        self.channels = channels
        self.question = question
        self.is_over = is_over
        self.timeout = timeout
        self.tells = tells

    def __iter__(self) -> Generator[Watch[Any], Any, T]:
        """``answer = yield from Watch(...)`` inside a flow."""
        reply: T = yield self
        return reply


Step = Operation[Any] | Wait | Watch[Any]
Flow = Generator[Any, Any, R]


def run(flow: Flow[R], execute: Callable[[Any], Any]) -> R:
    """Carry a flow through to its end."""
    try:
        step = next(flow)
        while True:
            step = flow.send(execute(step))
    except StopIteration as end:
        result: R = end.value
        return result


async def run_async(flow: Flow[R], execute: Callable[[Any], Awaitable[Any]]) -> R:
    """Carry a flow through to its end, awaiting every step."""
    try:
        step = next(flow)
        while True:
            step = flow.send(await execute(step))
    except StopIteration as end:
        result: R = end.value
        return result


def command(read: Callable[[Any], T], *words: Word) -> Operation[T]:
    """A plain Redis command as an Operation."""
    return Operation(None, (), words, read)


def encoded(words: Sequence[Word]) -> list[Word]:
    """Words for a client that may encode text in its own way, and would refuse names that somebody else made."""
    # Not the first one: redis-py's cluster client reads it as text.
    return [words[0], *(wire(word) if isinstance(word, str) else word for word in words[1:])]


def as_is(reply: Any) -> Any:
    """Read nothing into the reply."""
    return reply
