"""Log levels as settings say them, URLs without passwords, and lines as text and JSON."""

from __future__ import annotations

import datetime
import json
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpqueue import logs
from rpqueue.errors import RefusedInput, WrongType
from rpqueue.running import enter, leave

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


def test_a_format_that_is_none_is_refused() -> None:
    with pytest.raises(RefusedInput, match=r"log format: expected one of text, json, got 'jason'"):
        logs.configure("info", "jason")


JSON_LINES = """
import logging
from rpqueue import logs
{before}
logs.configure("info", "json")
logging.basicConfig(format="mine %(message)s")
logging.getLogger("rpqueue.worker").info("started", extra={{"queue": "mail"}})
logging.getLogger("myapp").warning("hello")
logging.getLogger("myapp").info("not at the level of the root logger")
"""


@pytest.mark.parametrize("before", ["", "logs.configure('debug')", "logs.configure('debug', 'json')"])
def test_json_is_for_all_loggers_and_written_once(before: str) -> None:
    found = [json.loads(text) for text in output(JSON_LINES.format(before=before))]
    assert [(one["logger"], one["message"]) for one in found] == [("rpqueue.worker", "started"), ("myapp", "hello")]


# ---- JSONFormatter


def told(message: Any = "task finished", *args: Any, **options: Any) -> dict[str, Any]:
    """What JSONFormatter makes of one record, read again."""
    fields = {"created": 1_772_366_400.125, "process": 4711, "levelname": "INFO", **options.pop("extra", {}), **options}
    record = logging.makeLogRecord({"name": "rpqueue.task", "msg": message, "args": args, **fields})
    text = logs.JSONFormatter().format(record)
    assert text.isascii()
    assert len(text.splitlines()) == 1
    found = json.loads(text, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert isinstance(found, dict)
    return found


def test_json_has_what_every_record_has_first_and_fields_behind() -> None:
    found = told("task %s", "finished", extra={"task": "mail.send", "attempt": 2, "seconds": 0.5})
    assert list(found.items()) == [
        ("timestamp", "2026-03-01T12:00:00.125Z"),
        ("level", "INFO"),
        ("logger", "rpqueue.task"),
        ("message", "task finished"),
        ("process", 4711),
        ("host", socket.gethostname()),
        ("task", "mail.send"),
        ("attempt", 2),
        ("seconds", 0.5),
    ]


def test_a_field_with_the_name_of_what_every_record_has_gets_an_underscore() -> None:
    found = told(extra={"level": "sea", "host": "party"})
    assert (found["level"], found["level_"], found["host_"]) == ("INFO", "sea", "party")


def test_json_of_an_exception_has_its_class_and_its_traceback() -> None:
    found = told("task failed", exc_info=failure())
    assert found["exception"] == "ValueError"
    assert found["traceback"].startswith("Traceback (most recent call last):\n")
    assert found["traceback"].endswith("ValueError: one\ntwo")


def test_an_exception_that_a_field_names_already_is_not_named_anew() -> None:
    assert told(extra={"exception": "Mine"}, exc_info=failure())["exception"] == "Mine"


def test_json_has_a_traceback_that_another_handler_formatted_and_stacks() -> None:
    found = told(exc_text="Traceback\nboom", stack_info="Stack\n  frame")
    assert (found["traceback"], found["stack"]) == ("Traceback\nboom", "Stack\n  frame")


def test_no_exception_at_hand_is_none() -> None:
    assert told(exc_info=(None, None, None)).keys() & {"exception", "stack"} == set()


class Unshown:
    def __str__(self) -> str:
        raise OSError("no")

    __repr__ = __str__


IN_ITSELF: list[Any] = []
IN_ITSELF.append(IN_ITSELF)
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": [1, None, True]}, {"a": [1, None, True]}),
        ((1, 2), [1, 2]),
        ({1: "one"}, {"1": "one"}),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (float("nan"), "nan"),
        ([float("inf")], "[inf]"),
        (b"\xff", "b'\\xff'"),
        (datetime.date(2026, 3, 1), "2026-03-01"),
        ({"at": datetime.date(2026, 3, 1)}, {"at": "2026-03-01"}),
        (ValueError("boom"), "boom"),
        ("größe \U0001f600\x1b\u2028\n", "größe \U0001f600\x1b\u2028\n"),
        ("half a \ud83d", "half a ?"),
        ({"\ud83d": ["\udcff"]}, {"?": ["?"]}),
        (IN_ITSELF, "[[...]]"),
        (DEEP, "a list that cannot be shown (RecursionError)"),
        (10**5000, "a int that cannot be shown (ValueError)"),
        (Unshown(), "a Unshown that cannot be shown (OSError)"),
        ([Unshown()], ["a Unshown that cannot be shown (OSError)"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_odd_values_are_shown(value: Any, shown: Any) -> None:
    assert told(extra={"value": value})["value"] == shown


def test_odd_names_and_messages_are_shown() -> None:
    assert told(extra={1: 2, Unshown(): 3}).items() >= {"1": 2, "a Unshown that cannot be shown (OSError)": 3}.items()
    assert told(Unshown())["message"].startswith("a Unshown that cannot be shown (OSError)")
    assert told("%d tasks", "two")["message"] == "%d tasks ('two',)"


@given(
    st.text(st.characters()), st.recursive(st.none() | st.floats() | st.text(st.characters()) | st.binary(), st.lists)
)
def test_whatever_is_logged_is_one_line_of_json(message: str, value: Any) -> None:
    assert told("%s", message, extra={"value": value}).keys() >= {"message", "value"}


# ---- TaskFilter


class Running:
    name, taskid, queue, attempt = "mail.send", "9f", "mail", 2


@pytest.fixture
def running() -> Iterator[None]:
    token = enter(Running())  # type: ignore[arg-type]
    yield
    leave(token)


def filtered(**fields: Any) -> dict[str, Any]:
    record = logging.makeLogRecord({"name": "myapp", "msg": "x", **fields})
    assert logs.TaskFilter().filter(record)
    return {name: value for name, value in vars(record).items() if name in ("task", "task_id", "queue", "attempt")}


@pytest.mark.usefixtures("running")
def test_a_record_that_is_made_inside_of_a_task_says_which() -> None:
    assert filtered() == {"task": "mail.send", "task_id": "9f", "queue": "mail", "attempt": 2}


@pytest.mark.usefixtures("running")
def test_fields_that_a_record_has_are_left() -> None:
    assert filtered(queue="of people") == {"task": "mail.send", "task_id": "9f", "queue": "of people", "attempt": 2}


def test_outside_of_tasks_records_stay_as_they_are() -> None:
    assert filtered() == {}
