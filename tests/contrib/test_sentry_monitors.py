"""Check-ins of recurring tasks with Sentry's Crons."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from rpqueue import App, Middleware, fixed
from rpqueue.contrib.sentry import SentryMiddleware, monitors
from rpqueue.protocol.schedules import fire
from tests.contrib.conftest import Sent
from tests.servers import wait_until
from tests.worker.here import working


@pytest.fixture
def app(app: App) -> App:
    """An App that tells Sentry."""
    app.settings.middleware = [SentryMiddleware()]
    return app


def fired(app: App, name: str, sent: Sent, check_ins: int) -> list[Any]:
    """What Sentry is told while a worker fires a slot of a task, which is long due."""
    keys = app.task_keys(app.get_task(name).queue)
    app.broker.execute(fire(keys, app.index, name, None, 1_000))
    with working(app):
        wait_until(lambda: len(sent.of("check_in")) >= check_ins, 30)
    return sent.of("check_in")


def by_hand(app: App, name: str, taskid: str) -> None:
    call = app.get_task(name).execute(taskid=taskid)
    with working(app):
        wait_until(lambda: call.status == "done", 30)


def test_a_run_of_a_schedule_checks_in_before_and_after(app: App, sent: Sent) -> None:
    @app.periodic_task(3600, name="shop.Report", queue="slow", vis_timeout=90)
    def report() -> None: ...

    before, after = fired(app, "shop.Report", sent, 2)
    config = {"schedule": {"type": "interval", "value": 1, "unit": "hour"}, "max_runtime": 2}
    for one in (before, after):
        assert (one["monitor_slug"], one["monitor_config"]) == ("shop-report", config)
    assert (before["status"], after["status"]) == ("in_progress", "ok")
    assert before["check_in_id"] == after["check_in_id"]
    assert before["duration"] is None
    assert after["duration"] >= 0


def test_one_that_fails_checks_in_with_an_error_and_so_for_each_run(app: App, sent: Sent) -> None:
    @app.periodic_task(3600, name="report", retry_method=fixed(0, 1))
    def report() -> None:
        raise ValueError("meant")

    found = fired(app, "report", sent, 4)
    assert [one["status"] for one in found] == ["in_progress", "error", "in_progress", "error"]
    ids = [one["check_in_id"] for one in found]
    assert ids[0] == ids[1] != ids[2] == ids[3]


def test_of_a_run_that_was_killed_the_worker_tells_the_end(app: App, sent: Sent) -> None:
    class Killed(Middleware):
        """As if the process of the run had been killed: nothing was said there."""

        def around(self, run: Any) -> Any:
            monitors.capture_checkin("report", monitors._id_of(run), "in_progress")
            return super().around(run)

        def on_failure(self, run: Any, failure: Any) -> None:
            SentryMiddleware().on_failure(run, failure._replace(error=None))

    app.settings.middleware = [Killed()]

    @app.periodic_task(3600, name="report")
    def report() -> None:
        raise ValueError("meant")

    before, after = fired(app, "report", sent, 2)
    assert (before["status"], after["status"]) == ("in_progress", "error")
    assert before["check_in_id"] == after["check_in_id"]


def test_calls_by_hand_and_tasks_without_a_schedule_do_not_check_in(app: App, sent: Sent) -> None:
    app.periodic_task(3600, name="report")(lambda: None)
    app.task(name="plain")(lambda: None)
    by_hand(app, "report", "mine")
    by_hand(app, "plain", "plain@1000")
    assert sent.of("check_in") == []
    by_hand(app, "report", "report@1000")
    assert len(sent.of("check_in")) == 2


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (False, None),
        ({}, None),
        ({"other": {}}, None),
        ({"report": {}}, {"schedule": {"type": "interval", "value": 1, "unit": "hour"}}),
        (
            {"report": {"checkin_margin": 5, "max_runtime": 30}},
            {
                "schedule": {"type": "interval", "value": 1, "unit": "hour"},
                "checkin_margin": 5,
                "max_runtime": 30,
            },
        ),
    ],
)
def test_the_program_says_which_tasks_check_in_and_what_else_to_tell(
    app: App, sent: Sent, wanted: Any, told: Any
) -> None:
    app.settings.middleware = [SentryMiddleware(monitors=wanted)]
    app.periodic_task(3600, name="report")(lambda: None)
    by_hand(app, "report", "report@1000")
    assert [one["monitor_config"] for one in sent.of("check_in")] == ([] if told is None else [told, told])


# What Sentry is told of a schedule.


@pytest.mark.parametrize(
    ("interval", "told"),
    [
        (60, (1, "minute")),
        (90, None),
        (30, None),
        (600, (10, "minute")),
        (7200, (2, "hour")),
        (5400, (90, "minute")),
        (86_400 * 7, (7, "day")),
    ],
)
def test_intervals_are_told_in_whole_minutes_hours_or_days(app: App, interval: float, told: Any) -> None:
    app.periodic_task(interval, name="report")(lambda: None)
    found = monitors.config_of(app.get_task("report"))
    assert found == (told and {"schedule": {"type": "interval", "value": told[0], "unit": told[1]}})


@pytest.mark.parametrize(
    "line",
    ["0 4 * * *", "*/5 * * * *", "0 4 * * mon-fri", "0 0 1,15 jan-mar *", "1-30/2 * * * *", "@hourly", "0 4 * * 0"],
)
def test_cron_lines_that_both_read_alike_are_told(app: App, line: str) -> None:
    app.cron_task(line, name="report", timezone="Europe/Berlin")(lambda: None)
    found = monitors.config_of(app.get_task("report"))
    assert found == {"schedule": {"type": "crontab", "value": line}, "timezone": "Europe/Berlin"}


@pytest.mark.parametrize(
    "line",
    ["0 4 1 * mon", "0 0 L * *", "0 0 * * L5", "0 5 * * * 2030", "17 0 5 * * * *"],
)
def test_cron_lines_that_sentry_reads_in_another_way_are_not_told(app: App, line: str) -> None:
    app.cron_task(line, name="report")(lambda: None)
    assert monitors.config_of(app.get_task("report")) is None


def test_a_zone_without_a_name_is_not_told(app: App) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    app.cron_task("0 4 * * *", name="report", timezone=zone)(lambda: None)
    assert monitors.config_of(app.get_task("report")) is None


def test_a_schedule_of_ones_own_is_not_told(app: App) -> None:
    class Mine:
        never_skip = False

        def first(self, now: float) -> float:
            return now + 3600

        def after(self, slot: float, now: float) -> float:
            return slot + 3600

        def describe(self) -> str:
            return "mine"

    app.periodic_task(Mine(), name="report")(lambda: None)  # type: ignore[arg-type]
    assert monitors.config_of(app.get_task("report")) is None


def test_jitter_is_a_margin_and_the_longest_run_a_maximum(app: App) -> None:
    app.periodic_task(3600, name="report", vis_timeout=61, jitter=30)(lambda: None)
    found = monitors.config_of(app.get_task("report"))
    assert (found["checkin_margin"], found["max_runtime"]) == (2, 2)  # type: ignore[index]


# Slugs.


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("tasks.report", "tasks-report"),
        ("Shop.Nightly_Report", "shop-nightly_report"),
        ("größe  x", "gr-e-x"),
        ("a" * 50, "a" * 50),
    ],
)
def test_slugs_are_what_sentry_takes(name: str, slug: str) -> None:
    assert monitors.slug_of(name) == slug


def test_long_names_and_odd_ones_get_a_slug_of_their_own() -> None:
    names = ["a" * 51, "a" * 52, "日本", "日本語", "2026", "\ud800"]
    slugs = [monitors.slug_of(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all(0 < len(slug) <= 50 and slug.isascii() and not slug.isdigit() for slug in slugs)
