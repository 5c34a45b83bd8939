"""Hiding: calls to look at, without the arguments that `task` was told to redact."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .protocol.operation import Flow, as_is, command
from .redaction import Redaction, redaction_of
from .system import System


def redacting(system: System, names: Iterable[str]) -> Flow[dict[str, Redaction]]:
    """What is hidden of calls of these tasks: as this process declares them, else as a worker told of them."""
    found: dict[str, Redaction] = {}
    others = []
    for name in set(names):
        task = system.settings.registry.get(name)
        if task is None:
            others.append(name.encode("utf-8", "surrogatepass"))
        elif task.redaction is not None:
            found[name] = task.redaction
    if others:
        told = yield from command(as_is, "HMGET", system.keys.app.registry, *others)
        for wire, options in zip(others, told, strict=True):
            redaction = redaction_of(json.loads(options).get("redact"), "redact") if options else None
            if redaction is not None:
                found[wire.decode("utf-8", "surrogatepass")] = redaction
    return found


def redacted(system: System, rows: list[list[Any]]) -> Flow[list[list[Any]]]:
    """Rows ``[id, name, args, kwargs, ...]`` of calls to look at."""
    hidden = yield from redacting(system, [row[1] for row in rows if row[1]])
    for row in rows:
        if row[1] in hidden:
            row[2:4] = hidden[row[1]].arguments(row[2], row[3])
    return rows
