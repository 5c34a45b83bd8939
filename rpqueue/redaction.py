"""Redaction: the arguments of a task that nobody sees who only looks, in views, logs and records of errors."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from .errors import RefusedInput, WrongType, did_you_mean

#: Stands in the place of what is hidden.
HIDDEN = "***"
#: Characters from which on a value is hidden wherever it stands in a text; shorter ones are hidden as whole words.
_LONG = 6


class Redaction(NamedTuple):
    """Which arguments of one task are hidden."""

    names: frozenset[str] = frozenset()
    places: frozenset[int] = frozenset()  #: of positional arguments, from 0
    is_whole: bool = False  #: all of them

    @property
    def told(self) -> bool | list[str | int]:
        """The same as `redaction_of` takes it, for JSON."""
        return self.is_whole or [*sorted(self.places), *sorted(self.names)]

    def arguments(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """*args* and *kwargs* to look at."""
        return (
            [HIDDEN if self.is_whole or place in self.places else value for place, value in enumerate(args)],
            {name: HIDDEN if self.is_whole or name in self.names else value for name, value in kwargs.items()},
        )

    def text(self, text: str, args: list[Any], kwargs: dict[str, Any]) -> str:
        """*text* to look at: without the values that are hidden among *args* and *kwargs*."""
        hidden = [value for place, value in enumerate(args) if self.is_whole or place in self.places]
        hidden += [value for name, value in kwargs.items() if self.is_whole or name in self.names]
        shapes = {shape for value in _leaves(hidden) for shape in _shapes(value)}
        # Longest first, for one may be a part of another.
        for shape in sorted(shapes, key=len, reverse=True):
            whole = re.escape(shape)
            text = re.sub(whole if len(shape) >= _LONG else rf"(?<!\w){whole}(?!\w)", HIDDEN, text)
        return text


def redaction_of(value: Any, what: str, function: Callable[..., Any] | None = None) -> Redaction | None:
    """
    What *value* asks to hide; None: nothing.

    Args:
        value: names of parameters, and places of positional ones, from 0; True: all of them; None or False: none.
        what: how errors name it.
        function: whose parameters they are, where it is known.
    """
    if isinstance(value, bool) or value is None:
        return Redaction(is_whole=True) if value else None
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise WrongType(f"{what}: expected names of parameters, as in redact=('password',), or True, got {value!r}")
    asked = list(value)
    names = [one for one in asked if isinstance(one, str)]
    places = [one for one in asked if type(one) is int and one >= 0]
    if len(names) + len(places) < len(asked):
        raise WrongType(f"{what}: expected names of parameters and numbers of positional ones, got {asked!r}")
    if function is not None:
        places += _places_of(names, function, what)
    return Redaction(frozenset(names), frozenset(places)) if asked else None


def _places_of(names: list[str], function: Callable[..., Any], what: str) -> list[int]:
    """The places of positional parameters with these names; refuses a name that no parameter has."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some builtins have none
        return []
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    known = [one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    for name in names:
        if name not in known and not takes_any:
            raise RefusedInput(
                f"{what}: expected parameters of the function ({', '.join(known)}), got {name!r}"
                f"{did_you_mean(name, known)}; redact=True hides all"
            )
    return [
        place
        for place, one in enumerate(parameters)
        if one.name in names and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]


def _leaves(value: Any) -> Iterator[Any]:
    """The strings and numbers in a value that came as JSON."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending += [*one, *one.values()]
        elif isinstance(one, list):
            pending += one
        elif isinstance(one, (str, int, float)) and not isinstance(one, bool):
            yield one


def _shapes(value: Any) -> set[str]:
    """How a value may stand in a text."""
    text = str(value)
    if not isinstance(value, str):
        return {text}
    return {shape for shape in (text, repr(text)[1:-1], json.dumps(text)[1:-1], text.strip()) if shape}
