"""Durability: how safe a message has to be before the call that enqueues it returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from .errors import RefusedInput

#: "replicated": replicas have it; "fsync": it is on the master's disk. False: Redis has answered, which is all that is
#: waited for otherwise, too. None: what is said elsewhere.
Durability = Literal["replicated", "fsync", False]

#: The levels by name.
LEVELS = ("replicated", "fsync")


def durability_of(value: Any, what: str) -> Durability | None:
    """*value* as a Durability, or None. RefusedInput when it is neither."""
    if value is None or value is False or (isinstance(value, str) and value in LEVELS):
        return value  # type: ignore[return-value]
    raise RefusedInput(f"{what}: expected 'replicated', 'fsync', False or None, got {value!r}")


class Proof(NamedTuple):
    """What Redis has to confirm behind an enqueue."""

    replicas: int  #: that have it; 0: that is not asked
    is_synced: bool  #: whether it is on the master's disk; False: that is not asked
    timeout: float  #: seconds for which the confirmation is waited for

    def words(self) -> list[tuple[str | int, ...]]:
        """The commands that wait for it. They speak of all that was written before on their connection."""
        milliseconds = max(int(self.timeout * 1000), 1)
        waits: list[tuple[str | int, ...]] = [("WAIT", self.replicas, milliseconds)] if self.replicas else []
        return [*waits, ("WAITAOF", 1, 0, milliseconds)] if self.is_synced else waits

    def shortfall(self, answers: Sequence[Any]) -> str:
        """What the answers to `words` leave unconfirmed, and why; empty when all is well."""
        missing = []
        for (name, *_), answer in zip(self.words(), answers, strict=True):
            if isinstance(answer, Exception):
                missing.append(f"{name}: {answer}")
            elif name == "WAIT" and answer < self.replicas:
                missing.append(f"{answer} of {self.replicas} replicas had it after {self.timeout:g} s")
            elif name == "WAITAOF" and answer[0] < 1:
                missing.append(f"it was not on the disk after {self.timeout:g} s")
        return "; ".join(missing)


def stronger(one: Proof | None, other: Proof | None) -> Proof | None:
    """What proves both."""
    if one is None or other is None:
        return one or other
    return Proof(max(one.replicas, other.replicas), one.is_synced or other.is_synced, max(one.timeout, other.timeout))
