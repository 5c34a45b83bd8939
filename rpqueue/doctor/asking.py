"""Asking a server about itself: INFO, CONFIG and ACL, each of which it may refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..broker import Broker
from ..errors import RedisError
from ..protocol.operation import as_is, command

Ask = Callable[..., Any]


@dataclass
class Node:
    """One server, as it tells of itself."""

    label: str
    ask: Ask
    info: dict[str, str] = field(default_factory=dict)
    refused: str = ""  #: why it did not tell

    def config(self, name: str) -> str | None:
        """A setting; None when the server does not tell, or does not know it."""
        try:
            reply = self.ask("CONFIG", "GET", name)
        except RedisError:
            return None
        flat = list(reply.items()) if isinstance(reply, dict) else list(zip(reply[::2], reply[1::2], strict=True))
        return next((_text(value) for _, value in flat), None)

    def number(self, name: str) -> int:
        """A number out of INFO; 0 when it is not there."""
        value = self.info.get(name, "")
        return int(value) if value.lstrip("-").isdigit() else 0


def nodes(broker: Broker) -> Iterator[Node]:
    """The server, or on Cluster each master."""
    if not broker.is_cluster:
        yield _asked(Node(broker.label, lambda *words: broker.execute(command(as_is, *words))))
        return
    client: Any = broker.client
    for place in client.get_primaries():

        def ask(*words: str, place: Any = place) -> Any:
            try:
                # Not by the client for all nodes: it makes something else of the cursor of a SCAN.
                return client.get_redis_connection(place).execute_command(*words)
            except Exception as error:
                raise RedisError(str(error)) from error

        yield _asked(Node(str(place.name), ask))


def _asked(node: Node) -> Node:
    try:
        node.info = info_of(node.ask("INFO"))
    except RedisError as error:
        node.refused = str(error)
    return node


def info_of(reply: Any) -> dict[str, str]:
    """INFO as text by name, from what Redis sends, or from what redis-py makes of it."""
    if isinstance(reply, dict):
        return {_text(name): _shown(value) for name, value in reply.items()}
    lines = (line.partition(":") for line in _text(reply).splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in lines if colon}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={one}" for key, one in value.items())
    return _text(value)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
