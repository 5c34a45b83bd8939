"""
ClusterQueues: the route of a worker on Cluster.

Queues lie on several nodes there, and no script that changes one can reach an index of all. So each worker keeps an
idea of its own of which queues have work. It learns from news, which scripts publish and every node passes on; from its
own rounds, each of which visits one queue; and, since news can be missed, from looking the queues over now and then.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from ..broker import Broker
from ..errors import RedisError, RedisUnsuitable
from ..keys import QueueKeys, decoded_name, text_of, wire
from ..listeners import Listener, hear_any
from ..protocol.cycle import Round
from ..protocol.operation import Operation, as_is, command
from ..system import System

log = logging.getLogger("rpqueue.worker")

#: Seconds between two looks at the queues, and most queues of one look; those after them have their turn at the next.
LOOK_EVERY, LOOKED_AT = 5.0, 500
#: Seconds after which a look that failed is tried again.
LOOK_AGAIN = 1.0


class ClusterQueues:
    """
    One queue at a time, the most urgent of those that should have work.

    Args:
        system: keys, and the tasks whose queues are known from the start.
        broker: of the worker.
        names: only these queues; None: all.
    """

    indexed = yields = False

    def __init__(self, system: System, broker: Broker, names: Sequence[str] | None) -> None:
        self._system = system
        self._broker = broker
        self._names = None if names is None else list(names)
        first = self._names or [task.queue for task in system.settings.registry.values()]
        self._priorities: dict[str, float] = dict.fromkeys(first, float("inf"))
        self._ready: set[str] = set()  #: queues that had more when they were last visited
        self._hints = set(first)  #: queues to visit, for they may have something
        self._due: dict[str, float] = {}  #: monotonic instants at which queues need a hand
        self._looked_at = self.answered_at = self.away_at = 0.0
        self._next_look = 0  #: place of the queue at which the next look begins
        self._listeners: list[Listener] = []  #: one at each node: what a script publishes is heard at its own at once
        self._listened_at = -LOOK_EVERY  #: monotonic instant at which these were made, or tried to
        self._listening = threading.Lock()  # who has it may use them

    def queues(self, also: Iterable[str], claiming: bool) -> list[QueueKeys]:
        """The most urgent queue for a round that claims; else one that has acks, needs a hand, or was in the news."""
        self._catch_up()
        name = self._first() if claiming else None
        name = name or next(iter(also), None) or self._first_due() or self._hinted()
        return [] if name is None else [self._system.keys.tasks(name)]

    def learn(self, visited: Sequence[QueueKeys], reply: Round, arrived: float) -> float:
        """Whether the queue that was visited has more, and when it needs a hand. Returns when the first of all does."""
        [queue] = visited
        self._hints.discard(queue.name)
        (self._ready.add if reply.ready else self._ready.discard)(queue.name)
        self._due.pop(queue.name, None)
        if reply.due:
            self._due[queue.name] = arrived + reply.due - reply.now
        return min(self._due.values(), default=0.0)

    @property
    def _unseen(self) -> set[str]:
        """Queues of which nothing is known but that they were in the news; one may have to be promoted to soon."""
        return self._hints - self._ready

    @property
    def has_unseen(self) -> bool:
        """Whether there are queues to look at, also for a worker whose slots are busy."""
        return bool(self._unseen)

    @property
    def is_done(self) -> bool:
        """Whether no queue is left to visit that may have something."""
        return not self._hints and self._first_due() is None

    def likely(self) -> list[QueueKeys]:
        """None: no round is made ready where there are no lines to send it over."""
        return []

    def wait(self, broker: Broker, timeout: float) -> bytes | None:
        """Listen until there is news of work, and nobody else has gone for it."""
        ends_at = time.monotonic() + timeout
        with self._listening:
            try:
                if not self._listeners:
                    self._listen()
                    return b""  # what was said before was not heard
                while (left := ends_at - time.monotonic()) > 0:
                    news = hear_any(self._listeners, left)
                    if news is not None and (name := self._mine(news.text)) and self._takes_token(name):
                        return wire(name)
                    if time.monotonic() - self._looked_at > LOOK_EVERY:
                        return b""
            except Exception as error:
                self._hang_up()
                self._broker.renew_listeners()
                raise self._broker.failure(error) from error
        return None

    def woken(self, token: bytes | None) -> None:
        """The token is a queue's name; an empty one says to look at them all."""
        if token:
            self._hints.add(text_of(token))
        elif token is not None:
            self._looked_at = 0.0

    def farewell(self) -> list[Operation[object]]:
        """Tokens for what others have to see to now."""
        operations = []
        for name in self._hints | self._ready:
            key = self._system.keys.tasks(name).wake
            operations += [command(as_is, "RPUSH", key, b""), command(as_is, "PEXPIRE", key, 60_000)]
            operations.append(command(as_is, "PUBLISH", self._system.keys.app.news, self._system.keys.tag_of(name)))
        return operations

    # How it learns.

    def _first(self) -> str | None:
        """The most urgent queue that has work, or is due; of equal ones any."""
        now = time.monotonic()
        some = list(self._ready | self._hints) + [name for name, instant in list(self._due.items()) if instant <= now]
        return min(some, key=lambda name: (self._priorities.get(name, float("inf")), random.random()), default=None)

    def _first_due(self) -> str | None:
        now = time.monotonic()
        return next((name for name, instant in list(self._due.items()) if instant <= now), None)

    def _hinted(self) -> str | None:
        """One that was in the news; first those of which nothing else is known."""
        some = self._unseen or self._hints
        return random.choice(list(some)) if some else None

    def _mine(self, tag: bytes) -> str | None:
        """The name of a queue in the news, if it is one of this worker's."""
        name = decoded_name(tag)
        if not self._is_mine(name):
            return None
        if name not in self._priorities:
            score = None
            with suppress(RedisUnsuitable):  # somebody has put something else in place of the list
                score = self._broker.execute(command(as_is, "ZSCORE", self._system.keys.app.queues, wire(name)))
            self._priorities[name] = float("inf" if score is None else score)
        return name

    def _takes_token(self, name: str) -> bool:
        return self._broker.execute(command(as_is, "LPOP", self._system.keys.tasks(name).wake)) is not None

    def _catch_up(self) -> None:
        """Hear what was said meanwhile, unless a slot waits for news just now, and look at the queues if it is time."""
        if self._listening.acquire(blocking=False):
            try:
                if not self._listeners and time.monotonic() - self._listened_at > LOOK_EVERY:
                    self._listen()
                    self._looked_at = 0.0  # what was said before was not heard
                while (news := hear_any(self._listeners, 0)) is not None:
                    name = self._mine(news.text)
                    if name is not None:
                        self._hints.add(name)
            except Exception as error:
                log.debug("the news broke off; listening anew: %s", error)
                self._hang_up()
                self._broker.renew_listeners()
            finally:
                self._listening.release()
        if not self._looked_at or time.monotonic() - self._looked_at > LOOK_EVERY:
            self._look()

    def _look(self) -> None:
        """Ask which queues there are, and of some of them whether they have work."""
        self._looked_at = time.monotonic()
        try:
            with suppress(RedisUnsuitable):
                words = ("ZRANGE", self._system.keys.app.queues, 0, -1, "WITHSCORES")
                listed = _scores(self._broker.execute(command(as_is, *words)))
                self._priorities |= {name: priority for name, priority in listed if self._is_mine(name)}
            names = list(self._priorities)
            begin = self._next_look % len(names) if names else 0
            some = (names[begin:] + names[:begin])[:LOOKED_AT]
            self._next_look = begin + len(some)
            keys = [self._system.keys.tasks(name) for name in some]
            questions = [("EXISTS", one.ready) for one in keys] + [
                ("EXISTS", one.scheduled, one.leased) for one in keys
            ]
            answers = self._broker.ask(questions)
        except RedisError as error:
            log.debug("the queues could not be looked at: %s", error)
            self._looked_at += LOOK_AGAIN - LOOK_EVERY
            self.away_at = time.monotonic()
            return
        self.answered_at = time.monotonic()
        for name, is_ready, is_busy in zip(some, answers[: len(some)], answers[len(some) :], strict=True):
            if is_ready or (is_busy and name not in self._due):
                self._hints.add(name)

    def _is_mine(self, name: str) -> bool:
        return self._names is None or name in self._names

    def _listen(self) -> None:
        self._listened_at = time.monotonic()
        for listeners in self._broker.listeners_everywhere():
            listener = listeners.make()
            self._listeners.append(listener)
            listener.subscribe([self._system.keys.app.news])

    def _hang_up(self) -> None:
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            with suppress(Exception):  # it is broken already
                listener.close()


def _scores(reply: list[Any]) -> list[tuple[str, float]]:
    """Names and scores of a ZRANGE, told one after the other (RESP2) or in pairs (RESP3)."""
    in_pairs = bool(reply) and isinstance(reply[0], list)
    pairs = reply if in_pairs else zip(reply[::2], reply[1::2], strict=True)
    return [(text_of(name), float(score)) for name, score in pairs]
