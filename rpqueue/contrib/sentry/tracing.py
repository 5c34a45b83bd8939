"""Spans of enqueueing and of running, and the trace that goes from the one to the other."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sentry_sdk
from sentry_sdk.scope import Scope

from ... import messages
from ...current import RunningTask
from ...errors import RetryException, RpqueueError, TaskCancelled
from ...middleware import Outgoing

#: Of spans and transactions, as Sentry's own integrations name theirs.
ORIGIN = "auto.queue.rpqueue"
#: In the meta of a call: epoch seconds since which it could start. It has the name that it has in other queues.
ENQUEUED_AT = "sentry-task-enqueued-time"
TRACE = ("sentry-trace", "baggage")


def send_along(call: Outgoing) -> None:
    """Tell the run of a call since when it waited."""
    call.meta[ENQUEUED_AT] = round(call.due_at or time.time(), 6)


@contextlib.contextmanager
def publishing(calls: Sequence[Outgoing], propagate: bool) -> Iterator[None]:
    """A span around the enqueueing of calls, whose trace goes along with each of them."""
    if not calls:
        yield
        return
    first = calls[0]
    data: dict[str, Any] = {"messaging.system": "redis", "messaging.destination.name": first.queue}
    if len(calls) == 1:
        data["messaging.message.id"] = first.task_id
    else:
        data["messaging.batch.message_count"] = len(calls)
    with _span("queue.publish", first.name, data) as span:
        if _is_kept(span):
            _say(span, {"messaging.message.body.size": sum(body_size(one.name, one.args, one.kwargs) for one in calls)})
        if propagate:
            trace = zip(TRACE, (sentry_sdk.get_traceparent(), sentry_sdk.get_baggage()), strict=True)
            told = {name: value for name, value in trace if value}
            for one in calls:
                one.meta.update(told)
        yield


@contextlib.contextmanager
def processing(run: RunningTask, propagate: bool) -> Iterator[None]:
    """A transaction around a run, in the trace of its call, and a span in it."""
    meta = run.meta if propagate else {}
    headers = {name: meta[name] for name in TRACE if isinstance(meta.get(name), str)}
    data: dict[str, Any] = {
        "messaging.system": "redis",
        "messaging.destination.name": run.queue,
        "messaging.message.id": run.id,
        "messaging.message.retry.count": run.attempt - 1,
    }
    # What was meant for a run that failed is no latency of the next one.
    since = run.meta.get(ENQUEUED_AT) if run.attempt == 1 else None
    if isinstance(since, (int, float)):
        data["messaging.message.receive.latency"] = max(time.time() - since, 0.0) * 1000
    raised: BaseException | None = None
    with _transaction(run, headers, data) as transaction, _span("queue.process", run.name, data) as span:
        if _is_kept(span):
            _say(span, {"messaging.message.body.size": body_size(run.name, run.args, run.kwargs)})
        try:
            yield
        except BaseException as error:
            raised = error
        for one in (transaction, span):
            _end_as(one, raised)
    if raised is not None:  # out here, where it does not overwrite the status
        raise raised


def body_size(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Bytes of a call as JSON, without what middleware sends along; 0: it cannot be encoded."""
    try:
        return len(messages.encode_task(name, list(args), dict(kwargs), 0))
    except RpqueueError:
        return 0


def trace_context() -> Any:
    """What an event says of the span of now; None: whatever its scope says."""
    span = None if _streams() else sentry_sdk.get_current_span()
    return span.get_trace_context() if span else None


# Sentry has two ways of tracing, each with functions of its own: transactions, which are sent whole, and, where a
# program asks for that, spans that are sent as they end.


def _streams() -> bool:
    options = sentry_sdk.get_client().options
    return "stream" in (options.get("trace_lifecycle"), (options.get("_experiments") or {}).get("trace_lifecycle"))


def _span(op: str, name: str, data: dict[str, Any]) -> contextlib.AbstractContextManager[Any]:
    if _streams():
        if op == "queue.publish" and sentry_sdk.traces.get_current_span() is None:
            return contextlib.nullcontext()  # it would be a trace of its own
        return sentry_sdk.traces.start_span(name=name, attributes={"sentry.op": op, "sentry.origin": ORIGIN, **data})
    span = sentry_sdk.start_span(op=op, name=name, origin=ORIGIN)
    _say(span, data)
    return span


def _transaction(
    run: RunningTask, headers: dict[str, str], data: dict[str, Any]
) -> contextlib.AbstractContextManager[Any]:
    sampling = {"rpqueue": {"task": run.name, "task_id": run.id, "queue": run.queue, "attempt": run.attempt}}
    op = "queue.task.rpqueue"
    if _streams():
        sentry_sdk.traces.continue_trace(headers)
        Scope.set_custom_sampling_context(sampling)
        told = {"sentry.op": op, "sentry.origin": ORIGIN, "sentry.segment.name.source": "task"}
        return sentry_sdk.traces.start_span(name=run.name, parent_span=None, attributes={**told, **data})
    transaction = sentry_sdk.continue_trace(headers, op=op, name=run.name, source="task", origin=ORIGIN)
    for name, value in data.items():
        transaction.set_data(name, value)
    return sentry_sdk.start_transaction(transaction, custom_sampling_context=sampling)


def _say(span: Any, data: dict[str, Any]) -> None:
    say = span.set_attribute if _streams() else span.set_data
    for name, value in data.items():
        say(name, value)


def _is_kept(span: Any) -> bool:
    """Whether somebody will see it."""
    whole = span if _streams() else getattr(span, "containing_transaction", None)
    return bool(getattr(whole, "sampled", False))


def _end_as(span: Any, error: BaseException | None) -> None:
    if _streams():
        span.status = "ok" if error is None else "error"
    else:
        span.set_status(_status_of(error))


def _status_of(error: BaseException | None) -> str:
    if error is None:
        return "ok"
    if isinstance(error, (TaskCancelled, asyncio.CancelledError)):
        return "cancelled"
    if isinstance(error, TimeoutError):
        return "deadline_exceeded"
    # A task that asks to be run again says that it was not to be done now, and not that something is wrong.
    return "aborted" if isinstance(error, RetryException) else "internal_error"
