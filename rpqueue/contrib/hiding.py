"""Hiding: what a task redacts stays out of what is sent to services, whoever has said it while the task ran."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..running import current_run

Hide = Callable[[str], str]


def hiding() -> Hide | None:
    """What takes the hidden arguments of the current run out of a text; None: it hides none, or there is no run."""
    run = current_run()
    redaction = getattr(getattr(run, "task", None), "redaction", None)
    if run is None or redaction is None:
        return None
    args, kwargs = run.args, run.kwargs
    return lambda text: str(redaction.text(text, args, kwargs))


def hidden(value: Any, hide: Hide) -> Any:
    """*value* with every text inside of its dicts and lists as *hide* shows it. Numbers stay: they may be lines."""
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, dict):
        return {hidden(name, hide): hidden(one, hide) for name, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [hidden(one, hide) for one in value]
    return value
