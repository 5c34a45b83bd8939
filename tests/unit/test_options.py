"""Options of a task about running and retrying: what each decorator takes, and what it says of what it cannot use."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

import pytest

from rpqueue import App, TaskRunner
from rpqueue.errors import RefusedInput, RefusedName, WrongType
from rpqueue.retry import fixed


@pytest.fixture
def app() -> App:
    return App()


def declare(app: App, kind: str, function: Any = None, **options: Any) -> Any:
    first = {"task": [], "periodic_task": [60], "cron_task": ["0 * * * *"]}[kind]
    return getattr(app, kind)(*first, **{"name": "it", **options})(function or (lambda: None))


async def coroutine() -> None:
    pass


async def coroutine_method(retry: int) -> float:
    return 1.0


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"retry": 1}, WrongType, "retry of it: expected True or False, got 1"),
    ({"retry": False, "retry_on": ValueError}, RefusedInput, "expected True, since retry_on are given, got False"),
    (
        {"retry": False, "retry_on": ValueError, "retry_method": fixed(1, 1)},
        RefusedInput,
        "since retry_on and retry_method are given",
    ),
    ({"retry_on": "ValueError"}, WrongType, "retry_on of it: expected exception classes, .* got 'ValueError'"),
    ({"retry_on": [ValueError, 3]}, WrongType, "expected exception classes, .* got 3"),
    ({"retry_on": ValueError()}, WrongType, r"expected exception classes, .* got ValueError\(\)"),
    ({"retry_on": int}, WrongType, "expected exception classes, .* got <class 'int'>"),
    ({"retry_on": []}, RefusedInput, r"retry_on of it: expected at least one exception class, got \[\]"),
    ({"dont_retry_on": ["x"]}, WrongType, "dont_retry_on of it: expected exception classes"),
    ({"dont_retry_on": ()}, RefusedInput, "dont_retry_on of it: expected at least one"),
    ({"dont_retry_on": Exception}, RefusedInput, "expected some exception of retry_on to be left"),
    ({"retry_on": KeyError, "dont_retry_on": LookupError}, RefusedInput, "say retry=False"),
    ({"retry_method": 5}, WrongType, "retry_method of it: expected a function of the number of runs so far, .* got 5"),
    ({"retry_method": "fixed"}, WrongType, "got 'fixed'"),
    ({"retry_method": fixed}, WrongType, r"expected a function of 1 arguments.*retry_method=fixed\(60, 3\)"),
    ({"retry_method": lambda: 1}, WrongType, "too many positional arguments"),
    ({"retry_method": (lambda retry: 1, (2,))}, WrongType, "expected a function of 2 arguments"),
    ({"retry_method": (1, ())}, WrongType, "expected a function of the number of runs"),
    ({"retry_method": (fixed, 60, 3)}, WrongType, "expected a function of the number of runs"),
    ({"retry_method": coroutine_method}, WrongType, "expected a plain function, for nobody awaits it"),
    ({"hard_timeout": -1}, RefusedInput, "hard_timeout of it: expected seconds >= 0, got -1"),
    ({"hard_timeout": "5"}, WrongType, "hard_timeout of it: expected seconds"),
    ({"hard_timeout": None}, WrongType, "hard_timeout of it: expected seconds"),
    ({"soft_timeout": True}, WrongType, "soft_timeout of it: expected seconds"),
    ({"hard_timeout": 5, "soft_timeout": 5}, RefusedInput, r"expected less than hard_timeout \(5 s\), got 5"),
    ({"hard_timeout": 9, "vis_timeout": 5}, RefusedInput, r"expected at most vis_timeout \(5 s\).*got 9"),
    ({"soft_timeout": 9, "vis_timeout": 5}, RefusedInput, r"expected at most vis_timeout \(5 s\).*got 9"),
    ({"hard_timeout": 9, "vis_timeout": 5, "recover": True}, RefusedInput, "expected at most vis_timeout"),
    (
        {"pool": "thread"},
        RefusedInput,
        "expected one of threads, asyncio, processes, fork, got 'thread'; did you mean 'th",
    ),
    ({"pool": ["threads"]}, RefusedInput, r"got \['threads'\]"),
    ({"pool": "sync"}, RefusedInput, "sync is a way of a whole worker"),
    ({"pool": "asyncio"}, RefusedInput, "expected threads, processes or fork for a plain function"),
    ({"recover": 1}, WrongType, "recover of it: expected True or False, got 1"),
    ({"recover": "no"}, WrongType, "recover of it: expected True or False, got 'no'"),
    ({"aliases": "old"}, WrongType, "aliases of it: expected a list of names, got 'old'"),
    ({"aliases": 5}, WrongType, "aliases of it: expected a list of names"),
    ({"aliases": [""]}, RefusedName, "aliases of it"),
    ({"aliases": ["taken"]}, RefusedInput, "expected names that no other task has, got 'taken', which is that of <fun"),
    ({"aliases": ["once"]}, RefusedInput, "got 'once', which is that of <fun"),
    ({"runner_class": object}, WrongType, "expected a subclass of rpqueue.TaskRunner, got <class 'object'>"),
    ({"runner_class": TaskRunner.__new__(TaskRunner)}, WrongType, "expected a subclass of rpqueue.TaskRunner"),
    ({"retries": 3}, RefusedInput, "retries=3; did you mean 'retry"),
    ({"hardtimeout": 3}, RefusedInput, "did you mean 'hard_timeout'"),
]


@pytest.mark.parametrize("kind", ["task", "periodic_task", "cron_task"])
@pytest.mark.parametrize(
    ("options", "error", "text"), BAD, ids=lambda value: " ".join(value) if isinstance(value, dict) else str(value)[:40]
)
def test_what_cannot_be_used_is_refused_where_it_is_declared(
    app: App, kind: str, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    def other() -> None: ...

    other.__code__ = compile("0", "another file", "exec").replace(co_filename="another file")
    app.Task("q", "taken", other, aliases=["once"])
    before = dict(app.settings.registry)
    with pytest.raises(error, match=text) as refused:
        declare(app, kind, **options)
    assert type(refused.value) is error
    assert app.settings.registry == before


@pytest.mark.parametrize("kind", ["task", "periodic_task", "cron_task"])
def test_what_can_be_used_is_taken_by_each_decorator(app: App, kind: str) -> None:
    class Own(TaskRunner):
        pass

    task = declare(
        app,
        kind,
        retry_on=[ValueError],
        dont_retry_on=UnicodeError,
        retry_method=fixed(timedelta(seconds=1), 3),
        hard_timeout=timedelta(seconds=5),
        soft_timeout=4,
        pool="fork",
        recover=True,
        aliases=("old", "older"),
        runner_class=Own,
    )
    assert (task.retrying.on, task.retrying.but_not) == ((ValueError,), (UnicodeError,))
    assert (task.hard_timeout, task.soft_timeout, task.pool, task.recover) == (5.0, 4.0, "fork", True)
    assert (task.aliases, task.runner_class, task.deliveries) == (("old", "older"), Own, 4)
    assert {app.get_task(name) for name in ("it", "old", "older")} == {task}


def test_a_module_that_is_imported_again_declares_its_tasks_and_aliases_again(app: App) -> None:
    first, second = (declare(app, "task", aliases=["old"]) for _ in range(2))
    assert first is not second
    assert app.get_task("old") is second


def test_a_coroutine_runs_in_no_thread(app: App) -> None:
    with pytest.raises(RefusedInput, match="expected asyncio, processes or fork for an async def, got 'threads'"):
        declare(app, "task", coroutine, pool="threads")
    for good in ("asyncio", "processes", "fork"):
        assert declare(app, "task", coroutine, pool=good, name=good).pool == good


@pytest.mark.parametrize(
    "method", [max, functools.partial(lambda factor, retry: factor * retry, 2), lambda retry, more=1: retry + more]
)
def test_anything_that_can_be_called_with_one_number_is_a_method(app: App, method: Any) -> None:
    assert declare(app, "task", retry_method=method).retrying.method is method
