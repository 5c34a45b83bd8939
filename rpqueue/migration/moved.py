"""What a migration has moved, and what had to stay."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["tasks", "data"]

#: Entries of one queue that the report names when they had to stay.
MOST_NAMED = 1000


@dataclass(frozen=True)
class Left:
    """Something that stays where it is."""

    key: str
    entry: str  #: id in it; empty for the key itself
    why: str


@dataclass
class Moved:
    """What became of one queue's messages. Of a dry run: what would."""

    queue: str
    kind: Kind
    ready: int = 0
    scheduled: int = 0
    leased: int = 0
    dead: int = 0
    recurring: list[str] = field(default_factory=list)  #: tasks whose next firing was taken over
    known: int = 0  #: were in the queue already, the same call under the same id
    empty: int = 0  #: ids without message, of cancelled calls for the most part
    left: int = 0  #: stay where they are
    why: list[Left] = field(default_factory=list)  #: the first MOST_NAMED of these

    @property
    def moved(self) -> int:
        """Messages that are here now."""
        return self.ready + self.scheduled + self.leased + self.dead

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.moved or self.recurring or self.known or self.empty or self.left)


def shown(key: bytes) -> str:
    """A key or id, for people."""
    text = key.decode("utf-8", "backslashreplace")
    return text if len(text) <= 200 else text[:197] + "..."


def as_plain(moved: Moved) -> dict[str, Any]:
    """For JSON."""
    return {**json.loads(json.dumps(moved, default=lambda one: vars(one))), "moved": moved.moved}
