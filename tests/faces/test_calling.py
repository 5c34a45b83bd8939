"""Calling tasks by name from a process that never imported them, and modules like rpqueue itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import redis

import rpqueue
from rpqueue import App, modules
from rpqueue.calling import FORGET_AFTER
from rpqueue.errors import RefusedInput, UnknownTask
from tests.servers import Server, wait_until

SOON = 20.0


def add(x: int, y: int = 1) -> int:
    return x + y


@pytest.fixture
def stranger(app: App, server: Server) -> Iterator[App]:
    """The same App where nothing was imported."""
    other = App(server.url, prefix="test")
    yield other
    other.broker.close()


@pytest.fixture
def told(app: App, start_worker: Callable[..., None]) -> App:
    """The App with three tasks that a worker has told of."""
    options = {"attempts": 3, "retry_delay": 7.0, "save_results": 60.0, "vis_timeout": 30.0, "use_dead": True}
    app.task(name="mail.send", queue="mail", **options)(add)
    app.task(name="mail.read")(add)
    app.periodic_task(3600, name="mail.sweep", queue="low")(add)
    start_worker()
    wait_until(lambda: app.broker.client.hlen(app.keys.app.registry) == 3)
    return app


def test_a_task_that_a_worker_knows_is_called_by_name(told: App, stranger: App) -> None:
    call = stranger.call_task("mail.send", None, 1, y=5)
    assert call.queue == "mail"
    assert call.get(SOON) == 6
    assert stranger.call_task("mail.send", None, 1, _queue="other", taskid="mine").taskid == "mine"


def test_it_is_enqueued_as_its_declaration_says(told: App, stranger: App) -> None:
    task = stranger.known_tasks["mail.send"]
    assert (task.queue, task.attempts, task.retry_delay) == ("mail", 3, 7)
    assert (task.save_results, task.vis_timeout, task.use_dead) == (60, 30, True)
    assert task.header_tail() == told.get_task("mail.send").header_tail()
    assert task.execute(2).get(SOON) == 3
    assert stranger.settings.registry == {}


def test_a_task_known_by_name_alone_does_not_run_here(told: App, stranger: App) -> None:
    with pytest.raises(TypeError, match="known by name only"):
        stranger.known_tasks["mail.send"](1)
    with pytest.raises(TypeError, match="known by name only"):
        stranger.known_tasks["mail.send"].execute(1, execute_inline_now=True)


def test_known_tasks_lists_what_this_process_and_workers_know(told: App, stranger: App) -> None:
    stranger.task(name="own")(add)
    assert list(stranger.known_tasks) == ["mail.read", "mail.send", "mail.sweep", "own"]
    assert len(stranger.known_tasks) == 4
    assert "mail.send" in stranger.known_tasks
    assert "own" in stranger.known_tasks
    assert "mail.sent" not in stranger.known_tasks
    assert stranger.known_tasks["own"] is stranger.get_task("own")


@pytest.mark.parametrize("error", [UnknownTask, KeyError, ValueError])
def test_an_unknown_name_is_an_error_that_says_what_is_known(told: App, stranger: App, error: type[Exception]) -> None:
    text = r"^no task is named 'mail.sent'; did you mean 'mail.send'\? Known: mail.read, mail.send, mail.sweep\.$"
    with pytest.raises(error, match=text):
        stranger.call_task("mail.sent")
    with pytest.raises(error, match=text):
        stranger.known_tasks["mail.sent"]
    assert not any(total for _, _, total in stranger.queue_sizes())


def test_where_nothing_is_known_it_says_so(app: App) -> None:
    with pytest.raises(UnknownTask, match=r"no task is named 'x'\. Known: none\."):
        app.call_task("x")


def test_of_many_names_it_shows_some(app: App) -> None:
    for number in range(30):
        app.task(name=f"task {number:02}")(add)
    with pytest.raises(UnknownTask, match=r"task 09 and 20 more\.$"):
        app.call_task("something else")


def test_get_task_looks_here_only(told: App, stranger: App) -> None:
    with pytest.raises(UnknownTask, match="Import the module that declares it"):
        stranger.get_task("mail.send")
    assert told.get_task("mail.send").name == "mail.send"


def test_unverified_a_call_of_an_unknown_task_waits_for_a_worker_that_knows_it(
    app: App, stranger: App, start_worker: Callable[..., None]
) -> None:
    call = stranger.call_task("later", "mail", 1, _verify_call=False)
    assert (call.queue, call.status) == ("mail", "waiting")
    assert stranger.call_task("later", _verify_call=False).queue == "default"
    assert stranger.call_task("later", b"bytes", _verify_call=False).queue == "bytes"
    ran = []
    app.task(name="later")(lambda *args: ran.append(args))
    start_worker()
    call.get(SOON)
    assert (1,) in ran


def test_a_name_that_is_not_unicode_text_is_refused(app: App) -> None:
    with pytest.raises(RefusedInput):
        app.call_task("\ud800")


def test_what_no_worker_has_told_of_for_a_week_is_forgotten(app: App, start_worker: Callable[..., None]) -> None:
    now, client, registry = app.broker.client.time()[0], app.broker.client, app.keys.app.registry
    for name, told_at in {"old": now - FORGET_AFTER - 60, "young": now - FORGET_AFTER + 3600}.items():
        client.hset(registry, name, json.dumps({"queue": "default", "told_at": told_at}))
    app.task(name="own")(add)
    start_worker()
    wait_until(lambda: client.hexists(registry, "own") and not client.hexists(registry, "old"))
    assert set(app.known_tasks) == {"own", "young"}


def test_a_registry_that_is_to_be_kept_forgets_nothing(app: App, start_worker: Callable[..., None]) -> None:
    app.settings.keep_redis_task_registry = True
    client, registry = app.broker.client, app.keys.app.registry
    client.hset(registry, "old", json.dumps({"queue": "default", "told_at": 0}))
    app.task(name="own", save_results=60)(add)
    start_worker()
    wait_until(lambda: client.hexists(registry, "own"))
    app.get_task("own").execute(1).get(SOON)
    assert set(app.known_tasks) == {"own", "old"}


# ---- Modules like rpqueue itself.


@pytest.fixture
def fresh_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(modules, "MODULES", {})
    yield
    for module in modules.MODULES.values():
        module.app.broker.close()


@pytest.mark.usefixtures("fresh_modules", "redis_client")
def test_new_rpqueue_makes_a_system_of_its_own(server: Server) -> None:
    one, other = rpqueue.new_rpqueue("one", "test-one"), rpqueue.new_rpqueue("other", "test-other")
    for module in (one, other):
        module.set_redis_connection_settings(host=server.host, port=server.port)
    call = one.task(add).execute(1)
    assert one.known_queues() == ["default"]
    assert other.known_queues() == []
    assert one.REGISTRY.keys() == {call.name}
    assert other.REGISTRY == {}
    one.DEFAULT_QUEUE = "x"
    assert (one.task(name="in x")(add).queue, other.task(name="in x")(add).queue) == ("x", "default")
    assert other.EnqueuedTask(call.name, call.taskid, "default").args is None
    assert one.EnqueuedTask(call.name, call.taskid, "default").args == call.args
    one.SHOULD_QUIT[0] = 1
    assert not other.SHOULD_QUIT[0]


@pytest.mark.usefixtures("fresh_modules")
def test_new_rpqueue_gives_the_same_module_for_the_same_name() -> None:
    one = rpqueue.new_rpqueue("one", "test-one")
    assert rpqueue.new_rpqueue("one", b"test-one") is one
    assert rpqueue.new_rpqueue("one again", "test-one") is not one
    with pytest.raises(RefusedInput, match=r"expected prefix 'test-one', which it was made with, got 'rpqueue'"):
        rpqueue.new_rpqueue("one")


@pytest.mark.usefixtures("fresh_modules")
def test_a_module_has_the_names_of_rpqueue_itself() -> None:
    one = rpqueue.new_rpqueue("one", "test-one")
    private = {name for name in vars(rpqueue) if name.startswith("_")}
    missing = set(rpqueue.__all__) - set(vars(one)) - private
    assert missing <= {"App", "errors"}
    assert one.CronTab is rpqueue.CronTab
    with pytest.raises(AttributeError, match="nonsense"):
        _ = one.nonsense


@pytest.mark.usefixtures("fresh_modules")
def test_a_prefix_may_be_set_later_and_holds_for_every_key(
    server: Server, redis_client: redis.Redis, start_worker: Callable[..., None]
) -> None:
    one = rpqueue.new_rpqueue("one")
    one.set_redis_connection_settings(host=server.host, port=server.port)
    one.set_key_prefix("test-moved")
    call = one.task(add).execute(1, _queue="a{b}:c")
    one.Data("d").put_data([1])
    call.cancel()
    assert {key.split(b":")[0] for key in redis_client.scan_iter()} == {b"test-moved"}


def test_the_module_itself_is_set_up_by_assignment(server: Server, redis_client: redis.Redis) -> None:
    code = (
        "import rpqueue\n"
        "rpqueue.KEY_PREFIX = 'test-assigned'\n"
        "rpqueue.DEFAULT_QUEUE = b'mine'\n"
        "@rpqueue.task\n"
        "def hello(): pass\n"
        "call = hello.execute()\n"
        "print(call.queue, rpqueue.known_queues(), rpqueue.queue_sizes(), list(rpqueue.REGISTRY))\n"
    )
    environment = {**os.environ, "RPQUEUE_URL": server.url}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == "mine ['mine'] [('mine', 1, 1)] ['__main__.hello']\n"
    assert {key.split(b":")[0] for key in redis_client.scan_iter()} == {b"test-assigned"}
