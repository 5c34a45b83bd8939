"""Rollbar: a log handler that reports failed tasks, grouped by queue, task and exception."""

from __future__ import annotations

import logging
import threading
from typing import Any, Literal

import rollbar

from ..logs import TaskFilter, fields_in
from . import frames
from .hiding import Hide, hidden, hiding

__all__ = ["RollbarHandler"]

#: Where a failed call is when it runs once more.
_NOT_OVER = ("scheduled", "ready", "stale")
#: Seconds that reports under way get when the process ends.
_LAST_WORDS = 5.0


class RollbarHandler(logging.Handler):
    """
    Reports log records to Rollbar.

    Add it to the logger "rpqueue", or to the root logger, whose records are reported, too. Failed runs are grouped by
    queue, task and class of the exception; their item has the exception and, as custom data, the fields of the record.
    Of tasks that hide arguments, it has the traceback that the log has, without local variables. ``rollbar.init`` has
    to be called before.

    Args:
        prefix: what titles of failed runs and messages begin with.
        level: records below are not reported; a number or the name of a level.
        retries: whether failed runs are reported that are followed by another one.
    """

    def __init__(self, prefix: str = "rpqueue", level: int | str = logging.ERROR, *, retries: bool = False) -> None:
        super().__init__(level)
        self.prefix = prefix
        self.retries = retries
        self.addFilter(TaskFilter())

    def emit(self, record: logging.LogRecord) -> None:
        """Report a record; what goes wrong there is for `logging.raiseExceptions`."""
        if record.name.split(".")[0] == "rollbar":  # what it says of a report that failed would fail, too
            return
        fields, hide = fields_in(record), hiding()
        is_failure = record.name == "rpqueue.task" and "verdict" in fields
        if is_failure and fields["verdict"] in _NOT_OVER and not self.retries:
            return
        try:
            if hide is not None:
                fields = hidden(fields, hide)
            report = self._report_failure if is_failure else self._report
            report(record, fields, hide)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait a few seconds for what is being sent; `logging.shutdown` calls this when a process ends."""
        if rollbar.SETTINGS["access_token"] is None:
            return
        # It waits for ever for reports that a parent was sending when this process was forked from it.
        waiting = threading.Thread(target=rollbar.wait, daemon=True)
        waiting.start()
        waiting.join(_LAST_WORDS)

    def _report_failure(self, record: logging.LogRecord, fields: dict[str, Any], hide: Hide | None) -> None:
        kind = fields["exception"]
        payload = {
            "title": f"{self.prefix}: {fields['task']} in {fields['queue']}: {kind}",
            "fingerprint": " ".join(map(repr, ["rpqueue", fields["queue"], fields["task"], kind])),
            "context": fields["task"],
        }
        if record.exc_info and hide is None:
            self._send(record, record.exc_info, fields, payload)
        else:
            self._send_text(record, kind, fields.pop("traceback", ""), fields, payload)

    def _report(self, record: logging.LogRecord, fields: dict[str, Any], hide: Hide | None) -> None:
        message = f"{self.prefix}: {record.getMessage()}"
        fields["logger"] = record.name
        if not record.exc_info or record.exc_info[0] is None:
            message = message if hide is None else hide(message)
            payload = {"title": message, "custom": fields}
            rollbar.report_message(message, level=_level_of(record), payload_data=payload)
        elif hide is None:
            self._send(record, record.exc_info, fields, {"title": message})
        else:
            text = hide(logging.Formatter().formatException(record.exc_info))
            self._send_text(record, record.exc_info[0].__qualname__, text, fields, {"title": hide(message)})

    def _send(self, record: logging.LogRecord, info: Any, fields: dict[str, Any], payload: dict[str, Any]) -> None:
        rollbar.report_exc_info(info, level=_level_of(record), extra_data=fields, payload_data=payload)

    def _send_text(
        self, record: logging.LogRecord, kind: str, text: str, fields: dict[str, Any], payload: dict[str, Any]
    ) -> None:
        """Report an exception of which there is a class and a traceback, as text."""
        told = frames.read(text)
        error = type(kind, (Exception,), {})(told.message)  # Rollbar makes items of exceptions, and of nothing else
        shown = [
            {"filename": one.file, "lineno": one.line, "method": one.function, "code": one.code} for one in told.frames
        ]
        self._send(record, (type(error), error, None), fields, {**payload, "body": {"trace": {"frames": shown}}})


def _level_of(record: logging.LogRecord) -> Literal["debug", "info", "warning", "error", "critical"]:
    """The level that Rollbar knows which is nearest below."""
    if record.levelno >= logging.ERROR:
        return "critical" if record.levelno >= logging.CRITICAL else "error"
    if record.levelno >= logging.INFO:
        return "warning" if record.levelno >= logging.WARNING else "info"
    return "debug"
