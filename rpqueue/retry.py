"""
When a task that failed runs again: retry methods, and the policy that a task declares.

A *retry method* is a function that takes the number of runs so far, the first failure being 1, and returns seconds to
wait, or raises StopRetry. A tuple ``(function, arguments)`` stands for one that takes more arguments after that number.
`fixed`, `linear` and `exponential` make such tuples. The names and what they mean are TaskTiger's.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, NamedTuple

from .errors import RefusedInput, StopRetry, WrongType
from .messages import seconds

RetryMethod = Callable[..., float] | tuple[Callable[..., float], tuple[Any, ...]]

#: Exceptions by class.
Kinds = tuple[type[BaseException], ...]


def fixed(
    delay: float | timedelta, max_retries: int, *, jitter: float = 0.0
) -> tuple[Callable[..., float], tuple[Any, ...]]:
    """
    The same pause before each retry.

    Args:
        delay: seconds, or a timedelta.
        max_retries: how many; the task runs once more than that. 0: none.
        jitter: part of each pause that is left to chance, 0 to 1: 0.2 makes 60 s any of 48 to 60 s.
    """
    return linear(delay, 0.0, max_retries, jitter=jitter)


def linear(
    delay: float | timedelta,
    increment: float | timedelta,
    max_retries: int,
    *,
    cap: float | timedelta | None = None,
    jitter: float = 0.0,
) -> tuple[Callable[..., float], tuple[Any, ...]]:
    """
    A pause that grows by *increment* seconds from one retry to the next.

    Args:
        delay: seconds before the first retry.
        increment: seconds.
        max_retries: see `fixed`.
        cap: longest pause, in seconds; None: there is none.
        jitter: see `fixed`.
    """
    first, more = seconds(delay, "delay of a retry method"), seconds(increment, "increment of a retry method")
    return _linear, (first, more, _retries(max_retries), _cap(cap), _part(jitter))


def exponential(
    delay: float | timedelta,
    factor: float,
    max_retries: int,
    *,
    cap: float | timedelta | None = None,
    jitter: float = 0.0,
) -> tuple[Callable[..., float], tuple[Any, ...]]:
    """
    A pause that is multiplied by *factor* from one retry to the next.

    Args:
        delay: seconds before the first retry.
        factor: 1 or greater.
        max_retries: see `fixed`.
        cap: longest pause, in seconds; None: there is none but 10 years.
        jitter: see `fixed`.
    """
    first = seconds(delay, "delay of a retry method")
    return _exponential, (first, _factor(factor), _retries(max_retries), _cap(cap), _part(jitter))


#: Longest pause between two runs, in seconds.
LONGEST = 10 * 365 * 86_400.0


def _linear(retry: int, delay: float, increment: float, max_retries: int, cap: float, jitter: float) -> float:
    _stop_after(retry, max_retries)
    return _shaken(min(delay + increment * (retry - 1), cap), jitter)


def _exponential(retry: int, delay: float, factor: float, max_retries: int, cap: float, jitter: float) -> float:
    _stop_after(retry, max_retries)
    try:
        pause = delay * factor ** (retry - 1)
    except OverflowError:
        pause = cap
    return _shaken(min(pause, cap), jitter)


def _stop_after(retry: int, max_retries: int) -> None:
    if retry > max_retries:
        raise StopRetry(f"expected at most {max_retries} retries, this would be number {retry}")


def _shaken(pause: float, jitter: float) -> float:
    return pause * (1 - jitter * random.random())


def _retries(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1_000_000_000:
        raise RefusedInput(f"max_retries: expected a whole number >= 0, got {value!r}")
    return value


def _factor(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value < 1e6:
        raise RefusedInput(f"factor of a retry method: expected a number >= 1, got {value!r}")
    return float(value)


def _cap(value: Any) -> float:
    return LONGEST if value is None else min(seconds(value, "cap of a retry method"), LONGEST)


def _part(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise RefusedInput(f"jitter: expected a part from 0 to 1, got {value!r}")
    return float(value)


def method_of(value: Any, what: str) -> RetryMethod:
    """*value*, a retry method; WrongType when it is none."""
    function, more = value, ()
    if isinstance(value, (tuple, list)) and len(value) == 2 and isinstance(value[1], (tuple, list)):
        function, more = value[0], tuple(value[1])
    if not callable(function):
        raise WrongType(
            f"{what}: expected a function of the number of runs so far, a tuple (function, arguments), or what "
            f"fixed(), linear() or exponential() return, got {value!r}"
        )
    if inspect.iscoroutinefunction(function):
        raise WrongType(f"{what}: expected a plain function, for nobody awaits it, got {value!r}")
    try:
        inspect.signature(function).bind(1, *more)
    except TypeError as error:
        raise WrongType(
            f"{what}: expected a function of {1 + len(more)} arguments, the number of runs so far first, got {value!r} "
            f"({error}); write it as in retry_method=fixed(60, 3)"
        ) from error
    except ValueError:  # some builtins tell nobody what they take
        pass
    return function if function is value else (function, more)


def pause_before(method: RetryMethod, retry: int) -> float:
    """Seconds that *method* asks for before retry number *retry*. Raises StopRetry, and what a user's own raises."""
    pause = method(retry) if callable(method) else method[0](retry, *method[1])
    return min(seconds(pause, "what a retry method returned"), LONGEST)


def most_retries(method: RetryMethod) -> int | None:
    """How many retries a method of ours makes at most; None: only a user's own function knows."""
    if callable(method) or method[0] not in (_linear, _exponential):
        return None
    most: int = method[1][2]
    return most


class Retrying(NamedTuple):
    """After which exceptions a task runs again, and when."""

    on: Kinds  #: after these and their subclasses
    but_not: Kinds  #: and not after these, whatever *on* says
    method: RetryMethod | None  #: None: DEFAULT_RETRY_METHOD

    def wants(self, error: BaseException) -> bool:
        """Whether the task is to run again after *error*."""
        return isinstance(error, self.on) and not isinstance(error, self.but_not)


def retrying_of(retry: bool | None, retry_on: Any, dont_retry_on: Any, retry_method: Any, what: str) -> Retrying | None:
    """
    The policy that these options of a task say; None: they say none.

    Args:
        retry: whether to retry; None: if one of the others is given.
        retry_on: exception classes; None: Exception and its subclasses.
        dont_retry_on: exception classes.
        retry_method: see above.
        what: how errors name the task.
    """
    if retry is not None and not isinstance(retry, bool):
        raise WrongType(f"retry of {what}: expected True or False, got {retry!r}")
    asked = [
        name
        for name, one in (("retry_on", retry_on), ("dont_retry_on", dont_retry_on), ("retry_method", retry_method))
        if one is not None
    ]
    if retry is False and asked:
        raise RefusedInput(f"retry of {what}: expected True, since {' and '.join(asked)} are given, got False")
    if not retry and not asked:
        return None
    on = (Exception,) if retry_on is None else kinds_of(retry_on, f"retry_on of {what}")
    but_not = () if dont_retry_on is None else kinds_of(dont_retry_on, f"dont_retry_on of {what}")
    if all(issubclass(kind, but_not) for kind in on):
        raise RefusedInput(
            f"dont_retry_on of {what}: expected some exception of retry_on to be left, got {dont_retry_on!r}, which "
            "has all of them; for no retries at all, say retry=False"
        )
    return Retrying(on, but_not, None if retry_method is None else method_of(retry_method, f"retry_method of {what}"))


def kinds_of(value: Any, what: str) -> Kinds:
    """Exception classes out of one or several."""
    several = isinstance(value, Iterable) and not isinstance(value, (str, bytes, type))
    found = tuple(value) if several else (value,)
    for kind in found:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise WrongType(f"{what}: expected exception classes, as in [ValueError, OSError], got {kind!r}")
    if not found:
        raise RefusedInput(f"{what}: expected at least one exception class, got {value!r}")
    return found
