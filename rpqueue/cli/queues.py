"""``rpqueue clear`` and ``rpqueue priority``: whole queues."""

from __future__ import annotations

import click

from ..errors import did_you_mean
from .connection import connection_of, connection_options
from .failures import EXIT_CODES, Command, Failure
from .looking import complete_queue, data_option, json_option
from .output import as_json, say


@click.command("clear", cls=Command, epilog=EXIT_CODES)
@click.argument("queue", shell_complete=complete_queue)
@click.option(
    "--delete", is_flag=True, help="Forget the queue, too: priority, counters, schedules, and what was given up."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
@json_option
@connection_options(hidden=True)
@click.pass_context
def clear(ctx: click.Context, queue: str, delete: bool, yes: bool, is_data: bool, wants_json: bool) -> None:
    """
    Delete the messages of QUEUE that wait, run or are parked.

    What was given up stays: see purge. Nothing comes of the end of tasks that were running.
    """
    look = connection_of(ctx).inspect()
    kind = "data" if is_data else "tasks"
    if queue == look.app.settings.deadletter_queue:
        raise Failure(f"{queue!r} is the view over all dead messages; use: rpqueue purge --state dead --all")
    rows = [row for row in look.queues() if row.kind == kind]
    row = next((row for row in rows if row.name == queue), None)
    if row is None:
        hint = did_you_mean(queue, [row.name for row in rows])
        raise Failure(f"no {'data' if is_data else 'task'} queue is named {queue!r}{hint}")
    count = row.ready + row.scheduled + row.leased + row.parked
    if not yes:
        too = f", forget the queue and {row.dead + row.lost + row.failed:,} messages that it gave up" if delete else ""
        click.confirm(f"Delete {count:,} messages of queue {queue!r}{too}?", abort=True, err=True)
    deleted = look.app.clear_queue(queue, delete=delete, is_data=is_data)
    if wants_json:
        as_json({"queue": queue, "kind": kind, "cleared": deleted, "forgotten": delete})
    else:
        say(f"{deleted:,} {'message' if deleted == 1 else 'messages'} of queue {queue!r} deleted.")


@click.command("priority", cls=Command, epilog=EXIT_CODES, context_settings={"ignore_unknown_options": True})
@click.argument("queue", shell_complete=complete_queue)
@click.argument("priority", required=False, metavar="[NUMBER|none]")
@json_option
@connection_options(hidden=True)
@click.pass_context
def priority(ctx: click.Context, queue: str, priority: str | None, wants_json: bool) -> None:
    """
    Show or set the priority of task queue QUEUE.

    Lower goes first, and any number before none. Nothing is taken from a queue while one before it has work.
    """
    look = connection_of(ctx).inspect()
    if priority is not None:
        look.app.set_priority(queue, _number(priority))
    row = next((row for row in look.queues() if row.name == queue and row.kind == "tasks"), None)
    if row is None and not (priority or "").lower() == "none":
        raise Failure(f"no task queue is named {queue!r}{did_you_mean(queue, look.app.known_queues())}")
    now = None if row is None else row.priority
    if wants_json:
        as_json({"queue": queue, "priority": now})
    else:
        say(f"{queue}: {'no priority' if now is None else f'priority {now:g}'}")


def _number(text: str) -> float | None:
    if text.lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"expected a number or none, got {text!r}", param_hint="NUMBER") from None
