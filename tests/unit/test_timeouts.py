"""Timeouts that are raised inside of runs, and never inside of the next one."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rpqueue.errors import SoftTimeout
from rpqueue.worker import timeouts
from rpqueue.worker.timeouts import CoroutineLimits, soft_limit


def in_thread(function: Callable[[], Any]) -> Any:
    """What a function returns or raises in a thread that is not the main one."""
    found: list[Any] = []

    def call() -> None:
        try:
            found.append(function())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(30)
    [what] = found
    if isinstance(what, BaseException):
        raise what
    return what


def here(function: Callable[[], Any]) -> Any:
    return function()


EVERYWHERE = pytest.mark.parametrize("somewhere", [here, in_thread])


def linger(seconds: float = 30) -> None:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        time.sleep(0.001)


@EVERYWHERE
def test_who_takes_too_long_gets_it_inside(somewhere: Any) -> None:
    def run() -> float:
        started = time.monotonic()
        with soft_limit(0.05), pytest.raises(SoftTimeout, match="soft_timeout"):
            linger()
        return time.monotonic() - started

    assert 0.04 < somewhere(run) < 20


@EVERYWHERE
def test_who_is_quick_enough_does_not(somewhere: Any) -> None:
    def run() -> None:
        with soft_limit(0.02):
            pass
        linger(0.05)

    somewhere(run)


def test_an_alarm_of_somebody_else_goes_on_afterwards() -> None:
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with soft_limit(30):
            pass
        linger(0.03)
        with soft_limit(0.001), pytest.raises(SoftTimeout):
            linger()
        ends_at = time.monotonic() + 20
        while not rung and time.monotonic() < ends_at:
            time.sleep(0.001)
        assert rung == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, left, interval)


@EVERYWHERE
def test_a_run_that_ends_as_its_time_does_leaves_nothing_for_the_next(somewhere: Any) -> None:
    def run() -> int:
        hit = 0
        for number in range(150):
            try:
                with soft_limit(0.0005 + number % 10 * 0.00002):
                    ends_at = time.perf_counter() + 0.0006
                    while time.perf_counter() < ends_at:
                        pass
            except SoftTimeout:
                hit += 1
            for _ in range(300):  # what comes after it, in which nothing may be raised
                pass
        linger(0.01)
        return hit

    assert 0 < somewhere(run) <= 150


def test_in_a_thread_what_was_not_raised_in_time_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    thrown: list[Any] = []
    monkeypatch.setattr(timeouts, "throw", lambda thread, kind: thrown.append((thread, kind)))

    def run() -> None:
        with soft_limit(0.001):
            while not thrown:
                time.sleep(0.001)
            thrown.append("over")

    in_thread(run)
    (thread, kind), over, back = thrown
    assert (kind, over, back) == (SoftTimeout, "over", (thread, None))


def test_in_a_thread_an_end_before_its_time_keeps_the_watchdog_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    thrown: list[Any] = []
    monkeypatch.setattr(timeouts, "throw", lambda thread, kind: thrown.append(kind))

    def run() -> None:
        limit: Any = soft_limit(30)
        with limit:
            pass
        limit.fire()

    in_thread(run)
    assert thrown == []


def test_limits_that_were_left_in_time_do_not_pile_up() -> None:
    def run() -> None:
        for _ in range(1000):
            with soft_limit(1000):
                pass

    in_thread(run)
    assert len(timeouts._WATCHDOG._limits) < 200


@EVERYWHERE
def test_a_shorter_limit_than_those_before_is_heeded(somewhere: Any) -> None:
    first, done = threading.Event(), threading.Event()

    def long_one() -> None:
        with soft_limit(1000):
            first.set()
            done.wait(30)

    thread = threading.Thread(target=long_one)
    thread.start()
    first.wait(30)
    try:
        with pytest.raises(SoftTimeout):
            somewhere(lambda: soft_limit(0.02).__enter__() or linger())
    finally:
        done.set()
        thread.join(30)


# Coroutines.


def test_a_coroutine_gets_it_where_it_waits_and_may_clean_up() -> None:
    said: list[str] = []

    async def job() -> str:
        try:
            await asyncio.sleep(30)
        except SoftTimeout as error:
            said.append(str(error))
            await asyncio.sleep(0.01)
            return "cleaned up"
        return "slept"

    limits = CoroutineLimits(0.02, 0)
    assert asyncio.run(limits.run(job())) == "cleaned up"
    assert said == ["the run took longer than its soft_timeout of 0.02 s"]
    assert not limits.is_over


def test_a_coroutine_is_cancelled_at_its_hard_limit() -> None:
    said: list[str] = []

    async def job() -> None:
        try:
            await asyncio.sleep(30)
        except SoftTimeout:
            said.append("soft")
        try:
            await asyncio.sleep(30)
        finally:
            said.append("hard")

    limits = CoroutineLimits(0.02, 0.05)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(limits.run(job()))
    assert said == ["soft", "hard"]
    assert limits.is_over


def test_other_cancellations_stay_what_they_are() -> None:
    async def job() -> None:
        await asyncio.sleep(30)

    async def main() -> None:
        task = asyncio.ensure_future(CoroutineLimits(30, 0).run(job()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_coroutine_may_use_timeouts_and_tasks_of_its_own() -> None:
    async def job() -> str:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(30), 0.01)
        with pytest.raises(SoftTimeout):
            await asyncio.gather(asyncio.sleep(30), asyncio.sleep(30))
        return str(await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)))

    assert asyncio.run(CoroutineLimits(0.1, 0).run(job())) == "[1, 2]"


def test_one_that_is_quick_enough_leaves_no_timers() -> None:
    async def job() -> int:
        return 1

    async def main() -> tuple[int, int]:
        return await CoroutineLimits(0.01, 0.02).run(job()), await asyncio.sleep(0.05, 2)

    assert asyncio.run(main()) == (1, 2)
