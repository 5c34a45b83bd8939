"""Log levels as settings say them, URLs without passwords, and lines on the console."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpqueue import logs
from rpqueue.errors import RefusedInput, WrongType

# ---- level


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("DEBUG", 10),
        ("debug", 10),
        (" Info ", 20),
        ("warn", 30),
        ("WARNING", 30),
        ("error", 40),
        ("critical", 50),
        ("FATAL", 50),
        (10, 10),
        ("10", 10),
        (logging.INFO, 20),
        (35, 35),
        (0, 0),
    ],
)
def test_a_level_is_a_name_in_any_case_or_a_number(value: Any, number: int) -> None:
    assert logs.level(value, "LOG_LEVEL") == number


@pytest.fixture
def loud() -> Iterator[None]:
    logging.addLevelName(15, "LOUD")
    yield
    del logging._levelToName[15], logging._nameToLevel["LOUD"]


@pytest.mark.usefixtures("loud")
def test_a_level_that_the_program_named_is_known() -> None:
    assert logs.level("loud", "LOG_LEVEL") == 15


@pytest.mark.parametrize("value", ["DEBGU", "", "level 10", "-1", "1.5", -1, "²"])
def test_a_level_out_of_range_is_refused(value: Any) -> None:
    says = re.escape(
        f"--loglevel: expected one of DEBUG, INFO, WARNING, ERROR, CRITICAL or a number >= 0, got {value!r}"
    )
    with pytest.raises(RefusedInput, match=says):
        logs.level(value, "--loglevel")


@pytest.mark.parametrize("value", [None, True, 1.5, b"DEBUG"])
def test_what_is_no_level_at_all_is_refused(value: Any) -> None:
    with pytest.raises(WrongType, match="LOG_LEVEL: expected one of DEBUG"):
        logs.level(value, "LOG_LEVEL")


def test_the_nearest_level_is_named() -> None:
    with pytest.raises(RefusedInput, match="did you mean 'WARNING'"):
        logs.level("warnin", "LOG_LEVEL")


# ---- redacted_url


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hush@host:6379/0", "redis://:***@host:6379/0"),
        ("rediss://user:hush@host", "rediss://user:***@host"),
        ("redis://user@host", "redis://user@host"),
        ("redis://user:@host", "redis://user:@host"),
        ("redis://host/0?password=hush&db=1", "redis://host/0?password=***&db=1"),
        ("unix:///run/redis.sock?PASSWORD=hush", "unix:///run/redis.sock?PASSWORD=***"),
        ("unix://user:hush@/run/redis.sock?db=1", "unix://user:***@/run/redis.sock?db=1"),
        ("redis+sentinel://:hush@one:1,two:2/main?sentinel_password=shh", None),
        ("redis://host/0?client_name=a@b", "redis://host/0?client_name=a@b"),
        ("redis://host/0?password=", "redis://host/0?password="),
        ("redis://host?auth_token=hush", "redis://host?auth_token=***"),
        ("embedded:/var/lib/q@home", "embedded:/var/lib/q@home"),
        ("redis://:hush@[::1]:6379/0", "redis://:***@[::1]:6379/0"),
        ("redis://:hush?a=hush@host:1/0", "redis://:***@host:1/0"),
        ("redis://:hush@[::1]/0?client_name=a@b", "redis://:***@[::1]/0?client_name=a@b"),
        ("redis://:hush@[::1", "redis://:***@[::1"),
        ("", ""),
    ],
)
def test_passwords_in_urls_are_not_shown(url: str, redacted: str | None) -> None:
    shown = logs.redacted_url(url)
    assert "hush" not in shown
    assert "shh" not in shown
    if redacted is not None:
        assert shown == redacted


@given(st.text(st.sampled_from("@/?#:%&+[] ab"), min_size=1, max_size=8))
def test_whatever_is_in_a_password_is_not_shown(text: str) -> None:
    shown = logs.redacted_url(f"redis://:HUSH{text}HUSH@host:6379/0")
    assert shown == "redis://:***@host:6379/0"


@given(st.text())
def test_any_text_can_be_redacted(text: str) -> None:
    logs.redacted_url(text)
    logs.redacted_url("redis://" + text)


# ---- Console


def line(message: str = "task finished", *args: Any, name: str = "rpqueue.task", **options: Any) -> str:
    """What Console makes of one record."""
    fields = {"created": 1_772_366_400.125, "process": 4711, "levelname": "INFO", **options.pop("extra", {}), **options}
    record = logging.makeLogRecord({"name": name, "msg": message, "args": args, **fields})
    return logs.Console().format(record)


def test_a_line_has_time_level_process_logger_message_and_fields() -> None:
    fields = {"task": "mail.send", "task_id": "9f", "queue": "mail", "attempt": 2, "seconds": 0.01234}
    found = line("task %s", "finished", extra=fields)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:00\.125 INFO \[4711\] task: task finished .*", found)
    assert found.endswith(" task=mail.send task_id=9f queue=mail attempt=2 seconds=0.012")


def test_without_fields_the_line_ends_with_its_message() -> None:
    assert line().endswith(" INFO [4711] task: task finished")


def test_the_logger_of_somebody_else_has_its_whole_name() -> None:
    assert " myapp.rpqueue.x: " in line(name="myapp.rpqueue.x")
    assert " rpqueue: " in line(name="rpqueue")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two words", '"two words"'),
        ("", '""'),
        ("a=b", '"a=b"'),
        ('say "x"', '"say \\"x\\""'),
        ("größe", "größe"),
        ("a\nb", '"a\\nb"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("\x9b31m", '"\\x9b31m"'),
        ("a\u2028b", '"a\\u2028b"'),
        (None, "None"),
        (7, "7"),
    ],
)
def test_fields_can_be_told_apart(value: Any, shown: str) -> None:
    assert line(extra={"task": value}).endswith(f" task={shown}")


@given(st.text(), st.text())
def test_a_record_is_one_line_whatever_it_says(message: str, field: str) -> None:
    found = line("%s", message, extra={"task": field})
    assert len(found.splitlines()) == 1
    assert "\x1b" not in found
    assert "\x9b" not in found


def failure() -> Any:
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        return sys.exc_info()


def test_tracebacks_follow_indented() -> None:
    first, *rest = line("task failed", exc_info=failure()).splitlines()
    assert first.endswith("task: task failed")
    assert rest[0] == "    Traceback (most recent call last):"
    assert rest[-2:] == ["    ValueError: one", "    two"]
    assert all(text.startswith("    ") for text in rest)


def test_a_traceback_that_another_handler_formatted_is_shown_too() -> None:
    assert line(exc_text="Traceback\nboom").splitlines()[1:] == ["    Traceback", "    boom"]


def test_stacks_follow_indented() -> None:
    assert line(stack_info="Stack\n  frame").splitlines()[1:] == ["    Stack", "      frame"]


# ---- configure


def output(program: str) -> list[str]:
    """What a program writes on standard error."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_an_import_gives_rpqueue_a_null_handler_and_no_more() -> None:
    probe = "import sys, logging, rpqueue, rpqueue.logs; log = logging.getLogger('rpqueue'); "
    assert output(probe + "print(log.handlers, log.level, log.propagate, file=sys.stderr)") == [
        "[<NullHandler (NOTSET)>] 0 True"
    ]


def test_without_configure_nothing_is_written() -> None:
    assert output("import logging, rpqueue.logs; logging.getLogger('rpqueue.worker').error('x')") == []


CONFIGURED = """
import logging
from rpqueue import logs
logs.configure({level!r})
{more}
logging.getLogger("rpqueue.worker").info("started", extra={{"queue": "mail"}})
logging.getLogger("rpqueue.worker").debug("details")
"""


def test_configure_writes_from_its_level_on() -> None:
    found = output(CONFIGURED.format(level="info", more=""))
    assert len(found) == 1
    assert re.fullmatch(r"\S+ \S+ INFO \[\d+\] worker: started queue=mail", found[0])
    assert len(output(CONFIGURED.format(level=logging.DEBUG, more=""))) == 2


def test_configured_twice_it_writes_once_from_the_second_level_on() -> None:
    found = output(CONFIGURED.format(level="info", more="logs.configure('debug')"))
    assert [text.rpartition("worker: ")[2] for text in found] == ["started queue=mail", "details"]


def test_what_the_program_sets_up_itself_takes_the_place_of_the_console() -> None:
    more = "logging.basicConfig(format='mine %(message)s')"
    assert output(CONFIGURED.format(level="info", more=more)) == ["mine started"]


def test_configure_leaves_the_loggers_of_others_alone() -> None:
    more = "logging.getLogger('myapp').warning('hello'); assert logging.getLogger().level == 30"
    assert output(CONFIGURED.format(level="info", more=more))[0] == "hello"


def test_configure_refuses_what_is_no_level() -> None:
    before = list(logs.root.handlers), logs.root.level
    with pytest.raises(RefusedInput, match="log level: expected one of DEBUG"):
        logs.configure("loud")
    assert (logs.root.handlers, logs.root.level) == before
