"""The public names: those that users of 0.33 know, and those that the package shows."""

from __future__ import annotations

import inspect
import uuid
from types import ModuleType

import pytest

import rpqueue
from rpqueue.settings import Settings

KNOWN = [
    "task",
    "periodic_task",
    "cron_task",
    "Task",
    "EnqueuedTask",
    "Data",
    "SimpleLock",
    "NoLock",
    "execute_tasks",
    "flush_tasks",
    "result",
    "results",
    "get_task",
    "call_task",
    "known_tasks",
    "known_queues",
    "queue_sizes",
    "clear_queue",
    "set_priority",
    "set_key_prefix",
    "new_rpqueue",
    "set_redis_connection",
    "set_redis_connection_settings",
    "script_load",
    "VERSION",
    "REGISTRY",
    "SHOULD_QUIT",
    "DEFAULT_QUEUE",
    "DEADLETTER_QUEUE",
    "EXECUTE_TASKS",
    "MINIMUM_DELAY",
    "REENTRY_RETRY",
    "QUEUE_ITEMS_PER_PASS",
    "KEEP_REDIS_TASK_REGISTRY",
    "REDIS_TASK_REGISTRY_AUTO_CLEAR",
    "LOG_LEVEL",
    "SUCCESS_LOG_LEVEL",
    "AFTER_FORK",
    "CURRENT_TASK",
    "get_connection",
    "get_page",
    "read_deadletter",
    "delete_item",
    "execute_task_threads",
    "log_handler",
    "CronTab",
]

#: Parameters of 0.33, in order, with their defaults; what is new comes after them and has a default.
SIGNATURES = {
    "call_task": "name queue",
    "clear_queue": "queue conn=None delete=False is_data=False",
    "delete_item": "queue taskid conn=None",
    "execute_task_threads": "queues=None threads=1 wait_per_thread=1 module=None",
    "execute_tasks": "queues=None threads_per_process=1 processes=1 wait_per_thread=1 module=None",
    "flush_tasks": "complete=False force_delayed=False wait_on_hidden=False timeout=None log_every=0",
    "get_page": "queue page per_page=50 conn=None",
    "get_task": "name",
    "known_queues": "conn=None",
    "new_rpqueue": "name pfix=None",
    "queue_sizes": "conn=None",
    "read_deadletter": "conn=None delete=False limit=100 is_data=False",
    "result": "taskid conn=None",
    "results": "taskids conn=None",
    "set_key_prefix": "pfix",
    "set_priority": "queue qpri conn=None",
    "set_redis_connection": "conn",
    "set_redis_connection_settings": "host='localhost' port=6379 db=0 password=None socket_timeout=30 "
    "unix_socket_path=None ssl=False ssl_ca_certs=None",
    "task": "args=None queue=None attempts=1 retry_delay=30 save_results=0 vis_timeout=0 use_dead=False",
    "Data": "queue attempts=1 vis_timeout=0 use_dead=None is_tasks=False is_dead=False",
    "EnqueuedTask": "name taskid queue task=None",
    "SimpleLock": "conn name duration=1",
    "Task": "queue name function delay=None never_skip=False attempts=1 retry_delay=30 low_delay_okay=False "
    "save_results=0 vis_timeout=0 use_dead=None",
}


@pytest.fixture(scope="module", params=["rpqueue", "new_rpqueue"])
def module(request: pytest.FixtureRequest) -> ModuleType:
    return rpqueue if request.param == "rpqueue" else rpqueue.new_rpqueue(uuid.uuid4().hex, "other")


@pytest.mark.parametrize("name", KNOWN)
def test_every_name_of_the_published_package_is_there(module: ModuleType, name: str) -> None:
    assert hasattr(module, name)


@pytest.mark.parametrize("name", SIGNATURES)
def test_what_was_called_in_0_33_is_called_the_same_way(module: ModuleType, name: str) -> None:
    expected = SIGNATURES[name].split()
    parameters = list(inspect.signature(getattr(module, name)).parameters.values())
    for word, parameter in zip(expected, parameters, strict=False):
        wanted, _, default = word.partition("=")
        assert parameter.name == wanted
        if default:
            assert repr(parameter.default) == default
    assert len(parameters) >= len(expected)
    for added in parameters[len(expected) :]:
        assert added.default is not added.empty or added.kind in (added.VAR_POSITIONAL, added.VAR_KEYWORD)


def test_all_lists_what_is_public_and_no_setting() -> None:
    public = {
        name
        for name, value in vars(rpqueue).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name not in typing_names()
    }
    settings = {setting.name for setting in Settings.all()}
    assert sorted(public - settings - {"app", "legacy_name", "Settings", "annotations"}) == sorted(
        set(rpqueue.__all__) - {"errors"}
    )


def typing_names() -> set[str]:
    return {"Any", "Callable", "MutableMapping", "RetryMethod"}


def test_every_setting_is_annotated_where_users_assign_it() -> None:
    assert {setting.name for setting in Settings.all()} <= set(rpqueue.__annotations__)


def test_an_app_of_its_own_has_classes_and_settings_of_its_own(module: ModuleType) -> None:
    other = rpqueue.new_rpqueue(uuid.uuid4().hex, "third")
    other.DEFAULT_QUEUE = "elsewhere"

    @other.task
    def own() -> None:
        """Nothing."""

    assert own.queue == "elsewhere"
    assert own.name in other.REGISTRY
    assert own.name not in module.REGISTRY
    assert isinstance(own, other.Task)
    assert not isinstance(own, module.Task)
