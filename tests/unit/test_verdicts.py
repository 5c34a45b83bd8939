"""What becomes of a call whose run raised, by what its task, its call and the exception say."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from rpqueue import App
from rpqueue.errors import RetryException, SoftTimeout, StopRetry, TaskCancelled, TaskTimeout
from rpqueue.keys import Keys
from rpqueue.messages import Flags
from rpqueue.protocol.claimed import Past
from rpqueue.retry import exponential, fixed, linear
from rpqueue.worker.claims import Claim
from rpqueue.worker.performing import failed
from rpqueue.worker.verdicts import Verdict, verdict_on

STOP, AUTO = Verdict("stop"), Verdict("auto")


def again(delay: float) -> Verdict:
    return Verdict("retry", delay)


@pytest.fixture
def app() -> App:
    return App()


def claim_of(task: Any, failures: int = 0, crashes: int = 0, told: int | None = None) -> Claim:
    """A claim of a call that failed and crashed so often before."""
    claim = Claim(Keys("test").tasks("q"), "id", Past(failures + crashes + 1, failures, crashes))
    claim.name, claim.task, claim.told = task.name, task, told
    if task.lease:
        claim.attempts = told or task.deliveries
        claim.deadline = 2e9 if task.vis_timeout else 0.0
    if task.recover:
        claim.flags = Flags.RECOVER
    return claim


def decide(
    app: App, error: BaseException, failures: int = 0, crashes: int = 0, told: Any = None, **options: Any
) -> Any:
    task = app.Task("q", "t", lambda: None, **options)
    return verdict_on(task, claim_of(task, failures, crashes, told), app.settings, error)


@pytest.mark.parametrize(
    ("options", "error", "verdict"),
    [
        ({}, ValueError(), AUTO),
        ({"vis_timeout": 9, "attempts": 3}, ValueError(), AUTO),
        ({"retry": False}, ValueError(), AUTO),
        ({"retry": True}, ValueError(), again(60)),
        ({"retry": True}, TaskTimeout(), again(60)),
        ({"retry": True}, SystemExit(), STOP),
        ({"retry": True}, StopRetry(), STOP),
        ({}, StopRetry(), STOP),
        ({"retry": True}, TaskCancelled(), Verdict("cancel", log_error=False)),
        ({"retry_on": ValueError}, ValueError(), again(60)),
        ({"retry_on": [OSError, ValueError]}, UnicodeError(), again(60)),
        ({"retry_on": ValueError}, KeyError(), STOP),
        ({"retry_on": TaskTimeout}, SoftTimeout(), again(60)),
        ({"retry_on": SystemExit}, SystemExit(), again(60)),
        ({"retry_on": LookupError, "dont_retry_on": KeyError}, IndexError(), again(60)),
        ({"retry_on": LookupError, "dont_retry_on": KeyError}, KeyError(), STOP),
        ({"dont_retry_on": KeyError}, ValueError(), again(60)),
        ({"retry_method": fixed(5, 1)}, ValueError(), again(5)),
        ({"retry_method": lambda retry: retry * 7}, ValueError(), again(7)),
        ({"retry_method": (lambda retry, a, b: retry + a + b, (1, 2))}, ValueError(), again(4)),
        ({}, RetryException(), again(60)),
        ({"retry_method": fixed(5, 1)}, RetryException(), again(5)),
        ({"retry_method": fixed(5, 1)}, RetryException(fixed(6, 1)), again(6)),
        ({"retry_method": fixed(5, 1)}, RetryException(lambda retry: 8), again(8)),
        ({"dont_retry_on": RetryException}, RetryException(fixed(6, 1)), again(6)),
        ({}, RetryException(log_error=False), Verdict("retry", 60, False)),
        ({}, RetryException(fixed(1, 0), log_error=False), Verdict("drop", log_error=False)),
    ],
)
def test_what_a_task_declares_and_raises_says_whether_it_runs_again(
    app: App, options: dict[str, Any], error: BaseException, verdict: Verdict
) -> None:
    assert decide(app, error, **options) == verdict


@pytest.mark.parametrize(
    ("method", "pauses"),
    [
        (fixed(60, 3), [60, 60, 60, None]),
        (fixed(60, 0), [None]),
        (linear(10, 5, 3), [10, 15, 20, None]),
        (linear(10, 5, 4, cap=16), [10, 15, 16, 16, None]),
        (exponential(1, 2, 4), [1, 2, 4, 8, None]),
        (exponential(1, 10, 3, cap=50), [1, 10, 50, None]),
    ],
)
def test_a_method_is_asked_with_the_number_of_runs_so_far(app: App, method: Any, pauses: list[float | None]) -> None:
    said = [decide(app, ValueError(), failures, retry_method=method) for failures in range(len(pauses))]
    assert said == [STOP if pause is None else again(pause) for pause in pauses]


def test_the_number_of_runs_counts_whichever_method_they_were_retried_by(app: App) -> None:
    # As in TaskTiger: two runs were retried by another method, and this one allows two retries in all.
    assert decide(app, RetryException(fixed(1, 2)), failures=1) == again(1)
    assert decide(app, RetryException(fixed(1, 2)), failures=2) == STOP


@pytest.mark.parametrize("vis_timeout", [0, 60])
def test_attempts_above_1_bound_all_runs_whatever_the_method_says(app: App, vis_timeout: float) -> None:
    options = {"attempts": 3, "retry_method": fixed(1, 99), "vis_timeout": vis_timeout}
    assert [decide(app, ValueError(), failures, **options) for failures in range(4)] == [again(1), again(1), STOP, STOP]
    assert decide(app, RetryException(fixed(1, 99)), failures=2, **options) == STOP
    quiet = RetryException(fixed(1, 99), log_error=False)
    assert decide(app, quiet, failures=2, **options) == Verdict("drop", log_error=False)


@pytest.mark.parametrize("vis_timeout", [0, 60])
@pytest.mark.parametrize("told", [1, 3])
def test_so_do_attempts_of_a_call(app: App, vis_timeout: float, told: int) -> None:
    options = {"retry_method": fixed(1, 99), "vis_timeout": vis_timeout, "told": told}
    said = [decide(app, ValueError(), failures, **options) for failures in range(told)]
    assert said == [again(1)] * (told - 1) + [STOP]


@pytest.mark.parametrize("vis_timeout", [0, 60])
def test_a_retry_exception_may_go_beyond_the_method_of_its_task(app: App, vis_timeout: float) -> None:
    options = {"retry_method": fixed(1, 1), "vis_timeout": vis_timeout}
    assert decide(app, ValueError(), failures=1, **options) == STOP
    assert decide(app, RetryException(fixed(2, 9)), failures=5, **options) == again(2)


def test_crashes_count_as_runs_but_for_a_task_that_recovers(app: App) -> None:
    options = {"attempts": 3, "retry_method": linear(1, 1, 99)}
    assert decide(app, ValueError(), failures=1, crashes=1, vis_timeout=60, **options) == STOP
    assert decide(app, ValueError(), failures=0, crashes=2, recover=True, **options) == again(1)
    assert decide(app, ValueError(), failures=1, crashes=2, recover=True, **options) == again(2)
    assert decide(app, ValueError(), failures=2, crashes=2, recover=True, **options) == STOP


@pytest.mark.parametrize(
    ("method", "error", "text"),
    [
        (lambda retry: 1 / 0, ZeroDivisionError, "division by zero"),
        (lambda retry: "soon", TypeError, "what a retry method returned: expected seconds .*, got 'soon'"),
        (lambda retry: None, TypeError, "got None"),
        (lambda retry: -1, ValueError, "expected seconds >= 0, got -1"),
        (lambda retry: float("nan"), ValueError, "expected seconds >= 0, got nan"),
        (lambda retry: exit(3), SystemExit, "3"),
    ],
)
def test_a_method_that_fails_gives_the_task_up_and_its_error_is_what_is_recorded(
    app: App, method: Callable[..., Any], error: type[BaseException], text: str
) -> None:
    task = app.Task("q", "t", lambda: None, retry_method=method)
    ending = failed(task, claim_of(task), app.settings, ValueError("the task's own"), 0.0)
    assert (ending.again, ending.log_error) == ("stop", True)
    with pytest.raises(error, match=text):
        raise ending.error  # type: ignore[misc]
    assert ending.record["exception"] == type(ending.error).__qualname__
    assert "the task's own" in ending.record["traceback"]


@pytest.mark.parametrize("method", [0, (), "fixed", fixed, (fixed, 1)])
def test_a_retry_exception_with_nonsense_for_a_method_gives_the_task_up(app: App, method: Any) -> None:
    task = app.Task("q", "t", lambda: None, retry=True)
    ending = failed(task, claim_of(task), app.settings, RetryException(method), 0.0)
    assert (ending.again, ending.log_error) == ("stop", True)
    assert ending.record["message"].startswith("method of a RetryException: expected a")


def test_a_default_method_that_is_nonsense_harms_only_tasks_that_ask_it(app: App) -> None:
    app.settings.default_retry_method = "fixed"
    plain, asks = app.Task("q", "plain", lambda: None), app.Task("q", "asks", lambda: None, retry=True)
    assert failed(plain, claim_of(plain), app.settings, ValueError(), 0.0).again == "auto"
    ending = failed(asks, claim_of(asks), app.settings, ValueError(), 0.0)
    assert (ending.again, ending.record["exception"]) == ("stop", "SettingError")


def test_the_default_method_is_the_setting_of_the_moment(app: App) -> None:
    task = app.Task("q", "t", lambda: None, retry=True, vis_timeout=60)
    assert task.deliveries == 4
    app.settings.default_retry_method = fixed(7, 9)
    assert verdict_on(task, claim_of(task), app.settings, ValueError()) == again(7)
    assert task.deliveries == 10


@pytest.mark.parametrize(
    ("raises", "shown"),
    [
        (lambda: RetryException(original_traceback=True), "ZeroDivisionError"),
        (lambda: RetryException(), "RetryException"),
    ],
)
def test_a_retry_exception_may_show_what_was_caught_instead(app: App, raises: Any, shown: str) -> None:
    task = app.Task("q", "t", lambda: None)
    try:
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            raise raises()  # noqa: B904
    except RetryException as error:
        ending = failed(task, claim_of(task), app.settings, error, 0.0)
    assert ending.record["exception"] == shown
    assert type(ending.error).__name__ == shown


def test_original_traceback_outside_of_an_except_block_shows_the_retry_exception_itself(app: App) -> None:
    task = app.Task("q", "t", lambda: None)
    ending = failed(task, claim_of(task), app.settings, RetryException(original_traceback=True), 0.0)
    assert ending.record["exception"] == "RetryException"


@pytest.mark.parametrize(
    ("options", "told", "left"),
    [
        ({"attempts": 5}, None, [5, 4]),
        ({"attempts": 5}, 2, [2, 1]),
        ({"attempts": 5, "vis_timeout": 9}, None, [5, 4]),
        ({"attempts": 5, "vis_timeout": 9}, 3, [3, 2]),
        ({"retry_method": fixed(1, 3)}, None, [4, 3, 2, 1]),
        ({"retry_method": fixed(1, 3)}, 2, [2, 1]),
        ({"retry_method": fixed(1, 3), "vis_timeout": 9}, None, [4, 3, 2, 1]),
        ({"retry_method": fixed(1, 1)}, None, [2, 1, 1]),  # a RetryException went beyond it
    ],
)
def test_attempts_left_goes_down_with_each_run_and_never_below_this_one(
    app: App, options: dict[str, Any], told: int | None, left: list[int]
) -> None:
    task = app.Task("q", "t", lambda: None, **options)
    assert [claim_of(task, failures, told=told).attempts_left for failures in range(len(left))] == left


def test_attempts_left_of_a_task_that_recovers_are_not_used_up_by_crashes(app: App) -> None:
    task = app.Task("q", "t", lambda: None, recover=True, attempts=3)
    assert claim_of(task, failures=1, crashes=2).attempts_left == 2
    assert claim_of(task, failures=1, crashes=2).attempt == 4


def test_a_method_may_be_anything_that_can_be_called(app: App) -> None:
    method = functools.partial(lambda factor, retry: factor * retry, 3)
    assert decide(app, ValueError(), failures=1, retry_method=method) == again(6)
