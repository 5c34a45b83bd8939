"""Route: which queues the next round visits, and how an idle worker waits."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from ..broker import Broker
from ..keys import QueueKeys, text_of
from ..protocol.cycle import Round
from ..protocol.operation import Operation, as_is, command
from ..system import System
from .cluster_route import ClusterQueues

#: Queues with ready messages that one round visits; those after them come when these are empty.
ABREAST = 4


class Route(Protocol):
    """Which queues the next round visits."""

    indexed: bool  #: whether the round gets the app's index
    yields: bool  #: whether queues that `queues` does not name may have to go first
    #: Monotonic instants at which Redis last answered a question of the route's own, and did not; 0: it asks none.
    answered_at: float
    away_at: float

    def queues(self, also: Iterable[str], claiming: bool) -> list[QueueKeys]:
        """
        The queues of the next round, equal ones in random order.

        Args:
            also: queues that have acks. All are among the queues; on Cluster, where a round visits one at most, any.
            claiming: whether the round is to claim something.
        """

    def learn(self, visited: Sequence[QueueKeys], reply: Round, arrived: float) -> float:
        """
        What the last round said of the queues that it *visited*.

        Returns:
            The monotonic instant at which one of the queues needs a hand; 0: none does. *arrived* is that of the reply.
        """

    @property
    def is_done(self) -> bool:
        """Whether the last round saw to all queues that may have something."""

    @property
    def has_unseen(self) -> bool:
        """Whether a round that claims nothing should look at queues, to learn when they need a hand."""

    def likely(self) -> list[QueueKeys]:
        """The queues that an idle worker may soon be woken for."""

    def woken(self, token: bytes | None) -> None:
        """A wake token says which queue got work; None: the wait ran out."""

    def wait(self, broker: Broker, timeout: float) -> bytes | None:
        """Block until there may be work; returns the wake token. None: there was none for *timeout* seconds."""

    def farewell(self) -> Sequence[Operation[object]]:
        """What to say when the worker waits no more, so that no token is lost with it."""


class ByLists:
    """What the routes have in common that know of work by the index, and wait on lists for tokens."""

    indexed = is_done = True
    answered_at = away_at = 0.0
    has_unseen = False

    def wake_keys(self) -> list[bytes]:
        """The lists on which an idle worker waits."""
        raise NotImplementedError

    def wait(self, broker: Broker, timeout: float) -> bytes | None:
        """On the wake lists."""
        return broker.wait(self.wake_keys(), timeout)

    def farewell(self) -> list[Operation[object]]:
        """A token on each of them."""
        return [
            command(as_is, *words)
            for key in self.wake_keys()
            for words in (("RPUSH", key, b""), ("PEXPIRE", key, 60_000))
        ]


class AllQueues(ByLists):
    """Any queue that has something to do, found by the app's index."""

    yields = True

    def __init__(self, system: System) -> None:
        self._system = system
        self._ready: list[tuple[str, float]] = []
        self._hints: list[str] = []
        self._lately: deque[str] = deque(maxlen=ABREAST)

    def queues(self, also: Iterable[str], claiming: bool) -> list[QueueKeys]:
        """The first of those with ready messages, and those that need a hand."""
        first = sorted(self._ready, key=lambda one: (one[1], random.random()))[:ABREAST]
        names = dict.fromkeys([*(name for name, _ in first), *self._hints, *also])
        return [self._system.keys.tasks(name) for name in names]

    def learn(self, visited: Sequence[QueueKeys], reply: Round, arrived: float) -> float:
        """The index's first ready queues, and those that need a hand."""
        self._ready = reply.ready
        self._hints = reply.hands
        return _due(reply, arrived)

    def likely(self) -> list[QueueKeys]:
        """Those that tokens named lately."""
        return [self._system.keys.tasks(name) for name in self._lately]

    def woken(self, token: bytes | None) -> None:
        """The token is the queue's name."""
        if token:
            name = text_of(token)
            self._hints = [*self._hints, name]
            if name not in self._lately:
                self._lately.append(name)

    def wake_keys(self) -> list[bytes]:
        """The app's wake list."""
        return [self._system.keys.app.wake]


class NamedQueues(ByLists):
    """Only these queues, all of them in every round."""

    yields = False

    def __init__(self, system: System, names: Sequence[str]) -> None:
        self._system = system
        self.names = list(names)

    def queues(self, also: Iterable[str], claiming: bool) -> list[QueueKeys]:
        """All of them."""
        names = dict.fromkeys([*random.sample(self.names, len(self.names)), *also])
        return [self._system.keys.tasks(name) for name in names]

    def learn(self, visited: Sequence[QueueKeys], reply: Round, arrived: float) -> float:
        """No priorities: the script knows them."""
        return _due(reply, arrived)

    def likely(self) -> list[QueueKeys]:
        """All of them."""
        return self.queues((), True)

    def woken(self, token: bytes | None) -> None:
        """All are visited anyway."""

    def wake_keys(self) -> list[bytes]:
        """The wake list of each."""
        return [self._system.keys.tasks(name).wake for name in self.names]


def _due(reply: Round, arrived: float) -> float:
    return arrived + reply.due - reply.now if reply.due else 0.0


def route_for(system: System, broker: Broker, names: Sequence[str] | None) -> Route:
    """The route of a worker of *names*, or of all queues, whose calls go through *broker*."""
    if broker.is_cluster:
        return ClusterQueues(system, broker, names)
    return AllQueues(system) if names is None else NamedQueues(system, names)
