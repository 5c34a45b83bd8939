"""Announcer: tells Redis's registry which tasks this process knows, so that others can call them by name."""

from __future__ import annotations

import logging
import time

from ..broker import Broker
from ..calling import FORGET_AFTER, read_registry, told
from ..protocol.operation import as_is, command
from ..protocol.workers import redis_time
from ..system import System

log = logging.getLogger("rpqueue.worker")

#: Seconds between two looks for new tasks, and seconds after which all are told again so that they stay known.
LOOK_AGAIN, TELL_AGAIN = 5.0, 86_400.0
#: Seconds between two questions whether Redis still knows them. An idle worker sends at most a command a second in all.
ASK_AGAIN = 15.0


class Announcer:
    """
    Tells what is new, and all of it once a day, or when Redis has lost it.

    Args:
        system: registry, settings and keys.
        broker: carries what is said to Redis.
    """

    def __init__(self, system: System, broker: Broker) -> None:
        self.system = system
        self.broker = broker
        self._told: dict[str, float] = {}  #: task name -> monotonic instant at which it was told
        self._ask_at = 0.0  #: monotonic instant of the next question

    def tick(self) -> float:
        """Tell what is due to be told."""
        instant = time.monotonic()
        if instant >= self._ask_at and self._is_forgotten():
            log.warning("Redis has lost the registry of tasks; telling it anew")
            self._told.clear()
        due = {
            name: task
            for name, task in list(self.system.settings.registry.items())
            if task.function is not None and instant - self._told.get(name, float("-inf")) > TELL_AGAIN
        }
        if due:
            now = self.broker.execute(redis_time())
            words = [word for name, task in due.items() for word in (name, told(task, now))]
            self.broker.execute(command(as_is, "HSET", self.system.keys.app.registry, *words))
            if not self._told:
                self._forget(now)
            self._told.update(dict.fromkeys(due, instant))
        return LOOK_AGAIN

    def _is_forgotten(self) -> bool:
        """Whether a task that was told of, and is still here, is not in the registry any more."""
        self._ask_at = time.monotonic() + ASK_AGAIN
        told = next((name for name in self._told if name in self.system.settings.registry), None)
        return told is not None and not self.broker.execute(
            command(as_is, "HEXISTS", self.system.keys.app.registry, told)
        )

    def _forget(self, now: float) -> None:
        settings, registry = self.system.settings, self.system.keys.app.registry
        if settings.keep_redis_task_registry or not settings.redis_task_registry_auto_clear:
            return
        entries = self.broker.execute(command(read_registry, "HGETALL", registry))
        old = [name for name, entry in entries.items() if now - entry.get("told_at", 0) > FORGET_AFTER]
        if old:
            self.broker.execute(command(as_is, "HDEL", registry, *old))
