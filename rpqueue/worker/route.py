"""Route: which queues the next round visits, and where an idle worker waits."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from ..keys import QueueKeys
from ..protocol.cycle import Round
from ..system import System

#: Queues with ready messages that one round visits; those after them come when these are empty.
ABREAST = 4


class Route(Protocol):
    """Which queues the next round visits."""

    indexed: bool  #: whether the round gets the app's index
    yields: bool  #: whether queues that `queues` does not name may have to go first

    def queues(self, also: Iterable[str]) -> list[QueueKeys]:
        """The queues of the next round, equal ones in random order; *also* are visited in any case."""

    def learn(self, reply: Round) -> None:
        """What the last round said of the queues."""

    def likely(self) -> list[QueueKeys]:
        """The queues that an idle worker may soon be woken for."""

    def woken(self, token: bytes | None) -> None:
        """A wake token says which queue got work; None: the wait ran out."""

    def wake_keys(self) -> Sequence[bytes]:
        """The lists on which an idle worker waits."""


class AllQueues:
    """Any queue that has something to do, found by the app's index."""

    indexed = yields = True

    def __init__(self, system: System) -> None:
        self._system = system
        self._ready: list[tuple[str, float]] = []
        self._hints: list[str] = []
        self._lately: deque[str] = deque(maxlen=ABREAST)

    def queues(self, also: Iterable[str]) -> list[QueueKeys]:
        """The first of those with ready messages, and those that need a hand."""
        first = sorted(self._ready, key=lambda one: (one[1], random.random()))[:ABREAST]
        names = dict.fromkeys([*(name for name, _ in first), *self._hints, *also])
        return [self._system.keys.tasks(name) for name in names]

    def learn(self, reply: Round) -> None:
        """The index's first ready queues, and those that need a hand."""
        self._ready = reply.ready
        self._hints = reply.hands

    def likely(self) -> list[QueueKeys]:
        """Those that tokens named lately."""
        return [self._system.keys.tasks(name) for name in self._lately]

    def woken(self, token: bytes | None) -> None:
        """The token is the queue's name."""
        if token:
            name = token.decode()
            self._hints = [*self._hints, name]
            if name not in self._lately:
                self._lately.append(name)

    def wake_keys(self) -> Sequence[bytes]:
        """The app's wake list."""
        return (self._system.keys.app.wake,)


class NamedQueues:
    """Only these queues, all of them in every round."""

    indexed, yields = True, False

    def __init__(self, system: System, names: Sequence[str]) -> None:
        self._system = system
        self.names = list(names)

    def queues(self, also: Iterable[str]) -> list[QueueKeys]:
        """All of them."""
        names = dict.fromkeys([*random.sample(self.names, len(self.names)), *also])
        return [self._system.keys.tasks(name) for name in names]

    def learn(self, reply: Round) -> None:
        """Nothing: the script knows the priorities."""

    def likely(self) -> list[QueueKeys]:
        """All of them."""
        return self.queues(())

    def woken(self, token: bytes | None) -> None:
        """All are visited anyway."""

    def wake_keys(self) -> Sequence[bytes]:
        """The wake list of each."""
        return [self._system.keys.tasks(name).wake for name in self.names]


def route_for(system: System, names: Sequence[str] | None) -> AllQueues | NamedQueues:
    """The route of a worker of *names*, or of all queues."""
    return AllQueues(system) if names is None else NamedQueues(system, names)
