"""Settings: assigned on the module, read when used, refused by name."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import rpqueue
from rpqueue.errors import SettingError
from rpqueue.messages import MAX_MESSAGE_BYTES
from rpqueue.middleware import Middleware
from rpqueue.retry import fixed
from rpqueue.settings import Flag, Setting, Settings
from rpqueue.signing import Secrets

SECRET = 32 * "s"
WATCHING = Middleware()

#: Every setting with its default, a value that it takes, what that reads as, and some that it refuses.
TABLE: dict[str, tuple[Any, Any, Any, list[Any]]] = {
    "DEFAULT_QUEUE": ("default", b"mail", "mail", ["", "x" * 513, b"\xff", "\ud800", None, 1]),
    "DEADLETTER_QUEUE": ("DEADLETTER_QUEUE", "graves", "graves", ["", None]),
    "KEY_PREFIX": ("rpqueue", b"mine", "mine", ["", b"\xff", None]),
    "MINIMUM_DELAY": (1.0, timedelta(minutes=1), 60.0, [-1, math.nan, math.inf, "1", None, True]),
    "QUEUE_ITEMS_PER_PASS": (100, 1, 1, [0, -1, 1.5, "1", None, True]),
    "REENTRY_RETRY": (5, 7, 7, [0, 1.0, None]),
    "EXECUTE_TASKS": (False, 1, True, []),
    "KEEP_REDIS_TASK_REGISTRY": (False, "yes", True, []),
    "REDIS_TASK_REGISTRY_AUTO_CLEAR": (True, 0, False, []),
    "LOG_LEVEL": (None, "warning", 30, ["LOUD", -1, 1.5]),
    "SUCCESS_LOG_LEVEL": (10, "INFO", 20, ["LOUD", None, -1]),
    "AFTER_FORK": (None, print, print, []),
    "SHOULD_QUIT": (None, [1], [1], []),
    "REGISTRY": ({}, {"a": 1}, {"a": 1}, []),
    "WORKER_TTL": (15.0, 0.1, 0.1, [0, 0.09, -1, math.nan, None, "15"]),
    "HEARTBEAT": (1.0, timedelta(milliseconds=500), 0.5, [0, 0.001, None, math.inf]),
    "POISON_CRASHES": (3, 0, 0, [-1, 0.5, None, False]),
    "KEEP_FAILED": (1000, 0, 0, [-1, None]),
    "KEEP_DEAD": (100_000, None, None, [0, -1, "all"]),
    "KEEP_LOST": (100_000, 5, 5, [0, 2.5]),
    "FAILED_TTL": (30 * 86_400.0, 0, 0.0, [-1, None]),
    "DEAD_TTL": (180 * 86_400.0, 60, 60.0, [-1, "long"]),
    "LOST_TTL": (180 * 86_400.0, 60, 60.0, [-1]),
    "KEEP_EXECUTIONS": (10, 1, 1, [0, -1, None, 1.5]),
    "STORE_TRACEBACKS": (True, 0, False, []),
    "KEEP_CHECKPOINTS": (604_800.0, timedelta(days=1), 86_400.0, [0, None, math.inf]),
    "DEFAULT_RETRY_METHOD": (fixed(60, 3), len, len, [None, 3, (len,), (1, 2)]),
    "MIDDLEWARE": ([], (WATCHING,), (WATCHING,), [None, "x", [1], [Middleware]]),
    "CHILD_CONTEXT_MANAGERS": ([], [print], [print], [None, print, [1]]),
    "MAX_MESSAGE_BYTES": (MAX_MESSAGE_BYTES, 0, 0, [-1, 1e6, None]),
    "CLAIM_AHEAD": (0.005, 0, 0.0, [-0.1, None, math.inf]),
    "ASYNC_SLOTS": (100, 1, 1, [0, None, 10.0]),
    "REMEMBER_CANCELLED": (86_400.0, timedelta(days=2), 172_800.0, [-1, None, 1e10]),
    "DURABILITY": (None, "fsync", "fsync", ["disk", True, 1, ""]),
    "DURABILITY_REPLICAS": (1, 2, 2, [0, None, 1.5]),
    "DURABILITY_TIMEOUT": (1.0, timedelta(seconds=2), 2.0, [0, None, -1]),
    "HEALTH_FILE": (None, Path("/run/health"), "/run/health", ["", 5, b"\xff", True]),
    "SIGNING_KEYS": (Secrets(), {"a": SECRET}, Secrets(a=SECRET.encode()), [7, [], {"a": "short"}, {"~": SECRET}, "a"]),
    "SIGNING_REQUIRED": (False, 1, True, []),
    "ALWAYS_EAGER": (False, 1, True, []),
    "EAGER_PROPAGATES": (False, "yes", True, []),
}
REFUSED = [(name, value) for name, (_, _, _, values) in TABLE.items() for value in values]


@pytest.fixture
def forks() -> Iterator[list[int]]:
    """Process ids to wait for."""
    children: list[int] = []
    yield children
    for child in children:
        os.waitpid(child, 0)


def test_the_table_names_every_setting_in_its_order() -> None:
    assert [setting.name for setting in Settings.all()] == list(TABLE)


def test_what_is_appended_to_a_list_later_counts() -> None:
    settings = Settings()
    assert not settings.middleware
    assert not settings.is_watched
    settings.namespace["MIDDLEWARE"].append(WATCHING)
    assert list(settings.middleware) == [WATCHING]
    assert (settings.is_watched, settings.is_surrounding) == (True, True)


def test_settings_declare_a_default_and_say_what_they_are_for() -> None:
    for setting in Settings.all():
        assert setting.__doc__, setting.name
        assert setting.__doc__.rstrip().endswith("."), setting.name


def test_every_setting_stands_on_the_module_and_is_annotated() -> None:
    for setting in Settings.all():
        assert setting.name in vars(rpqueue)
        assert setting.name in rpqueue.__annotations__


@pytest.mark.parametrize("name", TABLE)
def test_a_setting_has_its_default(name: str) -> None:
    value = getattr(Settings(), name.lower())
    if name == "SHOULD_QUIT":
        assert isinstance(value, Flag)
        assert value[0] == 0
    else:
        assert value == TABLE[name][0]
        assert type(value) is type(TABLE[name][0])


@pytest.mark.parametrize("name", TABLE)
def test_a_setting_takes_what_it_is_assigned_in_its_namespace(name: str) -> None:
    namespace: dict[str, Any] = {}
    settings = Settings(namespace)
    _, given, read, _ = TABLE[name]
    namespace[name] = given
    assert getattr(settings, name.lower()) == read
    assert type(getattr(settings, name.lower())) is type(read)


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=lambda value: repr(value)[:20])
def test_a_refusal_names_the_setting_and_what_it_got(name: str, value: Any) -> None:
    settings = Settings({name: value})
    with pytest.raises(SettingError) as refused:
        getattr(settings, name.lower())
    text = str(refused.value)
    assert text.startswith(f"setting {name}: expected ")
    assert ", got " in text
    assert isinstance(refused.value, ValueError)


def test_a_refusal_keeps_its_cause() -> None:
    with pytest.raises(SettingError) as refused:
        _ = Settings({"DEFAULT_QUEUE": None}).default_queue
    assert refused.value.__cause__ is not None


def test_a_wrong_setting_does_not_disturb_the_others() -> None:
    settings = Settings({"WORKER_TTL": "soon"})
    assert settings.poison_crashes == 3


def test_values_in_the_namespace_win_over_defaults() -> None:
    namespace = {"KEEP_FAILED": 5, "OTHER": object()}
    assert Settings(namespace).keep_failed == 5
    assert namespace.keys() == {*TABLE, "OTHER"}


def test_assigning_on_the_module_is_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpqueue, "DEFAULT_QUEUE", "mail")
    assert rpqueue.app.settings.default_queue == "mail"
    monkeypatch.setattr(rpqueue, "DEFAULT_QUEUE", "post")
    assert rpqueue.app.settings.default_queue == "post"


def test_what_the_app_assigns_is_seen_on_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpqueue, "KEEP_FAILED", 1000)
    rpqueue.app.settings.keep_failed = 7
    assert rpqueue.KEEP_FAILED == 7


def test_mock_patch_changes_a_setting_and_puts_it_back() -> None:
    before = rpqueue.app.settings.key_prefix
    with mock.patch("rpqueue.KEY_PREFIX", "patched"), mock.patch.object(rpqueue, "KEEP_FAILED", 1):
        assert rpqueue.app.settings.key_prefix == "patched"
        assert rpqueue.app.keys.app.queues == b"patched:{app}:queues"
        assert rpqueue.app.settings.keep_failed == 1
    assert rpqueue.app.settings.key_prefix == before
    assert rpqueue.app.keys.prefix == before


def test_a_wrong_value_on_the_module_is_refused_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpqueue, "KEY_PREFIX", "")
    with pytest.raises(SettingError, match=r"^setting KEY_PREFIX: expected 1 to 512 bytes, got 0$"):
        _ = rpqueue.app.keys


def test_two_settings_share_nothing() -> None:
    one, other = Settings(), Settings()
    one.default_queue = "mail"
    one.registry["a"] = 1
    one.should_quit[0] = 1
    assert other.default_queue == "default"
    assert other.registry == {}
    assert other.should_quit[0] == 0


def test_a_setting_read_on_the_class_is_the_setting_itself() -> None:
    assert isinstance(Settings.worker_ttl, Setting)
    assert Settings.worker_ttl.name == "WORKER_TTL"


def test_a_snapshot_holds_the_plain_values_and_makes_equal_settings() -> None:
    settings = Settings()
    settings.default_queue = "mail"
    settings.worker_ttl = 3
    copied = Settings(pickle.loads(pickle.dumps(settings.snapshot())))
    assert copied.snapshot() == settings.snapshot()
    assert (copied.default_queue, copied.worker_ttl) == ("mail", 3.0)


def test_a_snapshot_leaves_out_what_belongs_to_its_process() -> None:
    own = {"SHOULD_QUIT", "REGISTRY", "AFTER_FORK", "EXECUTE_TASKS", "MIDDLEWARE", "CHILD_CONTEXT_MANAGERS"}
    assert TABLE.keys() - Settings().snapshot().keys() == own


def test_a_snapshot_does_not_change_with_its_settings() -> None:
    settings = Settings()
    snapshot = settings.snapshot()
    settings.default_queue = "mail"
    assert snapshot["DEFAULT_QUEUE"] == "default"


# ---- Flag


@pytest.mark.parametrize(("value", "kept"), [(1, 1), (0, 0), (True, 1), (False, 0), (300, 1), (-1, 1), ("x", 1)])
def test_a_flag_is_0_or_1_whatever_it_is_set_to(value: object, kept: int) -> None:
    flag = Flag()
    flag[0] = value
    assert flag[0] == kept
    assert bool(flag) is bool(kept)
    assert repr(flag) == f"[{kept}]"


@pytest.mark.parametrize("index", [1, -1])
def test_a_flag_has_one_place(index: int) -> None:
    with pytest.raises(IndexError, match=rf"a Flag has only \[0\], got \[{index}\]"):
        _ = Flag()[index]
    with pytest.raises(IndexError, match=rf"a Flag has only \[0\], got \[{index}\]"):
        Flag()[index] = 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_and_its_parent_share_a_flag(forks: list[int]) -> None:
    flag, seen = Flag(), Flag()
    (orders, order), (answers, answer) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.read(orders, 1)
            seen[0] = flag[0]  # set after the fork
            flag[0] = 0
            os.write(answer, b".")
        finally:
            os._exit(0)
    forks.append(child)
    os.close(answer)  # a child that dies ends the read below
    flag[0] = 1
    os.write(order, b".")
    assert os.read(answers, 1) == b"."
    for one in (orders, order, answers):
        os.close(one)
    assert (seen[0], flag[0]) == (1, 0)


def test_a_pickled_flag_is_a_new_one() -> None:
    flag = Flag()
    flag[0] = 1
    assert pickle.loads(pickle.dumps(flag))[0] == 0
