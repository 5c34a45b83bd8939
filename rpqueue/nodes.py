"""
Nodes: something for each node of a Cluster, such as the connections of its own.

The client of redis-py knows which node has which slot. It learns of changes when a node redirects one of its calls.
That a node is gone it learns by `PerNode.renew`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class PerNode(Generic[T]):
    """
    One thing for each node that was asked for. Threads may share them.

    Args:
        client: gives redis-py's client of the Cluster.
        make: makes the thing for a node, from what gives connections to it.
    """

    def __init__(self, client: Callable[[], Any], make: Callable[[Callable[[], Any]], T]) -> None:
        self._client = client
        self._make = make
        self._made: dict[str, T] = {}
        self._making = threading.Lock()

    def at(self, key: bytes) -> T | None:
        """For the master that has this key or channel; None when nobody is known to have it."""
        client = self._client()
        try:
            node = client.get_node_from_key(key)
        except Exception:  # a slot that no node covers has an exception of its own in each version of redis-py
            return None
        return None if node is None else self._of(client, node)

    def at_masters(self) -> list[T]:
        """For every master."""
        client = self._client()
        return [self._of(client, node) for node in client.get_primaries()]

    def renew(self) -> None:
        """Learn anew which nodes there are, because one did not answer. When nobody tells, all stays as it was."""
        with suppress(Exception):
            self._client().nodes_manager.initialize()

    def all(self) -> list[T]:
        """Those that were made."""
        return list(self._made.values())

    def _of(self, client: Any, node: Any) -> T:
        made = self._made.get(node.name)
        if made is None:
            pool = client.get_redis_connection(node).connection_pool
            with self._making:
                made = self._made[node.name] = self._made.get(node.name) or self._make(pool.make_connection)
        return made
