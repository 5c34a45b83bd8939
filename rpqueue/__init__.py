"""
rpqueue: a priority task queue and SQS-style data queues on Redis or Valkey.

Everything here belongs to a default `App`. Names in capitals are settings: assign them, as in
``rpqueue.DEFAULT_QUEUE = "mail"``. `new_rpqueue` makes another module like this one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import Any

from . import errors
from .app import App
from .current import RunningTask, current_task, current_tasks
from .errors import RetryException, SoftTimeout, StopRetry, TaskTimeout
from .locks import NoLock
from .middleware import Middleware, TaskRunner
from .modules import legacy_name, new_rpqueue
from .periods import cron_expr, periodic
from .retry import RetryMethod, exponential, fixed, linear
from .running import CURRENT_TASK
from .settings import Settings
from .version import VERSION

log_handler = logging.getLogger("rpqueue")
log_handler.addHandler(logging.NullHandler())

DEFAULT_QUEUE: str | bytes
DEADLETTER_QUEUE: str | bytes
KEY_PREFIX: str | bytes
MINIMUM_DELAY: float
QUEUE_ITEMS_PER_PASS: int
REENTRY_RETRY: int
EXECUTE_TASKS: bool
KEEP_REDIS_TASK_REGISTRY: bool
REDIS_TASK_REGISTRY_AUTO_CLEAR: bool
LOG_LEVEL: str | int | None
SUCCESS_LOG_LEVEL: str | int
AFTER_FORK: Callable[[], object] | None
SHOULD_QUIT: MutableMapping[int, int]
REGISTRY: dict[str, Any]
WORKER_TTL: float
HEARTBEAT: float
POISON_CRASHES: int
KEEP_FAILED: int
KEEP_DEAD: int | None
KEEP_LOST: int | None
FAILED_TTL: float
DEAD_TTL: float
LOST_TTL: float
KEEP_EXECUTIONS: int
STORE_TRACEBACKS: bool
KEEP_CHECKPOINTS: float
DEFAULT_RETRY_METHOD: RetryMethod
MIDDLEWARE: list[Middleware]
CHILD_CONTEXT_MANAGERS: list[Callable[[], Any]]
MAX_MESSAGE_BYTES: int
CLAIM_AHEAD: float
ASYNC_SLOTS: int
REMEMBER_CANCELLED: float
DURABILITY: str | bool | None
DURABILITY_REPLICAS: int
DURABILITY_TIMEOUT: float
HEALTH_FILE: Any
SIGNING_KEYS: dict[str, Any] | str | None
SIGNING_REQUIRED: bool | None
ALWAYS_EAGER: bool
EAGER_PROPAGATES: bool

app = App(settings=Settings(globals()))

Task = app.Task
EnqueuedTask = app.EnqueuedTask
Data = app.Data
SimpleLock = app.SimpleLock

task = app.task
periodic_task = app.periodic_task
cron_task = app.cron_task
execute_tasks = app.execute_tasks
execute_task_threads = app.execute_task_threads
flush_tasks = app.flush_tasks
result = app.result
results = app.results
get_task = app.get_task
call_task = app.call_task
pipeline = app.pipeline
known_tasks = app.known_tasks
known_queues = app.known_queues
queue_sizes = app.queue_sizes
clear_queue = app.clear_queue
set_priority = app.set_priority
get_page = app.get_page
read_deadletter = app.read_deadletter
delete_item = app.delete_item
redrive = app.redrive
purge_errored_tasks = app.purge_errored_tasks
script_load = app.script_load
set_key_prefix = app.set_key_prefix
set_redis_connection = app.set_redis_connection
set_redis_connection_settings = app.set_redis_connection_settings
get_connection = app.get_connection

__all__ = [
    "CURRENT_TASK",
    "VERSION",
    "App",
    "Data",
    "EnqueuedTask",
    "Middleware",
    "NoLock",
    "RetryException",
    "RunningTask",
    "SimpleLock",
    "SoftTimeout",
    "StopRetry",
    "Task",
    "TaskRunner",
    "TaskTimeout",
    "call_task",
    "clear_queue",
    "cron_expr",
    "cron_task",
    "current_task",
    "current_tasks",
    "delete_item",
    "errors",
    "execute_task_threads",
    "execute_tasks",
    "exponential",
    "fixed",
    "flush_tasks",
    "get_connection",
    "get_page",
    "get_task",
    "known_queues",
    "known_tasks",
    "linear",
    "log_handler",
    "new_rpqueue",
    "periodic",
    "periodic_task",
    "pipeline",
    "purge_errored_tasks",
    "queue_sizes",
    "read_deadletter",
    "redrive",
    "result",
    "results",
    "script_load",
    "set_key_prefix",
    "set_priority",
    "set_redis_connection",
    "set_redis_connection_settings",
    "task",
]


def __getattr__(name: str) -> Any:
    return legacy_name(name)
