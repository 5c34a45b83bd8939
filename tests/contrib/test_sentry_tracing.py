"""Spans of Sentry's Queues module, and the trace from the producer to the worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
import sentry_sdk

from rpqueue import App, RetryException, SoftTimeout, aio, fixed
from rpqueue.contrib.sentry import SentryMiddleware, tracing
from rpqueue.errors import TaskCancelled
from tests.contrib.conftest import Sent
from tests.servers import wait_until
from tests.worker.here import working


@pytest.fixture
def app(app: App) -> App:
    """An App that tells Sentry."""
    app.settings.middleware = [SentryMiddleware()]
    return app


@pytest.fixture
def bill(app: App) -> Any:
    @app.task(name="bill", queue="money")
    def bill(order: int) -> None: ...

    return bill


def run(app: App) -> None:
    """Run what is enqueued."""
    with working(app):
        app.flush_tasks(complete=True, timeout=30)


def transactions(sent: Sent, op: str = "queue.task.rpqueue") -> list[Any]:
    return [one for one in sent.of("transaction") if one["contexts"]["trace"]["op"] == op]


def spans(transaction: Any, op: str) -> list[Any]:
    return [span for span in transaction["spans"] if span["op"] == op]


def test_a_call_is_a_span_where_it_is_enqueued_and_one_where_it_runs_in_one_trace(
    app: App, sent: Sent, bill: Any
) -> None:
    with sentry_sdk.start_transaction(op="http.server", name="/order"):
        call = bill.execute(17)
    run(app)
    [request], [work] = transactions(sent, "http.server"), transactions(sent)
    [publish], [process] = spans(request, "queue.publish"), spans(work, "queue.process")
    assert (work["transaction"], work["transaction_info"]["source"]) == ("bill", "task")
    assert publish["description"] == process["description"] == "bill"
    assert publish["origin"] == process["origin"] == "auto.queue.rpqueue"
    about = {
        "messaging.system": "redis",
        "messaging.destination.name": "money",
        "messaging.message.id": call.taskid,
        "messaging.message.body.size": len('["bill",[17],{}]'),
    }
    assert publish["data"].items() >= about.items()
    assert process["data"].items() >= {**about, "messaging.message.retry.count": 0}.items()
    assert 0 < process["data"]["messaging.message.receive.latency"] < 60_000
    assert process["status"] == work["contexts"]["trace"]["status"] == "ok"
    trace = work["contexts"]["trace"]
    assert trace["trace_id"] == request["contexts"]["trace"]["trace_id"] == process["trace_id"]
    assert trace["parent_span_id"] == publish["span_id"]
    assert process["parent_span_id"] == trace["span_id"]


def test_a_span_of_enqueueing_lasts_until_redis_has_the_call(
    app: App, sent: Sent, bill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    was = app.broker.execute

    def slow(operation: Any) -> Any:
        time.sleep(0.2)
        return was(operation)

    monkeypatch.setattr(app.broker, "execute", slow)
    with sentry_sdk.start_transaction(op="http.server", name="/order"):
        bill.execute(17)
    [publish] = spans(transactions(sent, "http.server")[0], "queue.publish")
    begun, ended = (datetime.fromisoformat(publish[name].rstrip("Z")) for name in ("start_timestamp", "timestamp"))
    assert (ended - begun).total_seconds() >= 0.2


def test_one_that_is_refused_says_so(app: App, sent: Sent, bill: Any) -> None:
    bill.execute(1, taskid="mine")
    with sentry_sdk.start_transaction(op="http.server", name="/order"), pytest.raises(ValueError, match="mine"):
        bill.execute(2, taskid="mine")
    [publish] = spans(transactions(sent, "http.server")[0], "queue.publish")
    assert publish["status"] == "internal_error"


def test_many_calls_are_one_span_and_each_runs_in_its_trace(app: App, sent: Sent, bill: Any) -> None:
    with sentry_sdk.start_transaction(op="http.server", name="/order"):
        bill.execute_many([(1,), {"order": 2}, (3,)])
    run(app)
    [request] = transactions(sent, "http.server")
    [publish] = spans(request, "queue.publish")
    assert publish["data"]["messaging.batch.message_count"] == 3
    size = len('["bill",[1],{}]["bill",[],{"order":2}]["bill",[3],{}]')
    assert publish["data"]["messaging.message.body.size"] == size
    assert [one["contexts"]["trace"]["parent_span_id"] for one in transactions(sent)] == [publish["span_id"]] * 3


def awaited(app: App, task: Any) -> None:
    asyncio.run(aio.of(app).execute(task, 17))


def awaited_many(app: App, task: Any) -> None:
    asyncio.run(aio.of(app).execute_many(task, [(17,)]))


def by_name(app: App, task: Any) -> None:
    app.call_task("bill", None, 17)


def in_a_pipeline(app: App, task: Any) -> None:
    with app.pipeline():
        task.execute(17)


@pytest.mark.parametrize("enqueue", [awaited, awaited_many, by_name, in_a_pipeline])
def test_however_it_is_enqueued_it_runs_in_its_trace(app: App, sent: Sent, bill: Any, enqueue: Any) -> None:
    with sentry_sdk.start_transaction(op="http.server", name="/order"):
        enqueue(app, bill)
    run(app)
    [request], [work] = transactions(sent, "http.server"), transactions(sent)
    [publish] = spans(request, "queue.publish")
    assert work["contexts"]["trace"]["parent_span_id"] == publish["span_id"]
    assert spans(work, "queue.process")[0]["data"]["messaging.message.receive.latency"] > 0


def test_a_task_that_enqueues_another_goes_on_with_its_trace(app: App, sent: Sent, bill: Any) -> None:
    @app.task(name="order")
    def order() -> None:
        bill.execute(1)

    order.execute()
    run(app)
    by_name = {one["transaction"]: one["contexts"]["trace"]["trace_id"] for one in transactions(sent)}
    assert by_name["order"] == by_name["bill"]


def test_calls_that_were_made_in_no_trace_run_each_in_one_of_its_own(app: App, sent: Sent, bill: Any) -> None:
    app.settings.middleware = []
    bill.execute(1)
    bill.execute(2)
    app.settings.middleware = [SentryMiddleware()]
    run(app)
    assert len({one["contexts"]["trace"]["trace_id"] for one in transactions(sent)}) == 2
    assert "messaging.message.receive.latency" not in spans(transactions(sent)[0], "queue.process")[0]["data"]


def test_a_program_may_have_each_run_begin_a_trace(app: App, sent: Sent, bill: Any) -> None:
    app.settings.middleware = [SentryMiddleware(propagate=False)]
    with sentry_sdk.start_transaction(op="http.server", name="/order"):
        bill.execute(1)
        bill.execute(2)
    run(app)
    assert len({one["contexts"]["trace"]["trace_id"] for one in sent.of("transaction")}) == 3


def test_latency_counts_from_when_a_call_was_due(app: App, sent: Sent, bill: Any) -> None:
    calls = [bill.execute(1, delay=1), bill.execute(2, when=time.time() - 3600)]
    with working(app):
        wait_until(lambda: [call.status for call in calls] == ["done", "done"], 30)
    late, soon = sorted(
        spans(one, "queue.process")[0]["data"]["messaging.message.receive.latency"] for one in transactions(sent)
    )[::-1]
    assert late >= 3_600_000
    assert soon < 60_000


def test_a_retry_is_counted_and_has_no_latency(app: App, sent: Sent) -> None:
    @app.task(name="fails", retry_method=fixed(0, 1))
    def fails() -> None:
        raise ValueError("meant")

    fails.execute()
    run(app)
    first, second = (spans(one, "queue.process")[0]["data"] for one in transactions(sent))
    assert (first["messaging.message.retry.count"], second["messaging.message.retry.count"]) == (0, 1)
    assert "messaging.message.receive.latency" in first
    assert "messaging.message.receive.latency" not in second


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("meant"), "internal_error"),
        (SystemExit(1), "internal_error"),
        (SoftTimeout("late"), "deadline_exceeded"),
        (TaskCancelled("asked"), "cancelled"),
        (RetryException(method=fixed(0, 0)), "aborted"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_how_a_run_ended_is_told(app: App, sent: Sent, error: BaseException, status: str) -> None:
    @app.task(name="fails")
    def fails() -> None:
        raise error

    fails.execute()
    run(app)
    [work] = transactions(sent)
    assert work["contexts"]["trace"]["status"] == spans(work, "queue.process")[0]["status"] == status


def test_a_program_may_sample_by_task(app: App, start_sentry: Callable[..., Sent], bill: Any) -> None:
    seen: list[Any] = []

    def sampler(context: dict[str, Any]) -> float:
        seen.append(context["rpqueue"])
        return 0.0

    sent = start_sentry(traces_sampler=sampler)
    app.settings.middleware = [SentryMiddleware(propagate=False)]
    call = bill.execute(1)
    run(app)
    assert seen == [{"task": "bill", "task_id": call.taskid, "queue": "money", "attempt": 1}]
    assert sent.of("transaction") == []


def test_without_tracing_errors_belong_to_the_trace_of_the_producer_all_the_same(
    app: App, start_sentry: Callable[..., Sent]
) -> None:
    sent = start_sentry(traces_sample_rate=None)

    @app.task(name="fails")
    def fails() -> None:
        raise ValueError("meant")

    with sentry_sdk.isolation_scope() as scope:
        scope.set_new_propagation_context()
        fails.execute()
        sentry_sdk.capture_message("of the producer")
    fails.execute()
    run(app)
    producer, first, second = (event["contexts"]["trace"]["trace_id"] for event in sent.of("event"))
    assert producer == first
    assert second != first


def test_a_size_that_cannot_be_told_is_none() -> None:
    assert tracing.body_size("bill", [object()], {}) == 0


# The other way of tracing.


@pytest.fixture
def streamed(start_sentry: Callable[..., Sent]) -> Sent:
    return start_sentry(trace_lifecycle="stream")


def all_spans(sent: Sent) -> list[Any]:
    sentry_sdk.flush()
    return [span for payload in sent.of("span") for span in payload["items"]]


def test_with_spans_that_stream_it_is_the_same(app: App, streamed: Sent, bill: Any) -> None:
    with sentry_sdk.traces.start_span(name="/order", parent_span=None):
        call = bill.execute(17)
    run(app)
    found = {span["attributes"].get("sentry.op", {}).get("value"): span for span in all_spans(streamed)}
    publish, work, process = (found[op] for op in ("queue.publish", "queue.task.rpqueue", "queue.process"))
    assert work["parent_span_id"] == publish["span_id"]
    assert process["parent_span_id"] == work["span_id"]
    assert publish["trace_id"] == work["trace_id"] == process["trace_id"]
    for span in (publish, process):
        said = {name: value["value"] for name, value in span["attributes"].items()}
        assert said["messaging.message.id"] == call.taskid
        assert said["messaging.destination.name"] == "money"
        assert said["messaging.message.body.size"] == len('["bill",[17],{}]')
    assert process["status"] == "ok"


def test_there_a_failed_run_is_an_error_in_its_trace(app: App, streamed: Sent) -> None:
    @app.task(name="fails")
    def fails() -> None:
        raise ValueError("meant")

    fails.execute()
    run(app)
    [event] = streamed.of("event")
    found = {span["attributes"]["sentry.op"]["value"]: span for span in all_spans(streamed)}
    assert set(found) == {"queue.task.rpqueue", "queue.process"}  # no span of enqueueing outside of a trace
    assert {span["status"] for span in found.values()} == {"error"}
    assert event["contexts"]["trace"]["trace_id"] == found["queue.process"]["trace_id"]
