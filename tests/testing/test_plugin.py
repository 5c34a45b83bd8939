"""The pytest plugin: suites of their own use it, or do not."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
import redis

from tests.faces.test_docs import steps_of

pytest_plugins = ["pytester"]

#: Only by its entry point: the plugins of others are slow to import.
WORDS = ("-p", "rpqueue", "-p", "no:cacheprovider")

TASKS = """
import rpqueue
from rpqueue import App

app = App(prefix="mine")
module = rpqueue.new_rpqueue("of-test-plugin", "other")
not_an_app = 7

@app.task(name="mail.send", save_results=60, retry_method=rpqueue.fixed(delay=60, max_retries=1))
def send(to):
    if not to:
        raise ValueError("to nobody")
    return f"sent to {to}"

@app.periodic_task(run_every=60, name="mail.poll")
def poll():
    pass
"""

SUITE = """
import pytest
import rpqueue
from rpqueue.testing import assert_enqueued, refute_enqueued
from tasks_of_suite import app, send


@pytest.mark.parametrize("number", range(2))
def test_a_call(rpqueue_app, rpqueue_worker, number):
    assert rpqueue_app is app
    assert app.settings.key_prefix.startswith("rpqueue-test-")
    assert app.known_queues() == []
    app.settings.default_queue = "changed"
    call = send.execute("ada")
    assert_enqueued(send, args=("ada",), delay=0, count=1)
    [ran] = rpqueue_worker.run(raises=True)
    assert call.get(timeout=0) == ran.result == "sent to ada"
    refute_enqueued(send)


def test_settings_are_as_before(rpqueue_app):
    assert app.settings.default_queue == "default"


def test_a_retry(rpqueue_sandbox, rpqueue_clock, rpqueue_worker):
    send.execute("")
    assert [ran.state for ran in rpqueue_worker.run()] == ["scheduled"]
    rpqueue_sandbox.assert_enqueued(send, delay=60)
    rpqueue_clock.advance(60)
    ran = sorted((one.name, one.state) for one in rpqueue_worker.run())
    assert ran == [("mail.poll", "done"), ("mail.send", "failed")]


def test_afterwards_it_is_as_before():
    assert app.settings.key_prefix == "mine"
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A directory with tasks and tests of them."""
    monkeypatch.delenv("RPQUEUE_TEST_URL", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(tasks_of_suite=TASKS, test_suite=SUITE)
    pytester.makeini("[pytest]\npythonpath = .\nrpqueue_app = tasks_of_suite:app\nfilterwarnings = error\n")
    return pytester


def test_its_fixtures_work_together(suite: pytest.Pytester) -> None:
    suite.runpytest_inprocess(*WORDS).assert_outcomes(passed=5)


def test_its_server_ends_with_the_session(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_suite="""
        import pathlib

        def test_server(rpqueue_app, rpqueue_server):
            told = rpqueue_app.get_connection().info("server")
            config = rpqueue_app.get_connection().config_get("dir")
            pathlib.Path("told").write_text(f"{told['process_id']} {config['dir']}")
        """
    )
    suite.runpytest_subprocess(*WORDS).assert_outcomes(passed=1)
    pid, directory = (suite.path / "told").read_text().split()
    assert not Path(directory).exists()
    assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE


def test_an_existing_server_is_used(suite: pytest.Pytester, rpqueue_server: str) -> None:
    os.environ["RPQUEUE_TEST_URL"] = rpqueue_server
    suite.makepyfile(f"def test_url(rpqueue_server):\n    assert rpqueue_server == {rpqueue_server!r}\n")
    client = redis.Redis.from_url(rpqueue_server)
    before = client.keys("*")
    suite.runpytest_inprocess(*WORDS).assert_outcomes(passed=6)
    assert client.keys("*") == before
    client.close()


@pytest.mark.parametrize(
    ("place", "prefix"), [("", "rpqueue"), ("rpqueue", "rpqueue"), ("tasks_of_suite:module", "other")]
)
def test_the_ini_file_names_the_app_or_its_module(suite: pytest.Pytester, place: str, prefix: str) -> None:
    suite.makeini("[pytest]\npythonpath = .\n" + (f"rpqueue_app = {place}\n" if place else ""))
    suite.makepyfile(
        test_suite=f"""
        import rpqueue, tasks_of_suite
        expected = {"tasks_of_suite.module" if prefix == "other" else "rpqueue"}.app

        def test_app(rpqueue_app):
            assert rpqueue_app is expected

        def test_afterwards():
            assert expected.settings.key_prefix == {prefix!r}
        """
    )
    suite.runpytest_inprocess(*WORDS).assert_outcomes(passed=2)


@pytest.mark.parametrize("place", ["nowhere:app", "tasks_of_suite:nothing", "tasks_of_suite:not_an_app", ":app"])
def test_a_place_without_an_app_is_named(suite: pytest.Pytester, place: str) -> None:
    suite.makeini(f"[pytest]\npythonpath = .\nrpqueue_app = {place}\n")
    suite.makepyfile(test_suite="def test_app(rpqueue_app):\n    pass\n")
    result = suite.runpytest_inprocess(*WORDS)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ini option rpqueue_app: expected *, got '" + place + "'*"])


def test_a_failed_assertion_shows_what_waits(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_suite="""
        from rpqueue.testing import assert_enqueued
        from tasks_of_suite import send

        def test_app(rpqueue_app):
            send.execute("bob")
            assert_enqueued(send, args=("ada",))
        """
    )
    result = suite.runpytest_inprocess(*WORDS)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*assert_enqueued: expected one at least, got none: call of mail.send, args ?'ada'?",
            "E*mail.send('bob') in default, ready",
        ]
    )


def test_the_guide_shows_tests_that_pass(suite: pytest.Pytester) -> None:
    page = Path(__file__).parents[2] / "docs" / "guide" / "testing.rst"
    [code] = [step.code for step in steps_of(page) if "def test_" in step.code]
    without_schedules = TASKS.partition("@app.periodic_task")[0]
    suite.makepyfile(tasks_of_suite=without_schedules, test_suite="from tasks_of_suite import send\n" + code)
    suite.runpytest_inprocess(*WORDS).assert_outcomes(passed=1)


INERT = """
import sys

def test_nothing_of_it_was_imported():
    assert not [name for name in sys.modules if name.partition(".")[0] in ("rpqueue", "redis", "asyncio")]
"""


@pytest.mark.parametrize("also", [(), ("-p", "rpqueue")], ids=["left out", "loaded"])
def test_a_suite_that_does_not_use_it_pays_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, also: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # who knows what the plugins of others import
    pytester.makepyfile(INERT)
    pytester.runpytest_subprocess(*also).assert_outcomes(passed=1)


def test_left_out_it_has_no_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_app(rpqueue_app):\n    pass\n")
    result = pytester.runpytest_inprocess("-p", "no:valkey", "-p", "no:rpqueue", "-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'rpqueue_app' not found*"])
