"""Sandbox: everything is as it was before, and nothing is left in Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import redis

import rpqueue
from rpqueue import App, aio, embedded, testing
from rpqueue.errors import RefusedInput, WrongType
from rpqueue.testing import Sandbox, sandbox


def keys_at(url: str) -> list[bytes]:
    client = redis.Redis.from_url(url)
    try:
        return client.keys("*")
    finally:
        client.close()


def test_nothing_is_left_in_redis(rpqueue_server: str) -> None:
    before = keys_at(rpqueue_server)
    with sandbox(App(), rpqueue_server) as box:
        box.app.task(lambda: 1 / 0, name="job", use_dead=True, queue="*?[a]{x}").execute_many([()] * 3)
        box.app.Data("items").put_data([1])
        box.worker.run(limit=1)
        assert len(keys_at(rpqueue_server)) > len(before)
    assert keys_at(rpqueue_server) == before


def test_nothing_is_left_after_a_test_that_failed_or_changed_the_connection(rpqueue_server: str) -> None:
    before, app = keys_at(rpqueue_server), App()

    def fails() -> None:
        with sandbox(app, rpqueue_server):
            app.task(lambda: None, name="job").execute()
            app.set_redis_connection_settings(host="127.0.0.1", port=1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert keys_at(rpqueue_server) == before


def test_settings_connection_and_lists_are_as_before(rpqueue_server: str) -> None:
    app, middleware = App(prefix="mine"), rpqueue.Middleware()
    app.settings.middleware = [middleware]
    kept, broker = app.settings.middleware, app.broker
    before = dict(app.settings.namespace)
    with sandbox(app, rpqueue_server) as box:
        assert app.settings.key_prefix != "mine"
        assert app.broker is not broker
        app.settings.default_queue = "other"
        app.settings.always_eager = True
        app.settings.namespace["MIDDLEWARE"].append(rpqueue.Middleware())
        assert box.app is app
    assert app.settings.namespace == before
    assert app.settings.middleware == kept == [middleware]
    assert app.broker is broker


def test_tasks_of_tests_are_forgotten_and_those_of_modules_stay(rpqueue_server: str) -> None:
    app = App()
    declared_before = app.task(lambda: None, name="before")
    with sandbox(app, rpqueue_server):
        app.task(lambda: None, name="before")
        app.task(lambda: None, name="local")
        app.task(os.getcwd, name="module's")
    assert set(app.settings.registry) == {"before", "module's"}
    assert app.settings.registry["before"] is declared_before


def test_two_of_one_app_see_nothing_of_each_other(rpqueue_server: str) -> None:
    app = App()
    job = app.task(lambda: None, name="job")
    with sandbox(app, rpqueue_server) as outer:
        job.execute()
        with sandbox(app, rpqueue_server) as inner:
            assert testing.current() is inner
            inner.refute_enqueued()
        assert testing.current() is outer
        outer.assert_enqueued(job, count=1)


def test_processes_that_share_a_server_do_not_disturb_each_other(rpqueue_server: str) -> None:
    mine, other = App(), App()  # as in two processes of pytest-xdist
    with sandbox(mine, rpqueue_server) as box:
        job = mine.task(lambda: None, name="job")
        job.execute(delay=60)
        with sandbox(other, rpqueue_server) as theirs:
            other.task(lambda: None, name="job").execute(delay=60)
            theirs.clock.advance(60)
            assert len(theirs.worker.run()) == 1
        box.assert_enqueued(job, delay=60, count=1)
        assert box.worker.run() == []


def test_verbs_of_aio_go_there_too(box: Sandbox) -> None:
    import asyncio

    job = box.app.task(lambda: None, name="job")
    asyncio.run(aio.of(box.app).execute(job))
    box.assert_enqueued(job)


def test_it_takes_modules_and_the_default_app(rpqueue_server: str) -> None:
    module = rpqueue.new_rpqueue("of-test-sandbox", "of-test-sandbox")
    with sandbox(module, rpqueue_server) as box:
        assert box.app is module.app
        assert module.KEY_PREFIX.startswith("rpqueue-test-")
    assert module.KEY_PREFIX == "of-test-sandbox"
    with sandbox(url=rpqueue_server) as box:
        assert box.app is rpqueue.app
    with pytest.raises(WrongType, match="app: expected an App"):
        sandbox(SimpleNamespace())  # type: ignore[arg-type]


def test_a_block_has_a_sandbox_of_its_own(box: Sandbox) -> None:
    with pytest.raises(RefusedInput, match="every block needs one of its own"), box:
        pass


def test_outside_of_one_nothing_can_be_asserted() -> None:
    with pytest.raises(RefusedInput, match="expected to be called in a sandbox, got none"):
        testing.assert_enqueued()


class AsUnittest(unittest.TestCase):
    """What unittest users write."""

    def setUp(self) -> None:
        self.box = sandbox(App())
        self.box.__enter__()
        self.addCleanup(self.box.__exit__, None, None, None)

    def test_a_call_runs(self) -> None:
        job = self.box.app.task(lambda x: x, name="job", save_results=60)
        job.execute(1)
        testing.assert_enqueued(job, args=(1,))
        assert [ran.result for ran in self.box.worker.run()] == [1]


PROGRAM = """
import os, sys
from rpqueue import App
from rpqueue.testing import sandbox
with sandbox(App()) as box:
    client = box.app.get_connection()
    directory = client.config_get("dir")["dir"]
    print(client.info("server")["process_id"], directory, flush=True)
    box.app.task(lambda: None, name="job").execute()
    if {forks} and not os.fork():
        sys.exit()  # leaves all blocks, as the parent will
    elif {forks}:
        os.wait()
    print(os.path.isdir(directory), len(box.worker.run()))
"""


@pytest.mark.parametrize("forks", [False, True])
def test_the_server_of_a_process_ends_with_it_and_leaves_no_files(forks: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RPQUEUE_TEST_URL"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(forks=forks)], env=environment, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    told, ran = done.stdout.splitlines()
    pid, directory = told.split()
    assert ran == "True 1"
    assert not Path(directory).exists()
    assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE


def test_an_existing_server_is_used_and_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    with embedded.start(tmp_path / "own") as own:
        client = redis.Redis.from_url(own.url)
        client.set("mine", "1")
        monkeypatch.setenv("RPQUEUE_TEST_URL", own.url)
        with testing.server() as url, sandbox(App(), url) as box:
            assert url == own.url
            box.app.task(lambda: None, name="job").execute()
            assert client.dbsize() > 1
        assert client.keys("*") == [b"mine"]
        client.close()
