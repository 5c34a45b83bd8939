"""Service: a background duty of a worker, one tick at a time."""

from __future__ import annotations

import logging
import time
from typing import Protocol

from ..errors import RedisDenied, RedisError, RedisUnsuitable

log = logging.getLogger("rpqueue.worker")


class Service(Protocol):
    """One duty. Tests call `tick` themselves."""

    def tick(self) -> float:
        """Do one round of the duty; returns the seconds until the next one is worth it."""


class Duties:
    """
    Some services on one thread, each ticked when it asked to be.

    When Redis is away for one of them, it is away for all: they wait together, and not one after the other.

    Args:
        services: ticked in this order when due at the same time.
    """

    #: Seconds after which services try again when one could not reach Redis; after which one that failed does; and one
    #: that Redis refused.
    AWAY, PAUSE, REFUSED = 0.3, 1.0, 3.0

    def __init__(self, *services: Service) -> None:
        self.is_away = False  #: Redis did not answer the last service
        self._next = dict.fromkeys(services, 0.0)

    def run_due(self) -> float:
        """Tick what is due; returns the seconds until the next one is."""
        for service in self._next:
            if time.monotonic() >= self._next[service]:
                self._next[service] = time.monotonic() + self._tick(service)
        return max(min(self._next.values(), default=time.monotonic() + 1) - time.monotonic(), 0.0)

    def hasten(self, service: Service) -> None:
        """Make one service due."""
        self._next[service] = 0.0

    def _tick(self, service: Service) -> float:
        try:
            pause = service.tick()
            self.is_away = False
            return pause
        except (RedisUnsuitable, RedisDenied) as error:
            # Of this duty's keys and commands alone; the others can go on.
            log.error("a duty cannot be done: %s", error, extra={"duty": type(service).__name__})
            return self.REFUSED
        except RedisError as error:
            if not self.is_away:
                log.warning("a duty could not reach Redis: %s", error, extra={"duty": type(service).__name__})
            self.is_away = True
            again_at = time.monotonic() + self.AWAY
            self._next.update({service: max(due_at, again_at) for service, due_at in self._next.items()})
            return self.AWAY
        except Exception:
            log.exception("a duty failed; it will be tried again", extra={"duty": type(service).__name__})
        return self.PAUSE
