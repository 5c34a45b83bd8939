"""
Finds, reads and names the Lua scripts.

Each file in ``lua/`` is one script and begins with a header that is its contract: a verb phrase, the KEYS and ARGV by
number, name, type and meaning, what it returns, and its cost. ``-- Needs: a, b`` puts the local functions of
``lua/parts/a.lua`` and ``b.lua`` in front. ``KEYS[1..12] queue`` stands for the block that `QueueKeys.block` gives.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources
from typing import NamedTuple

_NEEDS = re.compile(r"^-- Needs: (.+)$", re.MULTILINE)
_SLOT = re.compile(r"^-- (KEYS|ARGV)\[(\d+)(?:\.\.(\d+|n))?\]\s+(\S+)", re.MULTILINE)


class Script(NamedTuple):
    """One Lua script, ready to be sent."""

    name: str
    source: str
    sha: str
    keys: tuple[str, ...]  #: names of its KEYS slots, from the header
    args: tuple[str, ...]  #: names of its ARGV slots
    memo_at: int | None  #: index in KEYS of the memo of the caller's session; None: it needs none


def _read(path: str) -> str:
    return resources.files(__package__).joinpath("lua", *path.split("/")).read_text("utf-8")


def _slots(source: str, kind: str) -> tuple[str, ...]:
    return tuple(found[3] for found in _SLOT.findall(source) if found[0] == kind)


def _memo_at(source: str) -> int | None:
    return next(
        (int(found[1]) - 1 for found in _SLOT.findall(source) if found[0] == "KEYS" and found[3] == "memo"), None
    )


@cache
def load(name: str) -> Script:
    """The script in ``lua/NAME.lua``, with the parts that it needs in front."""
    text = _read(f"{name}.lua")
    needs = _NEEDS.search(text)
    parts = [_read(f"parts/{part.strip()}.lua") for part in needs[1].split(",")] if needs else []
    source = "\n".join([*parts, text])
    sha = hashlib.sha1(source.encode()).hexdigest()  # Redis names scripts by SHA-1
    return Script(name, source, sha, _slots(text, "KEYS"), _slots(text, "ARGV"), _memo_at(text))


def names() -> list[str]:
    """The names of all scripts, sorted."""
    folder = resources.files(__package__).joinpath("lua")
    return sorted(entry.name.removesuffix(".lua") for entry in folder.iterdir() if entry.name.endswith(".lua"))
