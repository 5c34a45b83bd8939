"""Durations and sizes, as the command line takes them."""

from __future__ import annotations

import re
from typing import Any

import click

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BYTES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


class Amount(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click alone
    """
    A number greater than 0 with a unit behind it.

    Args:
        name: what it is an amount of.
        units: by their names, what each is worth; the empty name is for a number without a unit.
        example: for the error.
    """

    def __init__(self, name: str, units: dict[str, int], example: str) -> None:
        self.name = name
        self._units = units
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The amount in the unit without a name."""
        if not isinstance(value, str):
            return float(value)
        found = _NUMBER.fullmatch(value.strip())
        unit = found[2].lower() if found else ""
        unit = unit[:1] if self._units is _BYTES and unit in (f"{unit[:1]}b", f"{unit[:1]}ib") else unit
        if not found or unit not in self._units or not float(found[1]):
            self.fail(f"expected a number greater than 0 such as {self._example}, got {value!r}", param, ctx)
        return float(found[1]) * self._units[unit]


class WholeAmount(Amount):
    """An amount of things that have no parts."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The amount in the unit without a name, cut to a whole number."""
        return max(int(super().convert(value, param, ctx)), 1)


#: Seconds.
DURATION = Amount("duration", _SECONDS, "90, 90s, 15m, 2h, 1d or 12w")
#: Bytes.
SIZE = WholeAmount("size", _BYTES, "500M, 2G or 1048576")
