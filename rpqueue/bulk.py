"""Many calls of one task: checked, encoded, and cut into puts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from . import messages
from .errors import RefusedInput, WrongType
from .puts import MOST_BYTES, MOST_MESSAGES

#: One call: its positional arguments, or its keyword arguments.
Arguments = tuple[Any, ...] | list[Any] | dict[str, Any]

#: Options of `Task.execute`, which a call among many does not have of its own.
OPTIONS = frozenset({"delay", "when", "taskid", "_queue", "_attempts", "execute_inline_now", "durability"})


def bodies(name: str, calls: Iterable[Arguments], more: dict[str, Any], limit: int) -> list[bytes]:
    """
    The bodies of calls of one task, as `messages.encode_task` makes them.

    Args:
        name: of the task.
        calls: each a tuple or list of positional arguments, or a dict of keyword arguments.
        more: keyword arguments that each call gets.
        limit: most bytes of one body; 0 sets none.

    Raises:
        RefusedInput, WrongType: *calls*, or one of them, which is named by its number, cannot be used.
    """
    if isinstance(calls, (str, bytes, bytearray, dict)) or not hasattr(type(calls), "__iter__"):
        raise WrongType(f"calls of {name}: expected an iterable of calls, got {calls!r}")
    what = f"arguments of {name}"
    head = b"[" + messages.encode(name, "task name") + b","
    tail = b"," + messages.encode(more, what) + b"]"
    made = []
    for number, call in enumerate(calls):
        try:
            if isinstance(call, (tuple, list)):
                body = head + messages.encode(call, what, limit) + tail
            else:
                body = head + b"[]," + messages.encode({**_keywords(call), **more}, what, limit) + b"]"
            if 0 < limit < len(body):
                messages.encode_task(*messages.decode_task(body), limit)  # says so
        except (RefusedInput, WrongType) as error:
            raise type(error)(f"call {number}: {error}; nothing was sent") from error
        made.append(body)
    return made


def parts(calls: Iterable[Arguments], more: dict[str, Any]) -> Iterator[tuple[Sequence[Any], dict[str, Any]]]:
    """Positional and keyword arguments of calls that `bodies` has taken."""
    for call in calls:
        yield ((), {**call, **more}) if isinstance(call, dict) else (call, more)


def _keywords(call: Any) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise WrongType(
            f"expected a tuple or list of positional arguments, or a dict of keyword arguments, got {call!r}"
            + ("" if isinstance(call, (set, frozenset)) else "; a call with one argument is (argument,)")
        )
    if not OPTIONS.isdisjoint(call):
        option = min(OPTIONS.intersection(call))
        raise RefusedInput(f"expected arguments of the function, got the option {option!r}, which holds for all calls")
    return call


def cut(pairs: list[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """*pairs* in pieces of at most MOST_MESSAGES messages and, but for single messages, MOST_BYTES bytes."""
    for first in range(0, len(pairs), MOST_MESSAGES):
        piece = pairs[first : first + MOST_MESSAGES]
        start, size = 0, 0
        for at, (_, body) in enumerate(piece):
            if at > start and size + len(body) > MOST_BYTES:
                yield piece[start:at]
                start, size = at, 0
            size += len(body)
        yield piece[start:] if start else piece
