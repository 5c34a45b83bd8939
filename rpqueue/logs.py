"""
What rpqueue logs, and how the command line shows it.

Loggers are ``rpqueue.worker``, ``rpqueue.task``, ``rpqueue.redis`` and so on; what a record is about comes as fields
(``extra=``), which docs/guide/logging lists. A library writes to no console: importing it gives "rpqueue" a NullHandler
and no more, and only the command line calls `configure`.
"""

from __future__ import annotations

import datetime
import json
import logging
import re
import socket
from collections.abc import Mapping
from typing import Any

from .errors import RefusedInput, WrongType, did_you_mean
from .running import Run, current_run

__all__ = [
    "Console",
    "JSONFormatter",
    "TaskFilter",
    "configure",
    "fields_in",
    "fields_of",
    "install",
    "json_line",
    "level",
    "redacted_url",
]

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}

root = logging.getLogger("rpqueue")

# What every record has; the rest of a record's attributes are fields. `message` and `asctime` come from formatters.
_USUAL = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
# Whatever a terminal or a reader of lines would take as more than a character.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PLAIN = re.compile(r"[^\s\"=]+")
_SECRET = re.compile("pass|secret|token|credential", re.IGNORECASE)
_HOSTS = re.compile(r"(\[[\w.:%]*\]|[^\[\]:/,]*)(:\d+)?(,|/|$)")
_PAIRS = re.compile(r"[\w.-]+=")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")

#: The handler that `install` has added last, and the logger that has it.
_installed: list[tuple[logging.Logger, logging.Handler]] = []

#: What a line can look like.
FORMATS = ("text", "json")


def level(value: object, what: str) -> int:
    """
    The number of a log level.

    Args:
        value: a name, in any case, that logging knows; or a number >= 0, as int or digits.
        what: how errors name it: a setting, an option.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        name = value.strip().upper()
        if name.isascii() and name.isdigit():
            return int(name)
        number = logging.getLevelName(name)  # knows WARN and FATAL too, and what addLevelName added
        if isinstance(number, int):
            return number
    refused = RefusedInput if isinstance(value, (str, int)) and not isinstance(value, bool) else WrongType
    hint = did_you_mean(value.upper(), LEVELS) if isinstance(value, str) else ""
    raise refused(f"{what}: expected one of {', '.join(LEVELS)} or a number >= 0, got {value!r}{hint}")


def redacted_url(url: str) -> str:
    """
    *url* with ``***`` in place of passwords: in front of the host, and in the query.

    Made for showing, also what is no proper URL: a password with an unescaped ``@``, ``/``, ``?`` or ``#`` in it is
    hidden whole, but for one that reads like a host and a query itself.
    """
    scheme, colons, rest = url.partition("://")
    if not colons:
        return url
    place, mark, query = rest.partition("?")
    if "@" in query and not (_PAIRS.match(query) and _HOSTS.match(place.rpartition("@")[2])):
        place, mark, query = rest, "", ""  # the question mark is the password's
    user, at, host = place.rpartition("@")
    name, colon, password = user.partition(":")
    user = f"{name}:***" if password else name + colon
    pairs = [pair.partition("=") for pair in query.split("&")]
    query = "&".join(key + equals + ("***" if value and _SECRET.search(key) else value) for key, equals, value in pairs)
    return f"{scheme}://{user}{at}{host}{mark}{query}"


class Console(logging.Formatter):
    """
    One line for each record: time, level, process id, the logger's name without "rpqueue.", message, fields.

    ``2026-03-01 12:00:00.125 INFO [4711] task: task finished task=mail.send queue=mail seconds=0.012``. Line breaks and
    control characters in messages and fields are escaped; tracebacks follow, indented.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the indented traceback if there is one."""
        time = datetime.datetime.fromtimestamp(record.created).isoformat(" ", "milliseconds")
        name = record.name.removeprefix("rpqueue.")
        fields = "".join(f" {key}={_shown(value)}" for key, value in fields_in(record).items())
        line = f"{time} {record.levelname} [{record.process}] {name}: {_escaped(record.getMessage())}{fields}"
        # exc_text is what another formatter made of the same exception.
        error = record.exc_text or (self.formatException(record.exc_info) if record.exc_info else "")
        details = [*error.splitlines(), *(record.stack_info or "").splitlines()]
        return "\n".join([line, *(f"    {_escaped(detail)}" for detail in details)])


class JSONFormatter(logging.Formatter):
    """
    One line of JSON for each record, whatever is in it.

    First ``timestamp`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, ``process`` (id) and ``host``; then the
    fields of the record, those of these names with an underscore behind; of an exception ``exception``, its class, and
    ``traceback``. Values that JSON does not have are shown as text. The line is ASCII, and valid JSON.
    """

    def __init__(self) -> None:
        super().__init__()
        self._host = socket.gethostname()

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line break."""
        told: dict[str, Any] = {
            "timestamp": _utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message_of(record),
            "process": record.process,
            "host": self._host,
        }
        own = frozenset(told)
        for name, value in fields_in(record).items():
            told[f"{name}_" if name in own else name] = value
        if record.exc_info and record.exc_info[0] is not None:
            told.setdefault("exception", record.exc_info[0].__qualname__)
        # exc_text is what another formatter made of the same exception.
        error = record.exc_text or (_text(record.exc_info, self.formatException) if record.exc_info else "")
        if error:
            told["traceback"] = error
        if record.stack_info:
            told["stack"] = record.stack_info
        return json_line(told)


class TaskFilter(logging.Filter):
    """
    Gives each record that is made while a task runs the fields task, task_id, queue and attempt.

    It lets every record pass, whichever logger it is of, and leaves fields that a record has. It is for handlers
    (``handler.addFilter(TaskFilter())``): Python asks the filters of a logger about that logger's own records alone.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """True."""
        run = current_run()
        if run is not None:
            for name, value in fields_of(run).items():
                vars(record).setdefault(name, value)
        return True


def fields_in(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a record: what came by ``extra=``, and from a TaskFilter."""
    return {name: value for name, value in vars(record).items() if name not in _USUAL}


def json_line(told: Mapping[Any, Any]) -> str:
    """*told* as a JSON object on one line, in ASCII. Values that JSON does not have are shown as text."""
    pairs = [f"{_json(_text(name))}: {_json(value)}" for name, value in told.items()]
    # A lone surrogate is nothing that a reader of JSON has to take.
    line = f"{{{', '.join(pairs)}}}".encode("utf-8", "replace").decode()
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], line)


def fields_of(run: Run) -> dict[str, Any]:
    """The fields that say which run of which call of which task a record is about."""
    return {"task": run.name, "task_id": run.taskid, "queue": run.queue, "attempt": run.attempt}


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]  # Python 3.10 cannot subscript it
    """Shows every record that it gets."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.addFilter(TaskFilter())


class _InTheMeantime(_Stderr):
    """Shows records of rpqueue for as long as the program's own logging is not set up."""

    def filter(self, record: logging.LogRecord) -> bool:
        # The module with the user's tasks is imported later and may call basicConfig(); lines must not come twice then.
        return not logging.getLogger().handlers and bool(super().filter(record))


def configure(wanted: int | str, form: str = "text") -> None:
    """
    Show on standard error what rpqueue logs, from level *wanted* on. For the command line; it may be called again.

    Args:
        wanted: level of the logger "rpqueue".
        form: "text": lines of `Console`, of rpqueue alone; when the root logger has a handler, now or later, records go
            there instead. "json": lines of `JSONFormatter`, of all loggers, from their own levels on; the root logger
            gets the handler, so that logging.basicConfig() of the program adds no other one.
    """
    if form not in FORMATS:
        raise RefusedInput(f"log format: expected one of {', '.join(FORMATS)}, got {form!r}")
    root.setLevel(level(wanted, "log level"))
    if form == "json":
        install(_Stderr(JSONFormatter()), logging.getLogger())
    else:
        install(_InTheMeantime(Console()), root)


def install(handler: logging.Handler, logger: logging.Logger) -> None:
    """Add a handler to a logger, in the place of the one that this function has added last, wherever that is."""
    while _installed:
        where, before = _installed.pop()
        where.removeHandler(before)
    logger.addHandler(handler)
    _installed.append((logger, handler))


def _shown(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return (
        text if _PLAIN.fullmatch(text) and not _CONTROL.search(text) else _escaped(json.dumps(text, ensure_ascii=False))
    )


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _utc(instant: float) -> str:
    shown = datetime.datetime.fromtimestamp(instant, datetime.timezone.utc)
    return shown.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # arguments that do not fit the message; logging would print a traceback in place of the line
        return f"{_text(record.msg)} {_text(record.args, repr)}"


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_text)
    except (TypeError, ValueError, RecursionError):  # other keys than str, NaN, a list in itself, thousands of digits
        return json.dumps(_text(value, repr), ensure_ascii=False)


def _text(value: Any, shown: Any = str) -> str:
    """*value* as text. What users' classes say of themselves may fail, and the line must still be written."""
    try:
        return str(shown(value))
    except Exception as error:
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__})"
