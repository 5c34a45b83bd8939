"""Selecting messages by the name of their task, or by what went wrong, without reading whole bodies."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from .errors import WrongType
from .protocol.moves import Whereabouts

#: Bytes of a message that surely hold the name of its task: that has 512 bytes at most, and JSON may take six for one.
NAME_BYTES = 4096

_NAME = re.compile(rb'[^|]*\|(?:~[^~]*~[^~]*~)?\s*\[\s*("(?:[^"\\]|\\.)*")')


def name_in(message: bytes) -> str:
    """The name of a task, from the beginning of its message; empty when it is none. Signatures are not checked."""
    found = _NAME.match(message)
    if found is None:
        return ""
    try:
        return str(json.loads(found[1]))
    except ValueError:
        return ""


@dataclass(frozen=True)
class Selection:
    """Which messages: those of one task, and those that one error was the last of; None: any."""

    name: str | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        for what in ("name", "error"):
            said = getattr(self, what)
            if said is not None and not isinstance(said, str):
                raise WrongType(f"{what}: expected str, got {said!r}")

    def __bool__(self) -> bool:
        return self.name is not None or self.error is not None

    @property
    def records(self) -> int:
        """Records of failed runs that have to be read of each."""
        return 0 if self.error is None else 1

    def takes(self, where: Whereabouts) -> bool:
        """Whether a message is one of them. The first NAME_BYTES of it are enough."""
        if self.name is not None and name_in(where.message) != self.name:
            return False
        return self.error is None or self.error == where.reason or self.error in _said(where.error)


def _said(record: bytes) -> str:
    """``Exception: message`` of a record; one that cannot be read says what it holds."""
    try:
        error = json.loads(record)
        return f"{error.get('exception', '')}: {error.get('message', '')}"
    except (ValueError, AttributeError):
        return record.decode("utf-8", "backslashreplace")
