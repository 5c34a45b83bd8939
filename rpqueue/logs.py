"""
What rpqueue logs, and how the command line shows it.

Loggers are ``rpqueue.worker``, ``rpqueue.task``, ``rpqueue.redis`` and so on; what a record is about comes as fields
(``extra=``): task, task_id, queue, attempt, seconds. A library writes to no console: importing it gives "rpqueue" a
NullHandler and no more, and only the command line calls `configure`.
"""

from __future__ import annotations

import datetime
import json
import logging
import re

from .errors import RefusedInput, WrongType, did_you_mean

__all__ = ["Console", "configure", "level", "redacted_url"]

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
        fields = "".join(f" {key}={_shown(value)}" for key, value in vars(record).items() if key not in _USUAL)
        line = f"{time} {record.levelname} [{record.process}] {name}: {_escaped(record.getMessage())}{fields}"
        # exc_text is what another formatter made of the same exception.
        error = record.exc_text or (self.formatException(record.exc_info) if record.exc_info else "")
        details = [*error.splitlines(), *(record.stack_info or "").splitlines()]
        return "\n".join([line, *(f"    {_escaped(detail)}" for detail in details)])


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]  # Python 3.10 cannot subscript it
    """Shows records of rpqueue for as long as the program's own logging is not set up."""

    def filter(self, record: logging.LogRecord) -> bool:
        # The module with the user's tasks is imported later and may call basicConfig(); lines must not come twice then.
        return not logging.getLogger().handlers and bool(super().filter(record))


def configure(wanted: int | str) -> None:
    """
    Show what rpqueue logs, from level *wanted* on, on standard error. For the command line; it may be called again.

    When the root logger has a handler, now or later, records go there instead.
    """
    root.setLevel(level(wanted, "log level"))
    for handler in root.handlers[:]:
        if isinstance(handler, _Stderr):
            root.removeHandler(handler)
    handler = _Stderr()
    handler.setFormatter(Console())
    root.addHandler(handler)


def _shown(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return (
        text if _PLAIN.fullmatch(text) and not _CONTROL.search(text) else _escaped(json.dumps(text, ensure_ascii=False))
    )


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
