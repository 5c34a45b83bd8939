"""What a worker does to logging, and what it leaves alone."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rpqueue import App, Middleware
from rpqueue.errors import SettingError
from rpqueue.logs import TaskFilter
from tests.servers import Server, wait_until
from tests.worker.here import working


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("rpqueue")
    before = logger.level
    yield logger
    logger.setLevel(before)


@pytest.fixture
def app(server: Server, redis_client: object) -> Iterator[App]:
    app = App(server.url, "test")
    app.settings.should_quit[0] = 1
    yield app
    app.broker.close()


def test_log_level_is_the_level_of_the_logger_while_workers_run(app: App, logger: logging.Logger) -> None:
    app.settings.log_level = "warning"
    app.execute_task_threads()
    assert logger.level == logging.WARNING


def test_without_log_level_logging_stays_as_it_is_configured(app: App, logger: logging.Logger) -> None:
    logger.setLevel(17)
    app.execute_task_threads()
    assert logger.level == 17


def test_a_wrong_log_level_is_refused_by_name(app: App) -> None:
    app.settings.log_level = "loud"
    with pytest.raises(SettingError, match="LOG_LEVEL: expected one of DEBUG"):
        app.execute_task_threads()


# Fields.


class Kept(logging.Handler):
    """Keeps the records that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append({**vars(record), "said": record.getMessage()})

    def of(self, said: str) -> list[tuple[Any, ...]]:
        """``(task, task_id, queue, attempt)`` of the records that say this, in order."""
        fields = ("task", "task_id", "queue", "attempt")
        return [tuple(map(record.get, fields)) for record in self.records if record["said"] == said]


@pytest.fixture
def kept(logger: logging.Logger) -> Iterator[Kept]:
    """What a handler with a TaskFilter gets, of any logger."""
    handler, root = Kept(), logging.getLogger()
    handler.addFilter(TaskFilter())
    root.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)


mine = logging.getLogger("myapp")


def test_each_line_of_a_task_says_which_task_it_is_of(app: App, kept: Kept) -> None:
    together = threading.Barrier(2, timeout=30)

    @app.task(name="busy", save_results=30)
    def busy(label: str) -> None:
        together.wait()
        mine.warning(label)
        together.wait()

    @app.task(name="waits", save_results=30)
    async def waits(label: str) -> None:
        await asyncio.sleep(0)
        mine.warning(label)

    with working(app, threads=2):
        calls = [busy.execute("one", _queue="a"), busy.execute("two"), waits.execute("three"), waits.execute("four")]
        for call in calls:
            call.get(timeout=30)
        mine.warning("outside")
    for call, label in zip(calls, ["one", "two", "three", "four"], strict=True):
        assert kept.of(label) == [(call.name, call.taskid, call.queue, 1)]
    assert kept.of("outside") == [(None, None, None, None)]
    assert sorted(kept.of("task finished")) == sorted((call.name, call.taskid, call.queue, 1) for call in calls)


def test_so_do_lines_of_middleware_where_it_hears_of_a_failure(app: App, kept: Kept) -> None:
    class Loud(Middleware):
        def on_dead(self, run: Any, failure: Any) -> None:
            mine.warning("dead")

    app.settings.middleware = [Loud()]

    @app.task(name="fails", attempts=2, vis_timeout=60, retry_delay=0)
    def fails() -> None:
        raise ValueError("meant")

    @app.task(name="fails too")
    async def fails_too() -> None:
        raise KeyError("meant")

    with working(app):
        one, two = fails.execute(), fails_too.execute()
        wait_until(lambda: len(kept.of("dead")) == 2, 30)
    assert sorted(kept.of("dead")) == [("fails", one.taskid, "default", 2), ("fails too", two.taskid, "default", 1)]
    failed = [record for record in kept.records if record["said"] == "task failed" and record["task"] == "fails"]
    assert [(one["exception"], one["verdict"], one["attempt"]) for one in failed] == [
        ("ValueError", "ready", 1),
        ("ValueError", "failed", 2),
    ]
    assert all(one["seconds"] >= 0 for one in failed)
