"""The bridge to structlog: fields of tasks on every event, and lines of JSON."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from rpqueue import App, logs
from rpqueue.contrib.structlog import fresh_contextvars, rpqueue_processor, setup
from rpqueue.errors import RefusedInput
from rpqueue.running import enter, leave
from tests.worker.here import working


class Running:
    name, taskid, queue, attempt = "mail.send", "9f", "mail", 2


@pytest.fixture
def running() -> Iterator[None]:
    token = enter(Running())  # type: ignore[arg-type]
    yield
    leave(token)


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Everything as it was before, once a test is over."""
    root, ours = logging.getLogger(), logging.getLogger("rpqueue")
    before = root.level, ours.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    while logs._installed:
        logger, handler = logs._installed.pop()
        logger.removeHandler(handler)
    root.setLevel(before[0])
    ours.setLevel(before[1])


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


# The processor.


@pytest.mark.usefixtures("running")
def test_an_event_of_a_task_has_the_fields_of_its_task() -> None:
    assert rpqueue_processor(None, "info", {"event": "sent"}) == {
        "event": "sent",
        "task": "mail.send",
        "task_id": "9f",
        "queue": "mail",
        "attempt": 2,
    }


@pytest.mark.usefixtures("running")
def test_fields_that_an_event_has_are_left() -> None:
    assert rpqueue_processor(None, "info", {"queue": "of people"})["queue"] == "of people"


def test_events_outside_of_tasks_stay_as_they_are() -> None:
    assert rpqueue_processor(None, "info", {"event": "sent"}) == {"event": "sent"}


# What setup() configures.


def test_events_and_records_are_lines_of_json_from_the_level_on() -> None:
    stream = io.StringIO()
    setup("info", stream)
    structlog.get_logger("shop").info("sold %d", 3, to="Ada")
    structlog.get_logger("shop").debug("not shown")
    logging.getLogger("library").warning("%s left", 5, extra={"boxes": {1: float("nan")}})
    one, two = written(stream)
    assert list(one) == ["timestamp", "level", "logger", "event", "to"]
    assert (one["level"], one["logger"], one["event"], one["to"]) == ("info", "shop", "sold 3", "Ada")
    assert one["timestamp"].startswith("20")
    assert one["timestamp"].endswith("Z")
    assert (two["logger"], two["event"], two["boxes"]) == ("library", "5 left", "{1: nan}")


def test_exceptions_are_named_and_shown() -> None:
    stream = io.StringIO()
    setup(stream=stream)
    try:
        raise ValueError("boom")
    except ValueError as error:
        structlog.get_logger("shop").exception("by structlog")
        logging.getLogger("library").exception("by logging")
        structlog.get_logger("shop").error("handed over", exc_info=error)
    for line in written(stream):
        assert line["exception"] == "ValueError"
        assert line["traceback"].endswith("ValueError: boom")
        assert "exc_info" not in line


def test_a_second_setup_and_the_command_lines_own_handler_double_no_line() -> None:
    stream = io.StringIO()
    logs.configure("info", "json")
    setup(stream=io.StringIO())
    setup(stream=stream)
    logging.getLogger("rpqueue.worker").info("once")
    assert [line["event"] for line in written(stream)] == ["once"]
    assert len(logs._installed) == 1


def test_a_level_that_is_none_is_refused() -> None:
    with pytest.raises(RefusedInput, match="loglevel: expected one of DEBUG"):
        setup("loud")


# In workers.


def test_every_line_of_a_task_says_which_task_it_is_of(app: App) -> None:
    stream, together = io.StringIO(), threading.Barrier(2, timeout=30)
    setup("info", stream)
    log = structlog.get_logger("shop")

    @app.task(name="ship", save_results=30)
    def ship(order: int) -> None:
        together.wait()
        log.info("shipped", order=order)
        logging.getLogger("library").warning("packed")
        together.wait()

    @app.task(name="bill", save_results=30)
    async def bill(order: int) -> None:
        log.info("billed", order=order)

    @app.task(name="fails")
    def fails(secret: str) -> None:
        raise KeyError("meant")

    with working(app, threads=2):
        calls = [ship.execute(1), ship.execute(2, _queue="other"), bill.execute(3)]
        for call in calls:
            call.get(timeout=30)
        failed = fails.execute("hush-hush")
        failed.wait(30)
        app.flush_tasks(complete=True, timeout=30)
    lines = written(stream)
    for order, call in enumerate(calls, 1):
        [line] = [line for line in lines if line.get("order") == order]
        assert [line[name] for name in ("task", "task_id", "queue", "attempt")] == [
            call.name,
            call.taskid,
            call.queue,
            1,
        ]
    assert {line["task_id"] for line in lines if line["event"] == "packed"} == {call.taskid for call in calls[:2]}
    [line] = [line for line in lines if line["event"] == "task failed"]
    assert (line["task_id"], line["exception"], line["level"]) == (failed.taskid, "KeyError", "error")
    assert "hush" not in stream.getvalue()
    assert "task" not in next(line for line in lines if line["event"] == "worker is running")


def test_what_a_task_binds_ends_with_it(app: App) -> None:
    stream = io.StringIO()
    setup("info", stream)
    app.settings.child_context_managers = [fresh_contextvars]
    log = structlog.get_logger("shop")

    @app.task(name="binds", save_results=30)
    def binds(user: str) -> None:
        if user:
            structlog.contextvars.bind_contextvars(user=user)
        log.info("here")

    with working(app):
        binds.execute("ada").get(timeout=30)
        binds.execute("").get(timeout=30)
    assert [line.get("user") for line in written(stream) if line["event"] == "here"] == ["ada", None]


def test_what_was_bound_before_is_bound_again() -> None:
    structlog.contextvars.bind_contextvars(shop="1")
    with contextlib.suppress(ValueError), fresh_contextvars():
        assert structlog.contextvars.get_contextvars() == {}
        structlog.contextvars.bind_contextvars(user="ada")
        raise ValueError("meant")
    assert structlog.contextvars.get_contextvars() == {"shop": "1"}
