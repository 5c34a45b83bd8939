"""The bridge to Rollbar: the real SDK, up to what it would post."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import rollbar

from rpqueue import App, Middleware, RetryException, fixed
from rpqueue.contrib.rollbar import RollbarHandler
from tests.worker.here import working

MARK = "MaRkEd"


@pytest.fixture(scope="module", autouse=True)
def settings() -> None:
    rollbar.init("a-token", "test", handler="blocking", allow_logging_basic_config=False, suppress_reinit_warning=True)


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The data of the items that are posted."""
    items: list[dict[str, Any]] = []

    def post(url: str, data: str, **options: Any) -> requests.Response:
        items.append(json.loads(data)["data"])
        answer = requests.Response()
        answer.status_code, answer._content = 200, b'{"err": 0, "result": {}}'
        return answer

    monkeypatch.setattr(rollbar.transport, "post", post)
    return items


@pytest.fixture
def add() -> Iterator[Callable[..., RollbarHandler]]:
    """add(logger="rpqueue", **options): a RollbarHandler for the length of the test."""
    added: list[tuple[logging.Logger, RollbarHandler]] = []

    def add(logger: str = "rpqueue", **options: Any) -> RollbarHandler:
        added.append((logging.getLogger(logger), RollbarHandler("Shop", **options)))
        added[-1][0].addHandler(added[-1][1])
        return added[-1][1]

    yield add
    for logger, handler in added:
        logger.removeHandler(handler)


def run(app: App, *calls: Any, ends: str = "failed") -> list[Any]:
    """Run calls to their end, each a task with its arguments."""
    with working(app):
        made = [task.execute(*args) for task, *args in calls]
        app.flush_tasks(complete=True, timeout=30)
    assert [call.status for call in made] == [ends] * len(made)
    return made


def test_a_failed_task_is_an_item_with_its_exception_and_its_fields(app: App, posted: list[Any], add: Any) -> None:
    add()

    @app.task(name="bill", queue="money")
    def bill(order: int) -> None:
        raise ValueError(f"no price of {order}")

    [call] = run(app, (bill, 17))
    [item] = posted
    assert item["title"] == "Shop: bill in money: ValueError"
    assert (item["level"], item["environment"], item["context"]) == ("error", "test", "bill")
    trace = item["body"]["trace"]
    assert trace["exception"] == {"class": "ValueError", "message": "no price of 17"}
    assert trace["frames"][-1]["method"] == "bill"
    assert trace["frames"][-1]["code"] == 'raise ValueError(f"no price of {order}")'
    custom = item["custom"]
    assert (custom["task"], custom["task_id"], custom["queue"], custom["attempt"], custom["verdict"]) == (
        "bill",
        call.taskid,
        "money",
        1,
        "failed",
    )


def test_items_are_grouped_by_queue_task_and_exception(app: App, posted: list[Any], add: Any) -> None:
    add()

    @app.task(name="bill")
    def bill(kind: str, text: str) -> None:
        raise {"value": ValueError, "key": KeyError}[kind](text)

    other = app.task(name="ship")(lambda kind, text: bill.function(kind, text))
    run(app, (bill, "value", "a"), (bill, "value", "b"), (bill, "key", "a"), (other, "value", "a"))
    with working(app):
        bill.execute("value", "a", _queue="elsewhere")
        app.flush_tasks(complete=True, timeout=30)
    groups = [item["fingerprint"] for item in posted]
    assert groups[0] == groups[1] == "'rpqueue' 'default' 'bill' 'ValueError'"
    assert len(set(groups)) == 4


def failing(app: App) -> Any:
    @app.task(name="bill", retry=True, retry_method=fixed(0, 2))
    def bill() -> None:
        raise ValueError("meant")

    return bill


def test_a_run_that_is_followed_by_another_is_no_item(app: App, posted: list[Any], add: Any) -> None:
    add()
    run(app, (failing(app),))
    assert [item["custom"]["attempt"] for item in posted] == [3]


def test_with_retries_it_is(app: App, posted: list[Any], add: Any) -> None:
    add(retries=True)
    run(app, (failing(app),))
    assert [item["custom"]["attempt"] for item in posted] == [1, 2, 3]
    assert len({item["fingerprint"] for item in posted}) == 1


def test_a_task_that_asks_for_no_error_is_a_warning(app: App, posted: list[Any], add: Any) -> None:
    add("rpqueue", level="WARNING")

    @app.task(name="bill")
    def bill() -> None:
        raise RetryException(method=fixed(0, 0), log_error=False)

    with working(app):
        bill.execute()
        app.flush_tasks(complete=True, timeout=30)
    assert [(item["level"], item["custom"]["verdict"]) for item in posted] == [("warning", "dropped")]


def test_hidden_arguments_are_in_no_item(app: App, posted: list[Any], add: Any) -> None:
    add()

    @app.task(name="sign up", redact=("password",))
    def sign_up(name: str, password: str) -> None:
        raise ValueError(f"cannot sign up {name} with {password}")

    run(app, (sign_up, "ada", MARK * 2))
    [item] = posted
    assert MARK not in json.dumps(item)
    trace = item["body"]["trace"]
    assert trace["exception"] == {"class": "ValueError", "message": "cannot sign up ada with ***"}
    assert trace["frames"][-1]["method"] == "sign_up"
    assert trace["frames"][-1]["filename"] == __file__
    assert item["fingerprint"] == "'rpqueue' 'default' 'sign up' 'ValueError'"
    assert "traceback" not in item["custom"]


def test_nor_are_they_in_items_of_what_else_is_logged_while_the_task_runs(
    app: App, posted: list[Any], add: Any
) -> None:
    add("")

    class Wrong(Middleware):
        def on_dead(self, run: Any, failure: Any) -> None:
            raise failure.error

    app.settings.middleware = [Wrong()]

    @app.task(name="sign up", redact=("password",))
    def sign_up(name: str, password: str) -> None:
        logging.getLogger("shop").error("tried %s", password, extra={"sent": [{"word": password}, {password}]})
        try:
            raise KeyError(password)
        except KeyError:
            logging.getLogger("shop").exception("no, %s", name)
        raise ValueError(password)

    run(app, (sign_up, "ada", MARK * 2))
    assert [item["title"] for item in posted] == [
        "Shop: tried ***",
        "Shop: no, ada",
        "Shop: middleware failed: on_dead",
        "Shop: sign up in default: ValueError",
    ]
    assert MARK not in json.dumps(posted)
    assert posted[0]["custom"]["sent"] == [{"word": "***"}, ["***"]]
    assert posted[1]["body"]["trace"]["frames"][-1]["method"] == "sign_up"


def test_records_of_others_are_items_too_with_the_fields_of_their_task(app: App, posted: list[Any], add: Any) -> None:
    add("")  # the root logger

    @app.task(name="bill")
    def bill() -> None:
        logging.getLogger("shop").error("no %s", "paper", extra={"printer": 7})

    [call] = run(app, (bill,), ends="done")
    [item] = posted
    assert item["title"] == "Shop: no paper"
    assert item["body"]["message"]["body"] == "Shop: no paper"
    assert item["custom"] == {
        "printer": 7,
        "task": "bill",
        "task_id": call.taskid,
        "queue": "default",
        "attempt": 1,
        "logger": "shop",
    }


def test_errors_of_middleware_are_items_with_their_exception(app: App, posted: list[Any], add: Any) -> None:
    add()

    class Wrong(Middleware):
        def on_success(self, run: Any, seconds: float) -> None:
            raise OSError("disk full")

    app.settings.middleware = [Wrong()]
    run(app, (app.task(name="fine")(lambda: None),), ends="done")
    [item] = posted
    assert item["body"]["trace"]["exception"]["class"] == "OSError"
    assert (item["title"], item["custom"]["task"]) == ("Shop: middleware failed: on_success", "fine")


@pytest.mark.parametrize(
    ("number", "level"), [(10, "debug"), (20, "info"), (35, "warning"), (40, "error"), (55, "critical")]
)
def test_levels_that_rollbar_does_not_know_are_the_nearest_below(posted: list[Any], number: int, level: str) -> None:
    RollbarHandler(level=0).handle(logging.makeLogRecord({"name": "x", "msg": "x", "levelno": number}))
    assert [item["level"] for item in posted] == [level]


def test_what_rollbar_says_of_itself_is_not_reported(posted: list[Any]) -> None:
    for name in ("rollbar", "rollbar.lib"):
        RollbarHandler().handle(logging.makeLogRecord({"name": name, "msg": "x", "levelno": 40}))
    assert posted == []


def test_flush_waits_for_reports_under_way_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from rpqueue.contrib import rollbar as module

    waits, ends = threading.Event(), threading.Event()
    monkeypatch.setattr(rollbar, "wait", lambda: (waits.set(), ends.wait(30)))
    monkeypatch.setattr(module, "_LAST_WORDS", 0.01)
    RollbarHandler().flush()
    assert waits.wait(20)
    monkeypatch.setattr(module, "_LAST_WORDS", 30.0)
    monkeypatch.setattr(rollbar, "wait", lambda: ends.set())
    RollbarHandler().flush()
    assert ends.is_set()
