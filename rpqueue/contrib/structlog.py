"""
structlog: the fields of a task on every event, and lines of JSON for workers.

`setup` configures everything; `rpqueue_processor` is for a configuration of your own.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, MutableMapping
from typing import Any, TextIO

import structlog

from ..logs import fields_of, install, json_line, level
from ..running import current_run

__all__ = ["fresh_contextvars", "rpqueue_processor", "setup"]


def rpqueue_processor(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor that gives each event of a task task, task_id, queue and attempt, and leaves those that it has."""
    run = current_run()
    if run is not None:
        for name, value in fields_of(run).items():
            event.setdefault(name, value)
    return event


def setup(loglevel: int | str = "INFO", stream: TextIO | None = None) -> None:
    """
    Configure structlog and logging so that whatever is logged, by either of them, is a line of JSON.

    Each line has ``timestamp`` (ISO 8601, UTC), ``level``, ``logger`` and ``event``; inside a task, the fields of
    `rpqueue_processor`; of an exception, ``exception``, its class, and ``traceback``. To be called once, early; a
    second call takes the place of the first.

    Args:
        loglevel: of the root logger; the name of a level, in any case, or a number.
        stream: to write to; None: standard error.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        rpqueue_processor,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _exception,
    ]
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _line],
        )
    )
    root = logging.getLogger()
    root.setLevel(level(loglevel, "loglevel"))
    install(handler, root)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


@contextlib.contextmanager
def fresh_contextvars() -> Iterator[None]:
    """
    Begin without anything that ``structlog.contextvars`` has bound, and forget at the end what was bound meanwhile.

    For CHILD_CONTEXT_MANAGERS: else what a task binds is bound for the next task of the same thread, too.
    """
    before = structlog.contextvars.get_contextvars()
    structlog.contextvars.clear_contextvars()
    try:
        yield
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**before)


def _exception(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Name the class of an exception, and show it."""
    asked = event.pop("exc_info", None)
    found = sys.exc_info() if asked is True else asked
    if isinstance(found, BaseException):
        found = type(found), found, found.__traceback__
    if found and found[0] is not None:
        event.setdefault("exception", found[0].__qualname__)
        event["traceback"] = logging.Formatter().formatException(found)
    return event


def _line(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """The last step: JSON, what every line has first."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "logger", "event") if name in event}
    return json_line({**first, **event})
