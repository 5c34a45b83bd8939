"""Expectations of what waits, and what to say when something else does."""

from __future__ import annotations

import difflib
import pprint
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from .. import tasks
from ..data import Data
from ..errors import WrongType
from ..keys import name_text
from ..messages import seconds
from .waiting import Call, Item

T = TypeVar("T", Call, Item)

#: Things that a message shows at most.
MOST_SHOWN = 20
#: Characters of a value from which on a difference is shown line by line.
LONG = 50


class Anything:
    """What an expectation has where it expects nothing in particular."""

    def __repr__(self) -> str:
        return "anything"


ANYTHING: Any = Anything()


class Wanted(NamedTuple):
    """What a call or an item should be like."""

    what: str  #: how messages name it
    parts: dict[str, Any]  #: expected values by the names of attributes
    delay: float | None  #: seconds; None: any

    def differences(self, one: Call | Item, may_have_been: Callable[[float], bool]) -> list[str]:
        """In what something differs from it, a line each; none: in nothing."""
        told = []
        for part, expected in self.parts.items():
            got = getattr(one, part)
            if expected != got:  # in this order, so that the test's own objects are asked
                told += _difference(part, expected, got)
        if self.delay is not None and not self._was_delayed(one, may_have_been):
            told.append(f"delay: expected {self.delay:g}, got one that is {_told_due(one)}")
        return told

    def _was_delayed(self, one: Call | Item, may_have_been: Callable[[float], bool]) -> bool:
        if one.state != "scheduled":
            return self.delay == 0
        # When it was enqueued is not known; but it cannot have been before the sandbox was there, nor in the future.
        return self.delay != 0 and may_have_been(one.due_at - (self.delay or 0))


def wanted_call(
    task: tasks.Task[..., Any] | str | None, args: Any, kwargs: Any, queue: str | bytes | None, delay: Any
) -> Wanted:
    """The call that a test expects."""
    name = task.name if isinstance(task, tasks.Task) else task
    if name is not None and not isinstance(name, str):
        raise WrongType(f"task: expected a Task, or the name of one, got {task!r}")
    if args is not None and not isinstance(args, (tuple, list)):
        raise WrongType(f"args: expected a tuple or list, got {args!r}; one argument is (argument,)")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise WrongType(f"kwargs: expected a dict, got {kwargs!r}")
    parts: dict[str, Any] = {}
    if name is not None:
        parts["name"] = name
    if queue is not None:
        parts["queue"] = name_text(queue, "queue")
    if args is not None:
        parts["args"] = as_json(args)
    if kwargs is not None:
        parts["kwargs"] = as_json(kwargs)
    return Wanted("call of " + name if name else "call", parts, _delay(delay))


def wanted_item(queue: Data | str | bytes | None, value: Any, delay: Any) -> Wanted:
    """The item that a test expects."""
    name = queue.queue if isinstance(queue, Data) else queue
    parts: dict[str, Any] = {}
    if name is not None:
        parts["queue"] = name_text(name, "queue")
    if value is not ANYTHING:
        parts["value"] = as_json(value)
    return Wanted("item", parts, _delay(delay))


def _delay(delay: float | timedelta | None) -> float | None:
    return None if delay is None else seconds(delay, "delay")


def as_json(value: Any) -> Any:
    """*value* as it comes out of JSON: tuples are lists there. Objects of the test's own compare as they will."""
    if isinstance(value, (list, tuple)):
        return [as_json(one) for one in value]
    if isinstance(value, dict):
        return {key: as_json(one) for key, one in value.items()}
    return value


def compare(
    verb: str,
    wanted: Wanted,
    there: Sequence[T],
    count: int | None,
    may_have_been: Callable[[float], bool],
    text: Callable[[T], str],
    hint: str = "",
) -> list[T]:
    """
    Those of what is there that are wanted.

    Args:
        verb: of the test, for the message.
        count: how many there should be; None: one at least.
        may_have_been: of the sandbox's clock.
        text: shows one of them.
        hint: for when there is nothing.

    Raises:
        AssertionError: there are too few, or too many.
    """
    if count is not None and (type(count) is not int or count < 0):
        raise WrongType(f"count: expected a whole number >= 0, got {count!r}")
    differences = [wanted.differences(one, may_have_been) for one in there]
    found = [one for one, told in zip(there, differences, strict=True) if not told]
    if len(found) == count if count is not None else found:
        return found
    number = "one at least" if count is None else "none" if count == 0 else str(count)
    lines = [f"{verb}: expected {number}, got {len(found) or 'none'}: {_described(wanted)}"]
    if not there:
        lines.append(f"Nothing waits{hint}.")
    else:
        lines.append(f"{len(there)} {'waits' if len(there) == 1 else 'wait'}:")
        lines += _shown(there, differences, text)
    raise AssertionError("\n".join(lines))


def _described(wanted: Wanted) -> str:
    parts = [f"{part} {value!r}" for part, value in wanted.parts.items() if part != "name"]
    if wanted.delay is not None:
        parts.append(f"delay {wanted.delay:g}")
    return ", ".join([wanted.what, *parts])


def _shown(there: Sequence[T], differences: Sequence[list[str]], text: Callable[[T], str]) -> Iterator[str]:
    # Those that differ least come first.
    nearest = sorted(range(len(there)), key=lambda at: (_is_other(differences[at]), len(differences[at])))
    for at in nearest[:MOST_SHOWN]:
        told = differences[at]
        yield f"  {'' if told else '= '}{text(there[at])}"
        if not _is_other(told):
            yield from (f"      {line}" for line in told)
    if len(there) > MOST_SHOWN:
        yield f"  and {len(there) - MOST_SHOWN} more"


def _is_other(told: Iterable[str]) -> bool:
    """Whether it is another task's, so that nobody asks in what else it differs."""
    return any(line.startswith("name:") for line in told)


def _difference(part: str, expected: Any, got: Any) -> list[str]:
    if max(len(repr(expected)), len(repr(got))) <= LONG:
        return [f"{part}: expected {expected!r}, got {got!r}"]
    lines = difflib.ndiff(
        pprint.pformat(expected, width=LONG).splitlines(), pprint.pformat(got, width=LONG).splitlines()
    )
    return [f"{part}: expected (-), got (+)", *("  " + line.rstrip("\n") for line in lines)]


def _told_due(one: Call | Item) -> str:
    return f"due in {one.due:.1f} s" if one.state == "scheduled" else one.state
