"""What logs, Sentry and Rollbar are told of tasks that run in child processes."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope

from rpqueue import App, Middleware
from rpqueue.contrib.sentry import SentryMiddleware
from rpqueue.logs import JSONFormatter, TaskFilter
from tests.contrib.conftest import Sent
from tests.servers import wait_until
from tests.worker.here import working


class Filed(Sent):
    """What would go to Sentry from any process, in a file; and of this process, in memory, too."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file, self.waiting = file, []  # type: ignore[var-annotated]

    def capture_envelope(self, envelope: Envelope) -> None:
        super().capture_envelope(envelope)
        for item in envelope.items:
            self.waiting.append({"pid": os.getpid(), "kind": item.type, "payload": item.payload.json})

    def flush(self, timeout: float, callback: Any = None) -> None:
        """Only now does it leave the process, as with a transport that sends in the background."""
        with self.file.open("a") as file:
            for one in self.waiting:
                file.write(json.dumps(one, default=str) + "\n")
        self.waiting.clear()

    def written(self) -> list[Any]:
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []


@pytest.fixture
def filed(tmp_path: Path, start_sentry: Callable[..., Sent]) -> Filed:
    filed = Filed(tmp_path / "sent")
    start_sentry(filed)
    return filed


@pytest.mark.parametrize("pool", ["fork", "processes"])
def test_what_a_child_has_on_its_scope_is_with_the_event_of_its_failure(app: App, filed: Filed, pool: str) -> None:
    app.settings.middleware = [SentryMiddleware()]

    @app.task(name="bill", pool=pool)
    def bill(order: int) -> None:
        sentry_sdk.set_tag("order", str(order))
        sentry_sdk.add_breadcrumb(message=f"order {order}", data={"at": object()})
        raise ValueError(f"no price of {order}")

    with working(app):
        calls = [bill.execute(order) for order in range(2)]
        wait_until(lambda: len(filed.of("event")) == 2, 30)
    for call, event in zip(calls, sorted(filed.of("event"), key=lambda event: event["tags"]["order"]), strict=True):
        [raised] = event["exception"]["values"]
        order = event["tags"]["order"]
        assert raised["value"] == f"no price of {order}"
        assert raised["stacktrace"]["frames"][-1]["function"] == "bill"
        assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == [f"order {order}"]
        assert event["contexts"]["rpqueue"]["task_id"] == call.taskid
    traces = {event["contexts"]["trace"]["trace_id"] for event in filed.of("event")}
    kinds = {(one["kind"], one["pid"] == os.getpid()) for one in filed.written()}
    assert ("transaction", False) in kinds  # what is in a child's buffers leaves it at its end
    told = [one["payload"] for one in filed.written() if one["kind"] == "transaction"]
    assert {one["contexts"]["trace"]["trace_id"] for one in told} == traces


def test_a_child_that_is_killed_is_reported_by_its_worker(app: App, filed: Filed) -> None:
    app.settings.middleware = [SentryMiddleware()]

    @app.periodic_task(3600, name="report", hard_timeout=0.3, soft_timeout=0)
    def report() -> None:
        time.sleep(60)

    with working(app):
        app.get_task("report").execute(taskid="report@1000")
        wait_until(lambda: len(filed.of("event")) == 1 and len(filed.of("check_in")) == 1, 30)
    [event], [check_in] = filed.of("event"), filed.of("check_in")
    assert event["exception"]["values"][-1]["type"] == "TaskTimeout"
    assert (check_in["monitor_slug"], check_in["status"]) == ("report", "error")


def test_lines_of_a_child_say_which_task_they_are_of(app: App, tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "log")
    handler.setFormatter(JSONFormatter())
    handler.addFilter(TaskFilter())
    logging.getLogger("shop").addHandler(handler)

    @app.task(name="ship", pool="fork", save_results=30)
    def ship() -> int:
        logging.getLogger("shop").warning("shipped")
        return os.getpid()

    try:
        with working(app):
            call = ship.execute()
            pid = call.get(timeout=30)
    finally:
        logging.getLogger("shop").removeHandler(handler)
        handler.close()
    [line] = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert (line["task"], line["task_id"], line["process"]) == ("ship", call.taskid, pid)
    assert pid != os.getpid()


def test_the_record_of_a_failure_names_the_process_of_the_run(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(name="fails", pool="fork")
    def fails() -> None:
        raise ValueError("meant")

    with working(app):
        call = fails.execute()
        wait_until(lambda: call.status == "failed", 30)
        wait_until(lambda: "task failed" in caplog.text, 30)
    [record] = [record for record in caplog.records if record.getMessage() == "task failed"]
    assert vars(record)["pid"] not in (os.getpid(), None)
    assert vars(record)["exception"] == "ValueError"


def test_a_child_says_that_it_ends(app: App, tmp_path: Path) -> None:
    class Notes(Middleware):
        def on_exit(self) -> None:
            (tmp_path / f"exit-{os.getpid()}").touch()

    app.settings.middleware = [Notes()]

    @app.task(name="ship", pool="fork", save_results=30)
    def ship() -> int:
        return os.getpid()

    with working(app):
        pid = ship.execute().get(timeout=30)
        wait_until((tmp_path / f"exit-{pid}").exists, 30)
    assert (tmp_path / f"exit-{os.getpid()}").exists()
