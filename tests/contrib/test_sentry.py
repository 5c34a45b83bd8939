"""The bridge to Sentry: the real SDK, up to its transport."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import sentry_sdk

from rpqueue import App, Middleware, RetryException, fixed
from rpqueue.contrib import sentry
from rpqueue.contrib.sentry import SentryMiddleware, events
from rpqueue.errors import RefusedInput
from rpqueue.middleware import Failure
from tests.contrib.conftest import Sent
from tests.servers import wait_until
from tests.worker.here import working

MARK = "MaRkEdMaRkEd"


@pytest.fixture
def app(app: App) -> App:
    """An App that tells Sentry."""
    app.settings.middleware = [SentryMiddleware()]
    return app


def run(app: App, *calls: Any, threads: int = 1) -> list[Any]:
    """Run calls to their end, each a task with its arguments."""
    with working(app, threads=threads):
        made = [task.execute(*args) for task, *args in calls]
        app.flush_tasks(complete=True, timeout=30)
    return made


# Errors.


def failing(app: App, **options: Any) -> Any:
    @app.task(name="bill", queue="money", **options)
    def bill(order: int) -> None:
        raise ValueError(f"no price of {order}")

    return bill


def test_a_call_that_fails_for_good_is_one_event_that_says_which_call(app: App, sent: Sent) -> None:
    [call] = run(app, (failing(app), 17))
    [event] = sent.of("event")
    [raised] = event["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("ValueError", "no price of 17")
    assert raised["mechanism"] == {"type": "rpqueue", "handled": False}
    assert [frame["function"] for frame in raised["stacktrace"]["frames"]] == ["perform", "_call", "bill"]
    assert (event["level"], event["transaction"]) == ("error", "bill")
    told = event["contexts"]["rpqueue"]
    assert {name: told[name] for name in ("task", "task_id", "queue", "attempt")} == {
        "task": "bill",
        "task_id": call.taskid,
        "queue": "money",
        "attempt": 1,
    }
    assert event["tags"] == {"rpqueue.task": "bill", "rpqueue.task_id": call.taskid, "rpqueue.queue": "money"}
    assert event["fingerprint"] == ["{{ default }}", "bill"]


def test_it_belongs_to_the_trace_and_the_span_of_its_run(app: App, sent: Sent) -> None:
    run(app, (failing(app), 17))
    [event], [transaction] = sent.of("event"), sent.of("transaction")
    [span] = transaction["spans"]
    assert event["contexts"]["trace"]["trace_id"] == transaction["contexts"]["trace"]["trace_id"]
    assert event["contexts"]["trace"]["span_id"] == span["span_id"]


def test_runs_that_are_followed_by_another_are_no_events(app: App, sent: Sent) -> None:
    run(app, (failing(app, retry_method=fixed(0, 2)), 17))
    assert [event["contexts"]["rpqueue"]["attempt"] for event in sent.of("event")] == [3]


def test_with_retries_they_are_as_warnings(app: App, sent: Sent) -> None:
    app.settings.middleware = [SentryMiddleware(retries=True)]
    run(app, (failing(app, retry_method=fixed(0, 2)), 17))
    found = [(event["level"], event["contexts"]["rpqueue"]["attempt"]) for event in sent.of("event")]
    assert found == [("warning", 1), ("warning", 2), ("error", 3)]


def test_a_task_that_asks_for_no_error_is_no_event(app: App, sent: Sent) -> None:
    @app.task(name="bill")
    def bill() -> None:
        raise RetryException(method=fixed(0, 0), log_error=False)

    run(app, (bill,))
    assert sent.of("event") == []


def test_coroutines_that_fail_are_events_too(app: App, sent: Sent) -> None:
    @app.task(name="bill")
    async def bill(order: int) -> None:
        sentry_sdk.add_breadcrumb(message=f"order {order}")
        await asyncio.sleep(0)
        raise ValueError(f"no price of {order}")

    [call] = run(app, (bill, 17))
    [event] = sent.of("event")
    assert event["contexts"]["rpqueue"]["task_id"] == call.taskid
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == ["order 17"]
    assert event["exception"]["values"][0]["stacktrace"]["frames"][-1]["function"] == "bill"


def test_arguments_are_told_where_the_program_allows_it(app: App, start_sentry: Callable[..., Sent]) -> None:
    sent = start_sentry(data_collection={"queues": True})
    run(app, (failing(app), 17))
    [event] = sent.of("event")
    assert (event["contexts"]["rpqueue"]["args"], event["contexts"]["rpqueue"]["kwargs"]) == ([17], {})


def test_else_they_are_not(app: App, sent: Sent) -> None:
    run(app, (failing(app), 17))
    assert sent.of("event")[0]["contexts"]["rpqueue"].keys().isdisjoint({"args", "kwargs"})


def test_before_send_gets_the_exception(app: App, start_sentry: Callable[..., Sent]) -> None:
    seen: list[Any] = []
    sent = start_sentry(before_send=lambda event, hint: seen.append(hint["exc_info"][1]))
    run(app, (failing(app), 17))
    assert [str(one) for one in seen] == ["no price of 17"]
    assert sent.of("event") == []


def test_an_ignored_kind_of_error_is_no_event(app: App, start_sentry: Callable[..., Sent]) -> None:
    sent = start_sentry(ignore_errors=[ValueError])
    run(app, (failing(app), 17))
    assert sent.of("event") == []


# Scopes.


def test_what_a_run_says_is_in_its_own_events_and_in_no_other(app: App, sent: Sent) -> None:
    together = threading.Barrier(3, timeout=30)

    @app.task(name="bill")
    def bill(order: int) -> None:
        sentry_sdk.set_tag("order", str(order))
        sentry_sdk.set_user({"id": str(order)})
        sentry_sdk.add_breadcrumb(message=f"order {order}")
        logging.getLogger("shop").warning("log %s", order)
        together.wait()
        logging.getLogger("shop").error("meanwhile %s", order)
        raise ValueError(f"no price of {order}")

    @app.task(name="quiet")
    def quiet() -> None:
        raise KeyError("nothing to say")

    sentry_sdk.add_breadcrumb(message="of nobody")
    run(app, *[(bill, order) for order in range(6)], (quiet,), threads=3)
    found = {
        event["tags"]["order"]: (
            event["exception"]["values"][0]["value"],
            event["user"]["id"],
            [crumb["message"] for crumb in event["breadcrumbs"]["values"]],
        )
        for event in sent.of("event")
        if event.get("exception") and "order" in event["tags"]
    }
    assert found == {
        str(order): (f"no price of {order}", str(order), [f"order {order}", f"log {order}", f"meanwhile {order}"])
        for order in range(6)
    }
    [silent] = [event for event in sent.of("event") if event["transaction"] == "quiet"]
    assert (silent.get("breadcrumbs", {}).get("values", []), silent.get("user"), "order" in silent["tags"]) == (
        [],
        None,
        False,
    )
    meanwhile = [event for event in sent.of("event") if not event.get("exception")]
    assert {(event["tags"]["order"], event["logentry"]["formatted"]) for event in meanwhile} == {
        (str(order), f"meanwhile {order}") for order in range(6)
    }
    assert all(event["contexts"]["rpqueue"]["task"] == "bill" for event in meanwhile)
    assert len(sent.of("event")) == 13


def test_so_it_is_with_coroutines(app: App, sent: Sent) -> None:
    @app.task(name="bill")
    async def bill(order: int) -> None:
        sentry_sdk.set_tag("order", str(order))
        sentry_sdk.add_breadcrumb(message=f"order {order}")
        await asyncio.sleep(0.05)
        raise ValueError(f"no price of {order}")

    run(app, *[(bill, order) for order in range(10)])
    found = [
        (event["tags"]["order"], event["exception"]["values"][0]["value"], len(event["breadcrumbs"]["values"]))
        for event in sent.of("event")
    ]
    assert sorted(found) == [(str(order), f"no price of {order}", 1) for order in range(10)]


def test_what_a_run_says_stays_out_of_what_its_thread_does_later(app: App, sent: Sent) -> None:
    class Later(SentryMiddleware):
        def on_success(self, run: Any, seconds: float) -> None:
            sentry_sdk.capture_message("later")

    app.settings.middleware = [Later()]

    @app.task(name="speaks")
    def speaks() -> None:
        sentry_sdk.set_tag("order", "1")
        sentry_sdk.add_breadcrumb(message="order 1")

    run(app, (speaks,))
    [event] = sent.of("event")
    assert "order" not in event["tags"]
    assert "order 1" not in str(event.get("breadcrumbs"))


# What a task hides.


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_hidden_arguments_are_in_nothing_that_is_sent(app: App, start_sentry: Callable[..., Sent], kind: str) -> None:
    sent = start_sentry(data_collection={"queues": True})

    class Wrong(Middleware):
        def on_failure(self, run: Any, failure: Failure) -> None:
            raise OSError(f"while {failure.error}")

    app.settings.middleware = [SentryMiddleware(), Wrong()]

    def speak(name: str, password: str) -> None:
        sentry_sdk.set_tag("word", password)
        sentry_sdk.set_extra("sent", {"words": {password}, "odd": ValueError(password)})
        sentry_sdk.add_breadcrumb(message=f"tried {password}", data={"word": [password]})
        with sentry_sdk.start_span(op="http", name=f"GET /?{password}") as span:
            span.set_data("query", password)
        logging.getLogger("shop").error("tried %s", password)
        raise ValueError(f"cannot sign up {name} with {password}")

    async def speak_async(name: str, password: str) -> None:
        speak(name, password)

    task = app.task(name="sign up", redact=("password",))(speak if kind == "plain" else speak_async)
    run(app, (task, "ada", MARK))
    assert MARK not in str(sent.items)
    assert len(sent.of("event")) == 3
    assert len(sent.of("transaction")) == 1
    found = [event for event in sent.of("event") if event.get("exception")]
    [event] = [event for event in found if event["exception"]["values"][-1]["type"] == "ValueError"]
    assert event["exception"]["values"][0]["value"] == "cannot sign up ada with ***"
    assert event["contexts"]["rpqueue"]["args"] == ["ada", "***"]
    assert event["tags"]["word"] == "***"
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    assert frames[-1]["function"] == "speak"
    assert all("vars" not in frame for frame in frames)


# Other processes.


class Far(Exception):
    """What a child process may raise."""


def test_an_exception_takes_the_scope_of_its_run_along_to_another_process(app: App, sent: Sent) -> None:
    """As it is with child processes: what ends there is reported here, by a thread that has done other things."""
    failure: list[Any] = []

    class Child(SentryMiddleware):
        def on_dead(self, run: Any, failed: Failure) -> None:
            sentry_sdk.add_breadcrumb(message="of the thread that reports")
            sentry_sdk.set_tag("reporter", "yes")
            error = pickle.loads(pickle.dumps(failed.error))
            failure.append(error)
            super().on_dead(run, failed._replace(error=error))

    app.settings.middleware = [Child()]

    @app.task(name="bill")
    def bill(order: int) -> None:
        sentry_sdk.set_tag("order", str(order))
        sentry_sdk.set_user({"id": "ada"})
        sentry_sdk.set_context("shop", {"name": "corner", "odd": {1, 2}})
        sentry_sdk.set_extra("box", object())
        sentry_sdk.add_breadcrumb(message=f"order {order}", data={"at": object()})
        raise Far(f"no price of {order}")

    run(app, (bill, 17))
    [event] = sent.of("event")
    [raised] = event["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("Far", "no price of 17")
    last = raised["stacktrace"]["frames"][-1]
    assert (last["function"], last["context_line"]) == ("bill", 'raise Far(f"no price of {order}")')
    assert last["in_app"]
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == ["order 17"]
    assert (event["tags"]["order"], event["user"]["id"], event["contexts"]["shop"]["name"]) == ("17", "ada", "corner")
    assert event["contexts"]["trace"]["trace_id"] == sent.of("transaction")[0]["contexts"]["trace"]["trace_id"]
    assert event["contexts"]["rpqueue"]["task"] == "bill"


@pytest.mark.parametrize(
    "text", ["", 'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g()\nX: y\n']
)
def test_a_failure_of_which_there_is_only_a_record_is_reported_from_that(app: App, sent: Sent, text: str) -> None:
    class Killed(SentryMiddleware):
        def on_dead(self, run: Any, failed: Failure) -> None:
            sentry_sdk.add_breadcrumb(message="of the thread that reports")
            record = {"exception": "TaskTimeout", "message": "too long", "traceback": text}
            super().on_dead(run, failed._replace(error=None, record=record))

    app.settings.middleware = [Killed()]
    run(app, (failing(app), 17))
    [event] = sent.of("event")
    [raised] = event["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("TaskTimeout", "too long")
    assert event.get("breadcrumbs", {}).get("values", []) == []
    if text:
        [frame] = raised["stacktrace"]["frames"]
        assert (frame["abs_path"], frame["lineno"], frame["context_line"]) == ("a.py", 3, "g()")
        assert event["fingerprint"] == ["{{ default }}", "bill"]
    else:
        assert raised.get("stacktrace") is None
        assert event["fingerprint"] == ["rpqueue", "bill", "TaskTimeout"]


def test_a_trail_never_keeps_an_exception_from_being_pickled() -> None:
    class Broken:
        def apply_to_event(self, *args: Any) -> Any:
            raise OSError

    error = ValueError("x")
    events.leave(events.Trail(Broken(), Broken(), {"odd": object()}, {}), error)  # type: ignore[arg-type]
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), events.trail_of(again).told) == ("x", {})  # type: ignore[union-attr]


# Never in the way.


def test_without_a_client_nothing_is_done(app: App) -> None:
    @app.task(name="fine", save_results=30)
    def fine() -> int:
        return 7

    with working(app):
        call = fine.execute()
        assert call.get(timeout=30) == 7
    assert not sentry_sdk.get_client().is_active()


@pytest.mark.parametrize("broken", ["isolation_scope", "start_transaction", "start_span", "capture_event"])
def test_what_goes_wrong_in_sentry_changes_nothing_for_tasks(
    app: App, sent: Sent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    def wrong(*args: Any, **options: Any) -> Any:
        raise OSError("Sentry is ill")

    monkeypatch.setattr(sentry_sdk, broken, wrong)
    fails = failing(app)

    @app.task(name="fine", save_results=30)
    def fine() -> int:
        return 7

    with working(app):
        good, bad = fine.execute(), fails.execute(17)
        assert good.get(timeout=30) == 7
        wait_until(lambda: bad.status == "failed", 30)
    assert "Sentry could not be told" in caplog.text


def test_the_tracebacks_of_tasks_are_as_they_are_without(app: App, sent: Sent) -> None:
    errors: list[list[str]] = []

    class Looks(SentryMiddleware):
        def on_dead(self, run: Any, failure: Failure) -> None:
            assert failure.error is not None
            errors.append([frame.name for frame in traceback.extract_tb(failure.error.__traceback__)])

    app.settings.middleware = [Looks()]
    run(app, (failing(app), 17))
    assert errors == [["perform", "_call", "bill"]]


def test_a_traceback_is_as_it_was_whatever_is_done_to_it_around_the_task() -> None:
    def spoil(kind: Any, error: BaseException | None, traceback: Any) -> None:
        assert error is not None
        error.__traceback__ = None

    error = ValueError("meant")
    with contextlib.suppress(ValueError), sentry._Around(lambda stack: stack.push(spoil)):
        raise error
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)] == [
        "test_a_traceback_is_as_it_was_whatever_is_done_to_it_around_the_task"
    ]


def test_what_is_not_sent_is_sent_when_a_worker_ends(app: App, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[float] = []
    monkeypatch.setattr(sentry_sdk, "flush", lambda timeout: flushed.append(timeout))
    with working(app):
        pass
    assert flushed == [1.5]


@pytest.mark.parametrize("monitors", ["all", None, ["bill"], 1])
def test_monitors_that_are_none_are_refused(monitors: Any) -> None:
    with pytest.raises(RefusedInput, match="monitors: expected True, False or a dict by names of tasks"):
        SentryMiddleware(monitors=monitors)
