"""Events: what Sentry is told of a call that failed, and what every event says that is made while a task runs."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import traceback
from collections.abc import Iterator
from typing import Any

import sentry_sdk
from sentry_sdk.scope import Scope, add_global_event_processor, use_isolation_scope, use_scope
from sentry_sdk.utils import event_from_exception

from ... import logs
from ...current import RunningTask
from ...middleware import Failure
from ...running import current_run
from .. import frames
from ..hiding import arguments_of, hidden, hiding

#: Attribute of an exception that ended a run.
TRAIL = "_rpqueue_sentry_trail"
#: What of a scope's event goes along from another process.
_TOLD = ("breadcrumbs", "tags", "user", "contexts", "extra")

HOST = socket.gethostname()

_is_watching = False


class Trail:
    """
    The scopes of a run that failed, for the report of it, which comes later.

    It travels with the exception. To another process goes what the scopes say instead of them.
    """

    def __init__(self, isolation: Scope | None, current: Scope | None, trace: Any, told: dict[str, Any]) -> None:
        self.isolation, self.current, self.trace, self.told = isolation, current, trace, told

    def __reduce__(self) -> tuple[Any, ...]:
        told: dict[str, Any] = {}
        if self.isolation is not None:
            with contextlib.suppress(Exception):  # the exception that we are a part of must be pickled
                event: Any = self.isolation.apply_to_event({}, {}, sentry_sdk.get_client().options) or {}
                told = json.loads(logs.json_line({name: _plain(event[name]) for name in _TOLD if name in event}))
        return Trail, (None, None, json.loads(logs.json_line({"trace": self.trace}))["trace"], told)


def leave(trail: Trail, error: BaseException) -> None:
    """Leave the trail of a run with the exception that ended it."""
    for one in (error, error.__context__):  # `original_traceback` of RetryException has the latter be reported
        if one is not None:
            with contextlib.suppress(AttributeError):  # an exception without a __dict__
                setattr(one, TRAIL, trail)


def trail_of(error: BaseException | None) -> Trail | None:
    """What `leave` has left with an exception."""
    return getattr(error, TRAIL, None)


def report(run: RunningTask, failure: Failure, level: str) -> None:
    """Send the event of a failure."""
    trail = trail_of(failure.error) or Trail(None, None, None, {})
    with _scopes_of(trail):
        event, hint = _event_of(run, failure)
        event["level"] = level
        event["transaction"] = run.name
        if trail.trace:
            event.setdefault("contexts", {})["trace"] = trail.trace
        sentry_sdk.capture_event(event, hint)


@contextlib.contextmanager
def _scopes_of(trail: Trail) -> Iterator[None]:
    if trail.isolation is not None and trail.current is not None:
        with use_isolation_scope(trail.isolation), use_scope(trail.current):
            yield
        return
    with sentry_sdk.isolation_scope() as scope:
        scope.clear_breadcrumbs()  # of what the reporting thread did before
        for crumb in trail.told.get("breadcrumbs", {}).get("values", ()):
            scope.add_breadcrumb(crumb)
        for name, value in trail.told.get("tags", {}).items():
            scope.set_tag(name, value)
        for name, value in trail.told.get("contexts", {}).items():
            scope.set_context(name, value)
        for name, value in trail.told.get("extra", {}).items():
            scope.set_extra(name, value)
        if "user" in trail.told:
            scope.set_user(trail.told["user"])
        yield


def _event_of(run: RunningTask, failure: Failure) -> tuple[Any, dict[str, Any]]:
    mechanism = {"type": "rpqueue", "handled": False}
    error, record = failure.error, failure.record
    if error is not None and error.__traceback__ is not None:
        event, hint = event_from_exception(error, client_options=sentry_sdk.get_client().options, mechanism=mechanism)
        return event, hint
    text = record["traceback"] or ("".join(traceback.format_exception(error)) if error is not None else "")
    value = {"type": record["exception"], "value": record["message"], "mechanism": mechanism}
    shown = [
        {"abs_path": one.file, "filename": one.file, "function": one.function, "lineno": one.line}
        | ({"context_line": one.code} if one.code else {})
        for one in frames.read(text).frames
    ]
    event = {"exception": {"values": [{**value, "stacktrace": {"frames": shown}} if shown else value]}}
    return event, {} if error is None else {"exc_info": (type(error), error, None)}


# What is true of every event that is made while a task runs, whoever makes it.


def watch() -> None:
    """From now on, have events say which run they are of, and nothing that its task hides."""
    global _is_watching
    if not _is_watching:
        _is_watching = True
        add_global_event_processor(_process)


def _process(event: Any, hint: dict[str, Any]) -> Any:
    record = hint.get("log_record")
    if record is not None and record.name == "rpqueue.task" and "verdict" in vars(record):
        return None  # there is a report of it, or there is to be none
    run = current_run()
    if run is None or event.get("type") == "check_in":
        return event
    fields = logs.fields_of(run)
    told = {**fields, "host": HOST, "pid": os.getpid()}
    if _wants_arguments(sentry_sdk.get_client().options):
        told["args"], told["kwargs"] = arguments_of(run)
    event.setdefault("contexts", {})["rpqueue"] = told
    tags = event.setdefault("tags", {})
    tags |= {f"rpqueue.{name}": str(fields[name]) for name in ("task", "task_id", "queue")}
    if event.get("exception"):
        event.setdefault("fingerprint", _fingerprint(event, run.name))
    hide = hiding()
    return event if hide is None else hidden(_without_variables(event), hide)


def _wants_arguments(options: Any) -> bool:
    """Whether the program has allowed Sentry to have the arguments of tasks."""
    collection = options.get("data_collection")
    if isinstance(collection, dict) and "queues" in collection:
        return bool(collection["queues"])
    return bool(options.get("send_default_pii"))  # of an older sentry-sdk


def _fingerprint(event: dict[str, Any], task: str) -> list[str]:
    """Events are grouped as Sentry does, but each task's alone; those without a stack by what was raised."""
    [*_, raised] = event["exception"]["values"]
    return ["{{ default }}", task] if raised.get("stacktrace") else ["rpqueue", task, str(raised.get("type"))]


def _without_variables(event: dict[str, Any]) -> dict[str, Any]:
    """Without the local variables of its frames."""
    for kind in ("exception", "threads"):
        for one in (event.get(kind) or {}).get("values", ()):
            for frame in (one.get("stacktrace") or {}).get("frames", ()):
                frame.pop("vars", None)
    return event


def _plain(value: Any) -> Any:
    """*value* with its other collections as those that JSON has."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if hasattr(type(value), "__iter__") and not isinstance(value, str) else value
