"""What README and the guide show works: their Python blocks are run, and say what the comments beside them promise.

All blocks of a page run in order in one namespace, against a real server. Where a page has the comment
`.. worker starts`, a worker runs in a thread from there on, until `.. worker stops` or the end of the page. Of
`print(x)  # y`, the comment has to begin with what was printed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import redis
import sentry_sdk
import structlog
from click.testing import CliRunner

import rpqueue
from rpqueue.cli import main
from rpqueue.settings import Settings
from tests.servers import Server

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "docs" / "quickstart.rst", *(ROOT / "docs").glob("guide/*.rst"), *(ROOT / "docs").glob("coming-from/*.rst")]
)

BLOCK = re.compile(r"^(?P<indent> *)\.\. code-block:: python$")
WORKER = re.compile(r"^\.\. worker (?P<order>starts|stops)$")
COMMENT = re.compile(r"  # (?P<text>.*)$")


class Step(NamedTuple):
    """A block of code, or an order to the worker."""

    line: int  #: number of its first line in the page, from 1
    code: str
    order: str = ""


def steps_of(page: Path) -> Iterator[Step]:
    """Yield what a page tells its reader to run."""
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines):
        if order := WORKER.match(line):
            yield Step(number + 1, "", order["order"])
        elif block := BLOCK.match(line):
            margin = len(block["indent"])
            end = next(
                (at for at in range(number + 1, len(lines)) if lines[at].strip() and indent_of(lines[at]) <= margin),
                len(lines),
            )
            body = lines[number + 1 : end]
            inner = min(indent_of(text) for text in body if text.strip())
            yield Step(number + 2, "\n".join(text[inner:] for text in body))


def indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())


def promised(page: Path, line: int) -> str | None:
    """What the comment at the end of a line says it prints."""
    found = COMMENT.search(page.read_text().splitlines()[line - 1])
    return found["text"] if found else None


class BackgroundWorker:
    """`execute_task_threads` in a thread."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def starts(self) -> None:
        assert self._thread is None
        rpqueue.SHOULD_QUIT[0] = 0
        self._thread = threading.Thread(target=rpqueue.execute_task_threads, kwargs={"threads": 2})
        self._thread.start()

    def stops(self) -> None:
        if self._thread is not None:
            rpqueue.SHOULD_QUIT[0] = 1
            self._thread.join()
            self._thread = None
            rpqueue.SHOULD_QUIT[0] = 0


@pytest.fixture
def default_app(server: Server, redis_client: redis.Redis) -> Iterator[None]:
    """The module-level API, connected to the shared server, and as it was before when the test is over."""
    names = [setting.name for setting in Settings.all()]
    before = {name: getattr(rpqueue, name) for name in names}
    broker = rpqueue.app._broker
    rpqueue.app._broker = None
    rpqueue.set_redis_connection_settings(host=server.host, port=server.port)
    rpqueue.REGISTRY, rpqueue.KEY_PREFIX = {}, "test-docs"
    yield
    rpqueue.app.broker.close()
    rpqueue.app._broker = broker
    for name, value in before.items():
        setattr(rpqueue, name, value)


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """What a page configures of logging ends with it."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in ("rpqueue", "shop"))]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
    structlog.reset_defaults()
    sentry_sdk.get_global_scope().set_client(None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_works(
    page: Path, default_app: None, logging_as_before: None, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPQUEUE_URL", server.url)
    wrong: list[str] = []

    def checked_print(*values: Any, **options: Any) -> None:
        line = sys._getframe(1).f_lineno
        text, comment = " ".join(map(str, values)), promised(page, line)
        if comment is not None and not comment.startswith(text):
            wrong.append(f"{page.name}:{line} says {comment!r}, got {text!r}")

    module = SimpleNamespace(__name__="tasks", print=checked_print)
    worker = BackgroundWorker()
    try:
        for step in steps_of(page):
            if step.order:
                getattr(worker, step.order)()
            else:
                code = compile("\n" * (step.line - 1) + step.code, str(page), "exec")
                exec(code, vars(module))
    finally:
        worker.stops()
    assert not wrong, "\n".join(wrong)


def test_the_twelve_lines_of_the_readme_work(server: Server, redis_client: redis.Redis, tmp_path: Path) -> None:
    first, second = (step.code for step in steps_of(ROOT / "README.rst"))
    (tmp_path / "tasks.py").write_text(first)
    environment = {**os.environ, "RPQUEUE_URL": server.url, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    run: Callable[..., Any] = lambda *words: subprocess.Popen(  # noqa: E731
        [sys.executable, *words], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    with contextlib.ExitStack() as stack:
        program = stack.enter_context(run("tasks.py"))
        assert program.stdout.readline() == "waiting\n"
        worker = stack.enter_context(run("-m", "rpqueue.run", "--module=tasks", "--processes=2", "--threads=4"))
        stack.callback(worker.terminate)
        assert program.stdout.readline() == "Hello Ada\n"
    (tmp_path / "items.py").write_text(f"import rpqueue\n{second}\nprint(len(items), stats.currently_available())")
    done = subprocess.run(
        [sys.executable, "items.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "2 (0, 0)\n"


COMMAND = re.compile(r"^ *(?:\$ )?(?:python -m rpqueue\.(?P<run>run)|rpqueue) (?P<words>[^#&\n]*)", re.MULTILINE)


@pytest.mark.parametrize(
    "page", [ROOT / "README.rst", *sorted((ROOT / "docs").rglob("*.rst"))], ids=lambda page: page.stem
)
def test_shown_command_lines_are_understood(page: Path) -> None:
    for shown in COMMAND.finditer("\n".join(line for line in page.read_text().splitlines() if line.startswith(" "))):
        words = [*(["worker"] if shown["run"] else []), *shlex.split(shown["words"])]
        # With --help at the end all words are read, and nothing is done.
        result = CliRunner().invoke(main, [*words, "--help"])
        assert result.exit_code == 0, f"{shown[0]}: {result.output}"


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="sphinx is not installed: make docs")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "O(" in (tmp_path / "internals" / "scripts.html").read_text()


def test_every_page_of_the_guide_is_run() -> None:
    # A migration needs what 0.33 has left, and shows commands only.
    pages = [page for page in PAGES if page.stem != "migrating"]
    empty = [page.name for page in pages if not any(step.code for step in steps_of(page))]
    assert not empty, f"nothing to run on {empty}: take them out of this test by name, with the reason"


def test_a_print_that_says_something_else_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text("Title\n\n.. code-block:: python\n\n    x = 1\n    print(x)  # 2, they say\n\nText.\n")
    [step] = steps_of(page)
    assert step.code.strip() == "x = 1\nprint(x)  # 2, they say"
    assert step.line == 4
    assert promised(page, 6) == "2, they say"
