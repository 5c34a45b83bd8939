"""Retry methods: pauses that are the same, grow or multiply, up to a cap, with a part left to chance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from rpqueue.errors import RefusedInput, StopRetry, WrongType
from rpqueue.retry import LONGEST, exponential, fixed, linear, most_retries, pause_before


def pauses(method: Any, number: int) -> list[float]:
    return [pause_before(method, retry) for retry in range(1, number + 1)]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (fixed(60, 3), [60, 60, 60]),
        (fixed(timedelta(minutes=1), 2), [60, 60]),
        (fixed(0, 1), [0]),
        (linear(1, 0.5, 3), [1, 1.5, 2]),
        (linear(timedelta(seconds=1), timedelta(seconds=2), 4, cap=timedelta(seconds=4)), [1, 3, 4, 4]),
        (exponential(0.1, 2, 4), [0.1, 0.2, 0.4, 0.8]),
        (exponential(0, 2, 2), [0, 0]),
        (exponential(5, 1, 2), [5, 5]),
        (exponential(1, 2, 4, cap=3), [1, 2, 3, 3]),
    ],
)
def test_pauses_are_as_the_method_says_and_then_it_is_over(method: Any, expected: list[float]) -> None:
    assert pauses(method, len(expected)) == pytest.approx(expected)
    assert most_retries(method) == len(expected)
    with pytest.raises(StopRetry, match=f"expected at most {len(expected)} retries"):
        pause_before(method, len(expected) + 1)


def test_they_are_tuples_as_in_tasktiger() -> None:
    function, arguments = exponential(60, 2, 5)
    assert function(3, *arguments) == 240


@pytest.mark.parametrize("retry", [1000, 5000, 10**8])
def test_no_pause_is_longer_than_ten_years_and_no_factor_too_great(retry: int) -> None:
    assert pause_before(exponential(1, 1e5, 10**9 - 1), retry) == LONGEST
    assert pause_before(linear(1e9, 1e9, 10**9 - 1), retry) == LONGEST
    assert pause_before(lambda number: 9e9, retry) == LONGEST


@pytest.mark.parametrize("make", [fixed, lambda delay, most, jitter: exponential(delay, 1, most, jitter=jitter)])
def test_jitter_takes_off_a_part_at_random(make: Callable[..., Any]) -> None:
    some = pauses(make(100, 300, jitter=0.2), 300)
    assert 80 <= min(some) < 85
    assert 95 < max(some) <= 100
    assert pauses(make(100, 3, jitter=0), 3) == [100, 100, 100]
    assert min(pauses(make(100, 300, jitter=1), 300)) < 10


def test_a_cap_holds_with_jitter_too() -> None:
    assert max(pauses(linear(10, 10, 50, cap=30, jitter=0.5), 50)) <= 30


def test_nobody_knows_how_often_a_method_of_ones_own_retries() -> None:
    assert most_retries(lambda retry: 1.0) is None
    assert most_retries((lambda retry, delay: delay, (1,))) is None


def test_a_method_of_ones_own_may_return_a_timedelta() -> None:
    assert pause_before(lambda retry: timedelta(minutes=retry), 2) == 120  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: fixed(-1, 3), RefusedInput, "delay of a retry method: expected seconds >= 0, got -1"),
        (lambda: fixed("1", 3), WrongType, "delay of a retry method: expected seconds"),
        (lambda: fixed(1, -1), RefusedInput, "max_retries: expected a whole number >= 0, got -1"),
        (lambda: fixed(1, 1.5), RefusedInput, "max_retries: expected a whole number >= 0, got 1.5"),
        (lambda: fixed(1, True), RefusedInput, "max_retries"),
        (lambda: fixed(1, 3, jitter=1.1), RefusedInput, "jitter: expected a part from 0 to 1, got 1.1"),
        (lambda: fixed(1, 3, jitter=None), RefusedInput, "jitter"),
        (lambda: linear(1, -1, 3), RefusedInput, "increment of a retry method: expected seconds >= 0"),
        (lambda: linear(1, 1, 3, cap=-1), RefusedInput, "cap of a retry method: expected seconds >= 0"),
        (lambda: exponential(1, 0.5, 3), RefusedInput, "factor of a retry method: expected a number >= 1, got 0.5"),
        (lambda: exponential(1, float("nan"), 3), RefusedInput, "factor of a retry method"),
        (lambda: exponential(1, "2", 3), RefusedInput, "factor of a retry method"),
    ],
)
def test_so_are_the_arguments_of_retry_methods(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()
