"""What a worker does to logging, and what it leaves alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from rpqueue import App
from rpqueue.errors import SettingError
from tests.servers import Server


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
