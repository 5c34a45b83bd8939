"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad it is."""

    OK = 0  #: as it should be
    NOTE = 1  #: worth knowing
    WARNING = 2  #: works, and may not for long, or may lose something on a bad day
    PROBLEM = 3  #: does not work, or loses messages

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str  #: which, in dotted words that stay the same
    level: Level
    seen: str
    expected: str = ""  #: empty when all is well
    advice: str = ""  #: what to do about it


def ok(check: str, seen: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, seen)


def note(check: str, seen: str, expected: str = "", advice: str = "") -> Finding:
    """Worth knowing."""
    return Finding(check, Level.NOTE, seen, expected, advice)


def warning(check: str, seen: str, expected: str, advice: str) -> Finding:
    """Works, and may not for long."""
    return Finding(check, Level.WARNING, seen, expected, advice)


def problem(check: str, seen: str, expected: str, advice: str) -> Finding:
    """Does not work, or loses messages."""
    return Finding(check, Level.PROBLEM, seen, expected, advice)


def worst(findings: list[Finding]) -> Level:
    """The highest level among them."""
    return max((found.level for found in findings), default=Level.OK)


def some(names: list[str], most: int = 5) -> str:
    """A few names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
