"""Tables and JSON on standard output."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NUMBER = re.compile(r"-?[\d,.]+( ?(ms|s|m|h|d))?|-")


def as_json(value: Any) -> None:
    """Print *value*, dataclasses as objects, as JSON: indented for people, in one line for programs."""
    plain = json.dumps(value, default=_plain, indent=2 if sys.stdout.isatty() else None)
    click.echo(plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under *title*. On a terminal by rich, when that is installed; else as text in columns."""
    title, cells = shown(title), [[shown(cell) for cell in row] for row in rows]
    numeric = [all(_NUMBER.fullmatch(row[at]) for row in cells) and bool(cells) for at in range(len(columns))]
    if sys.stdout.isatty():
        try:
            _rich(title, columns, cells, numeric)
            return
        except ImportError:
            _hint()
    _text(title, columns, cells, numeric)


def _rich(title: str, columns: Sequence[str], cells: list[list[str]], numeric: list[bool]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shape = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column, is_number in zip(columns, numeric, strict=True):
        shape.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in cells:
        shape.add_row(*map(Text, row))  # as Text, since a queue may be named [red]
    Console().print(shape)


def _text(title: str, columns: Sequence[str], cells: list[list[str]], numeric: list[bool]) -> None:
    lines = [list(columns), *cells]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    click.echo(title)
    for line in lines:
        padded = (
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(line, widths, numeric, strict=True)
        )
        click.echo(("  " + "  ".join(padded)).rstrip())


def say(text: str) -> None:
    """Print lines of text."""
    click.echo("\n".join(map(shown, text.split("\n"))))


def _hint() -> None:
    click.echo("(for better tables: pip install 'rpqueue[cli]')", err=True)


def shown(value: Any) -> str:
    """One cell: nothing in it may steer a terminal."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), str(value))


def short(value: Any, width: int = 60) -> str:
    """A JSON value in a cell of at most *width* characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= width else text[: width - 3] + "..."


def age(seconds: float) -> str:
    """A length of time, as short as it can be read: ``350 ms``, ``4.2 s``, ``12 m``, ``3 h``, ``9 d``."""
    if seconds <= 0:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for length, unit, most in ((1.0, "s", 120.0), (60.0, "m", 7200.0), (3600.0, "h", 172_800.0)):
        if seconds < most:
            count = seconds / length
            return f"{count:.{1 if count < 9.95 else 0}f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def instant(epoch: float) -> str:
    """An instant in this machine's time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch)) if epoch else "-"
