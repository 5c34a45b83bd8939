"""What the demo shows: lines, bars that move, and a table with two columns to compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..errors import RpqueueError


class Screen:
    """Standard output. Without a terminal, bars are lines now and then."""

    def __init__(self) -> None:
        try:
            from rich.console import Console
        except ImportError as error:
            raise RpqueueError("the demo shows itself by rich: pip install 'rpqueue[server,cli]'") from error
        self._console = Console(highlight=False)

    def say(self, text: str, style: str | None = None) -> None:
        """One line."""
        self._console.print(text, style=style, markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar, for as long as the block takes. What it yields is to be called with how much is done."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        started, fifths = time.monotonic(), 0
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        rate = TextColumn("{task.fields[rate]}")
        with Progress(*columns, rate, console=self._console, disable=not self._console.is_terminal) as bar:
            task = bar.add_task(f"{title:<12}", total=total, rate="")

            def advance(done: int) -> None:
                nonlocal fifths
                bar.update(task, completed=done, rate=f"{done / (time.monotonic() - started):,.0f}/s")
                if not self._console.is_terminal and 5 * done // total > fifths:
                    fifths = 5 * done // total
                    self.say(f"{title}: {done:,} of {total:,}")

            yield advance

    def compare(
        self, left: str, right: str, rows: Sequence[tuple[str, int, int]], rates: tuple[str, float, float]
    ) -> None:
        """``(name, number, number)`` in columns; where they differ, in red. *rates* come last and may differ."""
        from rich.table import Table

        table = Table("", left, right)
        for column in table.columns[1:]:
            column.justify = "right"
        for name, one, other in rows:
            table.add_row(name, f"{one:,}", f"{other:,}", style="red" if one != other else None)
        name, *numbers = rates
        table.add_section()
        table.add_row(name, *(f"{number:,.0f}" for number in numbers))
        self._console.print(table)
