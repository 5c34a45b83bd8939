"""Numbers to be reached."""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """One number."""

    name: str
    measured: str
    goal: str
    holds: bool


def measure(seed: int, flavour: str | None) -> list[Figure]:
    return []
