"""
Doctor: checks a running system, says what to do, and mends what can be mended without losing or repeating anything.

It asks in small pieces, so it may be run on a busy system.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import RedisError
from ..inspection import Inspection
from ..keys import text_of
from . import access, bookkeeping, keyspace, server, traffic
from .asking import Node, nodes
from .bookkeeping import Bookkeeper, Books
from .findings import Finding, Level, worst
from .keyspace import Kind, Walk

if TYPE_CHECKING:
    from ..app import App

__all__ = ["Doctor", "Finding", "Level", "worst"]

#: Seconds for which the first ready message of a queue may have waited.
MAX_AGE = 300.0


class Doctor:
    """
    Examines one App.

    Args:
        app: whose Redis, prefix and client.
        max_age: seconds for which the first ready message of a queue may have waited.
        quick: whether to leave out what takes time with many keys and messages.
        mends: whether to mend what can be mended.
    """

    def __init__(self, app: App, *, max_age: float = MAX_AGE, quick: bool = False, mends: bool = False) -> None:
        self.app, self.max_age, self.quick, self.mends = app, max_age, quick, mends

    def examine(self) -> list[Finding]:
        """All findings, in the order of the checks. RedisError when Redis is not there."""
        return list(self.findings())

    def findings(self) -> Iterator[Finding]:
        """One finding after the other, as they are made."""
        app = self.app
        found = list(nodes(app.broker))
        yield from self.findings_of_access(found)
        for node in found:
            yield from server.checks(node)
        walk = Walk()
        if not self.quick:
            yield from self._walk(found, walk)
        seen = traffic.look(Inspection(app))
        books = list(self._books(walk, seen))
        seen.censuses = {(one.kind, one.name): one.census for one in books}
        yield from traffic.checks(seen, self.max_age)
        told = [one for some in books for one in bookkeeping.checks(some, mends=self.mends, quick=self.quick)]
        yield from told or [bookkeeping.all_well(len(books), sum(some.census.messages for some in books))]

    def findings_of_access(self, found: list[Node] | None = None) -> Iterator[Finding]:
        """Those about the client, the clock, and what the user may do."""
        broker = self.app.broker
        yield from access.client_checks(broker)
        yield from access.clock_checks(broker)
        for node in nodes(broker) if found is None else found:
            yield from access.acl_checks(node, self.app.settings.key_prefix)

    def _walk(self, found: list[Node], walk: Walk) -> Iterator[Finding]:
        try:
            seen = keyspace.walk(self.app, found)
        except RedisError as error:
            yield keyspace.refused(error)
            return
        walk.queues, walk.broken = seen.queues, seen.broken
        yield from keyspace.checks(seen)

    def _books(self, walk: Walk, seen: traffic.Traffic) -> Iterator[Books]:
        keeper = Bookkeeper(self.app, mends=self.mends, quick=self.quick)
        names: dict[tuple[Kind, str], None] = {(queue.kind, queue.name): None for queue in seen.queues}
        for kind, found in walk.queues.items():
            names.update({(kind, text_of(name)): None for name in sorted(found)})
        broken = {(kind, text_of(name)) for kind, name in walk.broken}
        for kind, name in names:
            if (kind, name) not in broken:
                yield keeper.check(kind, name)
