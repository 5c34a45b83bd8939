"""A walk over all keys of the prefix: are they ours, of the right type, and do those end that should?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from ..app import App
from ..errors import RedisError
from ..keys import LASTING_KINDS
from ..protocol import checkups
from .asking import Node
from .findings import Finding, ok, problem, some, warning

Kind = Literal["tasks", "data"]

#: What Redis says of each kind of key. keys.py has what they hold; a test compares the two.
QUEUE_TYPES = {
    "messages": "hash",
    "ready": "list",
    "scheduled": "zset",
    "leased": "zset",
    "counts": "hash",
    "dead": "zset",
    "lost": "zset",
    "failed": "zset",
    "errors": "hash",
    "parked": "hash",
    "stats": "hash",
    "schedules": "hash",
    "wake": "list",
    "memo": "string",
    "outcome": "string",
    "asked": "string",
    "progress": "string",
    "checkpoint": "string",
}
APP_TYPES = {
    "queues": "zset",
    "ready_queues": "zset",
    "due_queues": "zset",
    "data_queues": "zset",
    "wake": "list",
    "workers": "hash",
    "beats": "zset",
    "registry": "hash",
    "memo": "string",
    "janitor": "string",
}
LOCK_TYPES = {"lock": "string", "memo": "string"}

#: Keys that one call asks about.
_CHUNK = 500
_KEY = re.compile(rb"\{(?:(tasks|data|lock):([^{}]*)|(app))\}:([a-z_]+)(?::.*)?", re.DOTALL)
_TAG = re.compile(rb"^[^{]*\{([^}]+)\}")
_ESCAPED = re.compile(rb"%([0-9A-F]{2})")


@dataclass
class Walk:
    """What the keys are. Keys as text, for people."""

    count: int = 0
    queues: dict[Kind, set[bytes]] = field(default_factory=lambda: {"tasks": set(), "data": set()})
    unknown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  #: key and both types
    endless: Counter[str] = field(default_factory=Counter)  #: kind -> keys without the time to live that they need
    broken: set[tuple[Kind, bytes]] = field(default_factory=set)  #: queues with a key of a wrong type


def walk(app: App, nodes: list[Node]) -> Walk:
    """Go over all keys, a thousand at a time."""
    found = Walk()
    stem = app.keys.app.stem.partition(b"{")[0]
    pattern = re.sub(rb"[*?\[\]^\\]", rb"\\\g<0>", stem) + b"*"
    for node in nodes:
        cursor = "0"
        while True:
            position, keys = node.ask("SCAN", cursor, "MATCH", pattern, "COUNT", "1000")
            cursor = position.decode() if isinstance(position, bytes) else str(position)
            keys = [key if isinstance(key, bytes) else key.encode() for key in keys]
            for some_keys in _portions(keys, of_one_slot=app.broker.is_cluster):
                holdings = app.broker.execute(checkups.kinds(some_keys))
                for key, held in zip(some_keys, holdings, strict=True):
                    _see(found, key, key[len(stem) :], held)
            if cursor == "0":
                break
    return found


def _portions(keys: list[bytes], *, of_one_slot: bool) -> Iterator[list[bytes]]:
    """Keys as calls may ask about them."""
    together: dict[bytes, list[bytes]] = {}
    for key in keys:
        tag = _TAG.search(key) if of_one_slot else None
        together.setdefault((tag[1] if tag else key) if of_one_slot else b"", []).append(key)
    for some_keys in together.values():
        for at in range(0, len(some_keys), _CHUNK):
            yield some_keys[at : at + _CHUNK]


def _see(found: Walk, key: bytes, rest: bytes, held: checkups.Held) -> None:
    if held.type == "none":
        return
    found.count += 1
    shape = _KEY.fullmatch(rest)
    types = {b"lock": LOCK_TYPES, None: APP_TYPES}.get(shape[1], QUEUE_TYPES) if shape else {}
    kind = shape[4].decode() if shape else ""
    if shape is None or kind not in types:
        found.unknown.append(_shown(key))
        return
    name = _ESCAPED.sub(lambda escape: bytes([int(escape[1], 16)]), shape[2] or b"")
    of: Kind | None = "tasks" if shape[1] == b"tasks" else "data" if shape[1] == b"data" else None
    if of is not None and kind in LASTING_KINDS:
        found.queues[of].add(name)
    if held.type != types[kind]:
        found.wrong.append(f"{_shown(key)} is a {held.type}, not a {types[kind]}")
        if of is not None:
            found.broken.add((of, name))
    elif kind not in LASTING_KINDS and held.ttl == -1:
        found.endless[kind] += 1


def checks(found: Walk) -> Iterator[Finding]:
    """What is wrong with them."""
    if found.wrong:
        yield problem(
            "keys.types",
            some(found.wrong),
            "what rpqueue writes there",
            "somebody else uses this prefix, or has overwritten keys: rename or delete them, or use another --prefix",
        )
    if found.unknown:
        yield warning(
            "keys.unknown",
            f"{len(found.unknown):,} keys are none of this version's: {some(found.unknown)}",
            "no others under the prefix",
            "delete what nobody needs; a newer rpqueue may have written them",
        )
    if found.endless:
        shown = [f"{count:,} {kind}" for kind, count in found.endless.most_common()]
        yield warning(
            "keys.ttl",
            f"keys that never go away: {some(shown)}",
            "a time to live",
            "somebody has taken it from them (PERSIST, or a restore without it): give them one with PEXPIRE",
        )
    if not (found.wrong or found.unknown or found.endless):
        yield ok("keys", f"{found.count:,} keys, all of them ours and of the right type")


def refused(error: RedisError) -> Finding:
    """The user may not walk."""
    return warning(
        "keys",
        f"the keys cannot be looked at ({error})",
        "a user who may use SCAN",
        "run doctor as an admin: rpqueue acl admin",
    )


def _shown(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")
