"""Horizontal bars as SVG, drawn by hand: a plotting library would weigh more than all the rest here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

ROW, TOP, LEFT, WIDE, RIGHT = 26, 44, 130, 420, 110


class Bar(NamedTuple):
    """One peer."""

    label: str
    least: float
    median: float
    most: float
    is_own: bool


def bars(title: str, subtitle: str, values: Sequence[Bar], write: Callable[[float], str]) -> str:
    """A bar to the median for each, with a whisker from least to most."""
    longest = max(bar.most for bar in values) or 1.0
    height = TOP + ROW * len(values) + 8
    width = LEFT + WIDE + RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="13" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="18" font-weight="bold" fill="#222">{escape(title)}</text>',
        f'<text x="8" y="34" font-size="11" fill="#666">{escape(subtitle)}</text>',
    ]
    for number, bar in enumerate(values):
        y = TOP + ROW * number
        middle = y + ROW / 2 - 2
        least, median, most = (LEFT + WIDE * value / longest for value in bar[1:4])
        colour = "#c2410c" if bar.is_own else "#94a3b8"
        parts += [
            f'<text x="{LEFT - 8}" y="{middle + 4:.0f}" text-anchor="end" fill="#222">{escape(bar.label)}</text>',
            f'<rect x="{LEFT}" y="{y + 2}" width="{max(median - LEFT, 1):.1f}" height="{ROW - 8}" fill="{colour}"/>',
            f'<path d="M{least:.1f} {middle:.1f}H{most:.1f}" stroke="#222"/>',
            f'<text x="{most + 6:.1f}" y="{middle + 4:.0f}" fill="#222">{escape(write(bar.median))}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
