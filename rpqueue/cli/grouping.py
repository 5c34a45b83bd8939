"""Options under headings: what a command with many of them shows as help."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

from .failures import Command

F = TypeVar("F", bound=Callable[..., Any])

#: The heading of options that name none.
OTHERS = "Options"


class Option(click.Option):
    """An option that stands under a heading."""

    def __init__(self, *args: Any, heading: str = OTHERS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


def under(heading: str) -> Callable[..., Callable[[F], F]]:
    """A `click.option` whose options stand under *heading*."""
    return partial(click.option, cls=Option, heading=heading)


class GroupedCommand(Command):
    """A command that shows its options under their headings, in the order in which those come first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                sections.setdefault(getattr(param, "heading", OTHERS), []).append(record)
        if OTHERS in sections:
            sections[OTHERS] = sections.pop(OTHERS)  # to the end
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)
