"""What Redis holds after a drain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rpqueue import App, messages
from rpqueue.keys import QueueKeys

#: Places in which a message can be, each of them a key of the queue.
PLACES = ("ready", "scheduled", "leased", "parked", "dead", "lost", "failed")


@dataclass
class Remains:
    """One queue, as it was found."""

    name: str
    messages: dict[str, bytes]  #: id -> header and body
    places: dict[str, list[str]]  #: place -> ids, as often as they stand there
    errors: dict[str, str]  #: id -> reason
    others: dict[str, set[str]]  #: ``counts`` and ``errors`` -> ids
    stats: dict[str, int]
    schedules: dict[str, str] = field(default_factory=dict)
    is_indexed: bool | None = None  #: whether the index says that it has ready messages; None: it has no index

    @property
    def where(self) -> dict[str, list[str]]:
        """Id -> places."""
        found: dict[str, list[str]] = {}
        for place, ids in self.places.items():
            for message_id in ids:
                found.setdefault(message_id, []).append(place)
        return found

    def body(self, message_id: str) -> Any:
        """What a message's body says: ``[name, args, kwargs]`` of a call, or an item. None when there is no message."""
        message = self.messages.get(message_id)
        return None if message is None else messages.decode(message.partition(b"|")[2])


def read(client: Any, app: App, queues: Mapping[str, QueueKeys]) -> list[Remains]:
    """Read all of these queues."""
    if app.broker.is_cluster:  # there is no index that could be wrong
        ready = {name for name, keys in queues.items() if client.llen(keys.ready)}
    else:
        ready = {name.decode() for name in client.zrange(app.keys.app.ready_queues, 0, -1)}
    return [_read(client, keys, name in ready if b"{tasks:" in keys.stem else None) for name, keys in queues.items()]


def _read(client: Any, keys: QueueKeys, is_indexed: bool | None) -> Remains:
    places = {place: client.zrange(getattr(keys, place), 0, -1) for place in PLACES if place not in ("ready", "parked")}
    places["ready"], places["parked"] = client.lrange(keys.ready, 0, -1), client.hkeys(keys.parked)
    errors = {_text(one): _text(said).partition(" ")[0] for one, said in client.hgetall(keys.errors).items()}
    return Remains(
        keys.name,
        {_text(one): message for one, message in client.hgetall(keys.messages).items()},
        {place: [_text(one) for one in ids] for place, ids in places.items()},
        errors,
        {"counts": {_text(one) for one in client.hkeys(keys.counts)}, "errors": set(errors)},
        {_text(name): int(number) for name, number in client.hgetall(keys.stats).items()},
        {_text(name): _text(value) for name, value in client.hgetall(keys.schedules).items()},
        is_indexed,
    )


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
