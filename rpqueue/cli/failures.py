"""Exit codes, and errors in one line instead of a traceback."""

from __future__ import annotations

from typing import IO, Any

import click

from ..errors import RedisError, RpqueueError
from .output import shown

#: Not found, refused, or not everything was done. 2, a wrong usage, is click's own.
REFUSED = 1
#: Redis was not reached, or could not do it.
REDIS = 3

EXIT_CODES = """Exit codes: 0 done; 1 not found, refused, or not everything was done; 2 wrong usage; 3 Redis was not
reached or could not do it."""


class Failure(click.ClickException):
    """An end with a message in one line."""

    exit_code = REFUSED

    def __init__(self, message: str) -> None:
        super().__init__(shown(" ".join(message.split())))

    def show(self, file: IO[Any] | None = None) -> None:
        """Say it on standard error."""
        click.echo(f"rpqueue: {self.format_message()}", file=file, err=file is None)


class RedisFailure(Failure):
    """An end because of Redis."""

    exit_code = REDIS


class Command(click.Command):
    """A command whose known errors end it with one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except RedisError as error:
            raise RedisFailure(str(error)) from error
        except RpqueueError as error:
            raise Failure(str(error)) from error
