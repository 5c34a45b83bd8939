"""Instants, as the command line takes them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import click

from .amounts import DURATION


def when(text: str, what: str) -> datetime | timedelta | float:
    """``now``, ``+5m``, ``2026-05-01T12:00``, which is UTC without a time zone, or epoch seconds."""
    if text == "now":
        return timedelta()
    if text.startswith("+"):
        return timedelta(seconds=DURATION.convert(text[1:], None, None))
    try:
        return float(text) if re.fullmatch(r"\d{9,}(\.\d+)?", text) else datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"expected now, +5m, 2026-05-01T12:00 (UTC unless it says otherwise) or epoch seconds, got {text!r}",
            param_hint=what,
        ) from None
