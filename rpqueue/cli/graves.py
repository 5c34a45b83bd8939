"""``rpqueue redrive`` and ``purge``: all that was given up, run again or deleted."""

from __future__ import annotations

from datetime import timedelta

import click

from ..inspection import Inspection
from ..seen import graves_of
from ..states import GRAVES
from .amounts import DURATION
from .connection import connection_of, connection_options
from .failures import EXIT_CODES, Command
from .looking import check_known, complete_queue, data_option, json_option, state_option
from .mending import yes_option
from .output import as_json, say

_WORDS = (*(grave.value for grave in GRAVES), "error")


@click.command("redrive", cls=Command, epilog=EXIT_CODES)
@click.option("--queue", default=None, help="All of this queue.", shell_complete=complete_queue)
@click.option("--all", "takes_all", is_flag=True, help="All of them, of all queues.")
@state_option(_WORDS, "dead")
@click.option("--name", default=None, help="Only calls of the task with this name.")
@click.option("--error", default=None, help="Only those whose last failure has this text, or that were buried for it.")
@click.option("--rate", default=None, type=float, help="Most messages a second that become ready; nobody has to stay.")
@click.option("--limit", default=None, type=click.IntRange(1), help="Most messages to move, oldest first.")
@data_option
@json_option
@connection_options(hidden=True)
@click.pass_context
def redrive(
    ctx: click.Context,
    queue: str | None,
    takes_all: bool,
    state: str,
    name: str | None,
    error: str | None,
    rate: float | None,
    limit: int | None,
    is_data: bool,
    wants_json: bool,
) -> None:
    """
    Run what was given up again, as if it were new: of one --queue, or --all. See retry for single messages.

    What is given up while this goes on is left. What the runs failed of stays known.
    """
    if (queue is not None) + takes_all != 1:
        raise click.UsageError("expected one of: --queue, --all; for single messages: rpqueue retry ID")
    look = connection_of(ctx).inspect()
    _check(look, queue, is_data)
    options = {"name": name, "error": error, "rate": rate, "limit": limit, "is_data": is_data}
    moved = look.app.redrive(queue, state, **options)  # type: ignore[arg-type]
    if wants_json:
        as_json({"state": state, "redriven": moved})
    else:
        later = "" if rate is None else f", {rate:g} a second of them to start"
        say(f"{moved:,} {_given_up(state)} {'message' if moved == 1 else 'messages'} put back{later}.")


@click.command("purge", cls=Command, epilog=EXIT_CODES)
@click.option(
    "--queue", "queues", multiple=True, help="Of this queue; may be said again.", shell_complete=complete_queue
)
@click.option("--exclude-queue", "excluded", multiple=True, help="Not of this queue; may be said again.")
@click.option("--all", "takes_all", is_flag=True, help="Of all queues, however old.")
@click.option("--older-than", default=None, type=DURATION, help="Only those given up so long ago: 2h, 30d, 12w.")
@state_option(_WORDS, "error")
@click.option("--limit", default=None, type=click.IntRange(1), help="Most messages to delete, the oldest first.")
@yes_option
@data_option
@json_option
@connection_options(hidden=True)
@click.pass_context
def purge(
    ctx: click.Context,
    queues: tuple[str, ...],
    excluded: tuple[str, ...],
    takes_all: bool,
    older_than: float | None,
    state: str,
    limit: int | None,
    yes: bool,
    is_data: bool,
    wants_json: bool,
) -> None:
    """Delete what was given up for good: --older-than some time, of a --queue, or --all. For single ones see delete."""
    if not (queues or older_than or takes_all):
        raise click.UsageError("expected one of: --older-than, --queue, --all; for single messages: rpqueue delete ID")
    look = connection_of(ctx).inspect()
    view = look.app.settings.deadletter_queue
    for queue in (*queues, *excluded):
        _check(look, queue, is_data)
    named = None if not queues or view in queues else queues
    age = None if older_than is None else timedelta(seconds=older_than)
    if not yes:
        where = f" of {', '.join(queues)}" if queues else ""
        old = f" of more than {age} ago" if age else ""
        most = f"at most {limit:,}" if limit else "all"
        kind = "items" if is_data else "tasks"
        click.confirm(f"Delete {most} {_given_up(state)} {kind}{where}{old} for good?", abort=True, err=True)
    flow = look.app.purging_errored(named, excluded, limit, age, graves=graves_of(state), is_data=is_data)
    deleted = look.app.broker.run(flow)
    if wants_json:
        as_json({"state": state, "purged": deleted})
    else:
        say(f"{deleted:,} {_given_up(state)} {'message' if deleted == 1 else 'messages'} deleted.")


def _given_up(state: str) -> str:
    return "given up" if state == "error" else state


def _check(look: Inspection, queue: str | None, is_data: bool) -> None:
    if queue is not None and queue != look.app.settings.deadletter_queue:
        check_known(look, queue, is_data)
