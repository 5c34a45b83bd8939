"""
What version 0.33 of this package has left in Redis, and what its messages are here.

Its keys are a prefix, empty unless one was set, a word and the name of a queue. Of a task queue: ``messages:`` (hash,
id to message), ``nqueue:`` and ``pqueue:`` (lists of ids that are ready; the second one goes first), ``queue:`` (zset,
id to due), ``invisible:`` (zset, id to the end of its lease), ``rqueue:`` (zset, recurring tasks). Of a data queue:
``dataqm:`` (hash), ``dataq:`` (list) and ``dataqv:`` (zset). Instants are seconds. A message is a JSON list: id, task
name (empty for an item), arguments (or the item), keyword arguments with what is declared among them, instant. Dead
letters are whole messages in a list of ready ids; which queue they were in is not kept.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from . import messages
from .errors import MessageTooLarge, RefusedInput, RpqueueError, Undecodable
from .messages import Flags

#: First part of the keys of task queues and of data queues, before the queue's name.
TASK_KINDS = ("messages:", "nqueue:", "pqueue:", "queue:", "invisible:")
DATA_KINDS = ("dataqm:", "dataq:", "dataqv:")
#: Instants, in ms, that have 13 digits.
_FIRST_INSTANT, _LAST_INSTANT = 10**12, 10**13 - 1


class Unreadable(RpqueueError):
    """Something that 0.33 cannot have written, or that has no place here. The text says why."""


class Old(NamedTuple):
    """A message as 0.33 kept it."""

    id: str
    name: str  #: of the task; empty for an item
    args: Any  #: list; of an item, the item itself
    kwargs: dict[str, Any]  #: without what was declared
    at: float  #: seconds since the epoch; 0 when it says none
    lease: float  #: visibility timeout in seconds; 0: at most once
    tries: int | None  #: deliveries that are left, as it counts them; None when it says nothing of them
    use_dead: bool

    @property
    def is_recurring(self) -> bool:
        """Whether it looks like a firing of a recurring task: the task's name is its id, and it has no arguments."""
        return self.id == self.name and not self.args and not self.kwargs.keys() - {"_attempts"}


def read(raw: bytes, kind: Literal["tasks", "data"], expected_id: bytes | None = None) -> Old:
    """
    A message of 0.33.

    Args:
        raw: its JSON.
        kind: of its queue.
        expected_id: under which it was stored; None for a dead letter.

    Raises:
        Unreadable: it is none, or could not be written here.
    """
    try:
        value = messages.decode(raw, "message")
    except Undecodable as error:
        raise Unreadable(str(error)) from error
    if not (isinstance(value, list) and 4 <= len(value) <= 6 and all(isinstance(word, str) for word in value[:2])):
        raise Unreadable(f"expected [id, name, args, kwargs, instant], got {raw[:80]!r}")
    message_id, name, args, declared, *rest = value
    if expected_id is not None and message_id.encode("utf-8", "surrogatepass") != expected_id:
        raise Unreadable(f"expected a message whose id is {expected_id!r}, got {message_id!r}")
    if bool(name) != (kind == "tasks"):
        raise Unreadable(f"expected {'a task' if kind == 'tasks' else 'an item'}, got {raw[:80]!r}")
    # On each redelivery 0.33 turned empty lists into empty objects.
    if name and args == {}:
        args = []
    kwargs = {} if declared == [] else declared
    if not isinstance(kwargs, dict) or (name and not isinstance(args, list)):
        raise Unreadable(f"expected [id, name, args, kwargs, instant], got {raw[:80]!r}")
    kwargs = dict(kwargs)
    lease, tries = _number(kwargs, "_vis_timeout"), _number(kwargs, "_attempts")
    use_dead = bool(kwargs.pop("_use_dead", False))
    if not lease and name and tries:
        kwargs["_attempts"] = int(tries)  # counts the runs that Task.retry has left
    at = rest[0] if rest and isinstance(rest[0], (int, float)) else 0.0
    whole = None if tries is None else int(tries)
    return Old(message_id, name, args, kwargs, at, lease or 0.0, whole, use_dead)


def _number(declared: dict[str, Any], key: str) -> float | None:
    """What the message says under *key*, which is taken out; None when it says nothing."""
    value = declared.pop(key, None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise Unreadable(f"{key}: expected a number >= 0, got {value!r}")
    return float(value)


class New(NamedTuple):
    """The same message as it is written here."""

    tail: str
    body: bytes


def convert(old: Old, limit: int, *, is_leased: bool = False) -> New:
    """
    What becomes of a message.

    Args:
        old: the message.
        limit: most bytes of its body; 0: no limit.
        is_leased: whether somebody holds it.

    Raises:
        Unreadable: it is too large, or holds what JSON cannot carry.
    """
    flags = Flags.USE_DEAD * old.use_dead
    try:
        if not old.name:
            # A lease took its try with it when it began; here it does when it ends.
            attempts = (1 if old.tries is None else old.tries) + (is_leased and old.tries is not None)
            return New(messages.header_tail(0, max(attempts, 1), flags), messages.encode(old.args, "item", limit))
        attempts = max(old.tries or 1, 1) if old.lease else 1
        body = messages.encode_task(old.name, old.args, old.kwargs, limit)
        return New(messages.header_tail(old.lease, attempts, flags), body)
    except (MessageTooLarge, RefusedInput) as error:
        raise Unreadable(str(error)) from error


def instant(at: float, now: float) -> int:
    """When a message became available, in ms, for its header; *now* where 0.33 does not say."""
    at_ms = round(at * 1000) if math.isfinite(at) else 0
    return at_ms if _FIRST_INSTANT <= at_ms <= _LAST_INSTANT else round(now * 1000)
