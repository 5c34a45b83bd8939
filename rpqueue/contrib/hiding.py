"""Hiding: what a task redacts stays out of what is sent to services, whoever has said it while the task ran."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from ..running import Run, current_run

Hide = Callable[[str], str]


def hiding() -> Hide | None:
    """What takes the hidden arguments of the current run out of a text; None: it hides none, or there is no run."""
    run = current_run()
    if run is None or run.task is None or run.task.redaction is None:
        return None
    redaction, args, kwargs = run.task.redaction, run.args, run.kwargs
    return lambda text: redaction.text(text, args, kwargs)


def arguments_of(run: Run) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a run as they may be shown."""
    redaction = None if run.task is None else run.task.redaction
    return (run.args, run.kwargs) if redaction is None else redaction.arguments(run.args, run.kwargs)


def hidden(value: Any, hide: Hide) -> Any:
    """
    *value* as it may be shown: with every text inside of its collections as *hide* shows it.

    Numbers and instants stay as they are, for they may be lines and times; other objects become text.
    """
    if isinstance(value, str):
        return hide(value)
    if value is None or isinstance(value, (int, float, datetime)):
        return value
    if isinstance(value, dict):
        return {hidden(name, hide): hidden(one, hide) for name, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [hidden(one, hide) for one in value]
    try:
        return hide(repr(value))
    except Exception:  # a user's class may do anything there
        return f"a {type(value).__name__}"
