"""Frames of a traceback that is only text: of a task that hides arguments, or from another process."""

from __future__ import annotations

import re
from typing import NamedTuple

_HEAD = "Traceback (most recent call last):"
_FRAME = re.compile(r' *File "(?P<file>.*)", line (?P<line>\d+), in (?P<function>.*)')
# Around a group of exceptions tracebacks draw lines. What is in the group comes behind.
_MEMBERS = re.compile(r"^  \+-\+-", re.MULTILINE)
_OF_A_GROUP = re.compile(r"^  [|+] ?", re.MULTILINE)


class Frame(NamedTuple):
    """A line of code that a traceback names."""

    file: str
    line: int
    function: str
    code: str  #: empty where the traceback has none


class Told(NamedTuple):
    """What a traceback says of the exception that was raised last."""

    frames: list[Frame]  #: the innermost last, as tracebacks have them
    message: str


def read(text: str) -> Told:
    """
    What a formatted traceback says.

    Of exceptions that were raised one because of another, the last is told. What is no traceback has no frames.
    """
    lines = _OF_A_GROUP.sub("", _MEMBERS.split(text)[0]).rpartition(_HEAD)[2].splitlines()
    frames: list[Frame] = []
    said_from = 0
    for number, line in enumerate(lines):
        found = _FRAME.fullmatch(line)
        if found:
            following = lines[number + 1] if number + 1 < len(lines) else ""
            code = following.strip() if following.startswith("    ") and not _FRAME.fullmatch(following) else ""
            frames.append(Frame(found["file"], int(found["line"]), found["function"], code))
            said_from = number + 1
    said = [line for line in lines[said_from:] if line and not line.startswith(" ")] if frames else lines
    first = next(iter(said), "")
    start = lines.index(first) if first else 0
    _, _, message = "\n".join(lines[start:]).partition(": ")
    return Told(frames, message)
