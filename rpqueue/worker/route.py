"""Route: which queues the next round visits, and where an idle worker waits."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Protocol

from ..keys import Keys, QueueKeys
from ..protocol.cycle import Round
from ..system import System

#: Queues with ready messages that one round visits; those after them come when these are empty.
ABREAST = 4


class Route(Protocol):
    """Which queues the next round visits."""

    indexed: bool  #: whether the round gets the app's index, and so may learn of any queue

    def queues(self, also: Iterable[str]) -> list[QueueKeys]:
        """The queues of the next round, highest priority first; *also* are visited in any case."""

    def learn(self, reply: Round) -> None:
        """What the last round said of the queues."""

    def woken(self, token: bytes | None) -> None:
        """A wake token says which queue got work; None: the wait ran out."""

    def wake_keys(self) -> Sequence[bytes]:
        """The lists on which an idle worker waits."""


class AllQueues:
    """Any queue that has something to do, found by the app's index."""

    indexed = True

    def __init__(self, system: System) -> None:
        self._system = system
        self._priorities: dict[str, float] = {}
        self._hints: list[str] = []

    def queues(self, also: Iterable[str]) -> list[QueueKeys]:
        """Those with ready messages by priority, equal ones in random order so that none starves."""
        names = dict.fromkeys([*self._priorities, *self._hints, *also])
        unknown = float("inf")
        order = sorted(names, key=lambda name: (self._priorities.get(name, unknown), random.random()))
        keys: Keys = self._system.keys
        return [keys.tasks(name) for name in order]

    def learn(self, reply: Round) -> None:
        """The index's first ready queues, and those that need a hand."""
        self._priorities = dict(reply.ready[:ABREAST])
        self._hints = reply.hands

    def woken(self, token: bytes | None) -> None:
        """The token is the queue's name."""
        if token:
            self._hints = [*self._hints, token.decode()]

    def wake_keys(self) -> Sequence[bytes]:
        """The app's wake list."""
        return (self._system.keys.app.wake,)


class NamedQueues:
    """Only these queues, all of them in every round."""

    indexed = True

    def __init__(self, system: System, names: Sequence[str]) -> None:
        self._system = system
        self.names = list(names)
        self.priorities: dict[str, float] = {}  #: set by whoever asks Redis for them

    def queues(self, also: Iterable[str]) -> list[QueueKeys]:
        """By priority, equal ones in random order."""
        unknown = float("inf")
        names = dict.fromkeys([*self.names, *also])
        order = sorted(names, key=lambda name: (self.priorities.get(name, unknown), random.random()))
        return [self._system.keys.tasks(name) for name in order]

    def learn(self, reply: Round) -> None:
        """Priorities, as far as the index names them."""
        self.priorities.update((name, priority) for name, priority in reply.ready if name in self.names)

    def woken(self, token: bytes | None) -> None:
        """All are visited anyway."""

    def wake_keys(self) -> Sequence[bytes]:
        """The wake list of each."""
        return [self._system.keys.tasks(name).wake for name in self.names]


def route_for(system: System, names: Sequence[str] | None) -> AllQueues | NamedQueues:
    """The route of a worker of *names*, or of all queues."""
    return AllQueues(system) if names is None else NamedQueues(system, names)
