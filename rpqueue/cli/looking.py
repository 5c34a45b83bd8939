"""``rpqueue status``, ``ls`` and ``names``: what there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from ..inspection import Inspection, MessageView, QueueView, WorkerView
from ..seen import STATE_WORDS
from ..states import GRAVES, State
from .connection import connection_of, connection_options
from .failures import EXIT_CODES, Command, Failure
from .output import age, as_json, instant, say, short, table

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "wants_json", is_flag=True, help="Print JSON.")
data_option = click.option("--data", "is_data", is_flag=True, help="Of data queues, not of task queues.")

#: Queues above which empty ones are left out of the table.
MANY = 50


def complete_queue(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of queues for the shell, if Redis tells them at once."""
    try:
        import rpqueue

        connection_of(ctx).apply(rpqueue.app, timeout=1.0)
        return [name for name in rpqueue.known_queues() if name.startswith(incomplete)]
    except Exception:  # a completion that fails must not write into the user's prompt
        return []


queue_option = click.option(
    "--queue", default=None, help="Its queue; without, all are looked into.", shell_complete=complete_queue
)


@click.command("status", cls=Command, epilog=EXIT_CODES)
@click.argument("queues", nargs=-1, metavar="[QUEUE]...", shell_complete=complete_queue)
@click.option("--all", "shows_all", is_flag=True, help=f"Show empty queues, too, when there are more than {MANY}.")
@json_option
@connection_options(hidden=True)
@click.pass_context
def status(ctx: click.Context, queues: tuple[str, ...], shows_all: bool, wants_json: bool) -> None:
    """Show queues, how much is where in them, the workers, and tasks that no worker knows."""
    look = connection_of(ctx).inspect()
    rows, workers, parked = look.queues(), look.workers(), look.parked_names()
    if queues:
        unknown = sorted(set(queues) - {row.name for row in rows})
        if unknown:
            raise Failure(f"no queue is named {unknown[0]!r}")
        rows = [row for row in rows if row.name in queues]
    if wants_json:
        where = {"redis": look.app.broker.label, "prefix": look.app.settings.key_prefix}
        as_json({**where, "queues": rows, "workers": workers, "parked": parked})
        return
    say(f"Redis at {look.app.broker.label}, prefix {look.app.settings.key_prefix}")
    busy = rows if shows_all or queues or len(rows) <= MANY else [row for row in rows if _holds(row)]
    _show_queues(busy)
    if len(busy) < len(rows):
        say(f"  and {len(rows) - len(busy):,} empty queues (--all shows them)")
    _show_workers(workers)
    if parked:
        table("Parked, since no worker that claimed them knew the task", ["task", "messages"], list(parked.items()))


def _holds(row: QueueView) -> bool:
    return any((row.ready, row.scheduled, row.leased, row.parked, row.dead, row.lost))


def _show_queues(rows: list[QueueView]) -> None:
    counts = ["ready", "scheduled", "leased", "parked", "dead", "lost", "failed", "seen", "done"]
    if not rows:
        say("No queues yet.")
        return
    table(
        "Queues",
        ["queue", "kind", "priority", *counts, "oldest"],
        [
            [row.name, row.kind, row.priority, *(f"{getattr(row, count):,}" for count in counts), age(row.oldest_age)]
            for row in rows
        ],
    )


def _show_workers(workers: list[WorkerView]) -> None:
    if not workers:
        say("No workers.")
        return
    now = time.time()
    table(
        "Workers",
        ["host", "pid", "pool", "threads", "queues", "up", "last seen", "state"],
        [
            [
                worker.host,
                worker.pid,
                worker.pool,
                worker.threads,
                "all" if worker.queues is None else ", ".join(worker.queues),
                age(now - worker.started_at) if worker.started_at else "-",
                age(max(worker.silent_for, 0.001)),
                "alive" if worker.is_alive else "silent",
            ]
            for worker in workers
        ],
    )


def state_option(words: Sequence[str], default: str) -> Callable[[F], F]:
    """--state, one of *words*."""
    text = "Which messages; error: dead, lost and failed ones."
    return click.option("--state", type=click.Choice(words), default=default, show_default=True, help=text)


@click.command("ls", cls=Command, epilog=EXIT_CODES)
@click.argument("queue", required=False, shell_complete=complete_queue)
@state_option(STATE_WORDS, "ready")
@click.option("--name", default=None, help="Only calls of the task with this name.")
@click.option("--error", default=None, help="Only those whose last failure has this text, or that were buried for it.")
@click.option("--newest", is_flag=True, help="The last ones first.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="Most messages to show.")
@click.option("--after", default=None, help="Go on where another page ended: what that said.")
@data_option
@json_option
@connection_options(hidden=True)
@click.pass_context
def ls(
    ctx: click.Context,
    queue: str | None,
    state: str,
    name: str | None,
    error: str | None,
    newest: bool,
    limit: int,
    after: str | None,
    is_data: bool,
    wants_json: bool,
) -> None:
    """
    Show the messages that are in one state, of QUEUE or of all queues, a page of them.

    With --name or --error, 10,000 messages are looked at for one page: it may be short, and say where to go on.
    """
    look = connection_of(ctx).inspect()
    if queue == look.app.settings.deadletter_queue:
        raise Failure(f"{queue!r} is the view over all dead messages; use: rpqueue ls --state dead")
    found = look.page(queue, state, after, limit, is_data, newest=newest, name=name, error=error)
    if not found.messages and queue is not None:
        check_known(look, queue, is_data)
    if wants_json:
        as_json(found)
        return
    kind = "items" if is_data else "tasks"
    title = f"{queue}, {state}" if queue is not None else f"{state.capitalize()} {kind}"
    show_messages(title, found.messages, with_queue=queue is None)
    if found.after is not None:
        say(f"More: --after {found.after!r}")


@click.command("names", cls=Command, epilog=EXIT_CODES)
@click.argument("queue", required=False, shell_complete=complete_queue)
@state_option(STATE_WORDS, "ready")
@click.option("--newest", is_flag=True, help="Look at the last messages of each queue first.")
@click.option(
    "--limit", default=10_000, show_default=True, type=click.IntRange(1, 10_000_000), help="Most messages to look at."
)
@json_option
@connection_options(hidden=True)
@click.pass_context
def names(ctx: click.Context, queue: str | None, state: str, newest: bool, limit: int, wants_json: bool) -> None:
    """Count the messages of each task, in one state, of QUEUE or of all queues: the first --limit of them in order."""
    look = connection_of(ctx).inspect()
    found = look.names(queue, state, limit, newest=newest)
    if not found.looked and queue is not None:
        check_known(look, queue, is_data=False)
    if wants_json:
        as_json(found)
        return
    looked = f"all {found.looked:,}" if found.is_all else f"{found.looked:,} of {found.total:,}"
    rows = [[name or "<undecodable>", f"{count:,}"] for name, count in found.names.items()]
    table(f"Tasks of {looked} {state} messages", ["task", "messages"], rows)


def check_known(look: Inspection, queue: str, is_data: bool) -> None:
    """End the command when there is no such queue."""
    if not is_known(look, queue, is_data):
        raise Failure(f"no {'data' if is_data else 'task'} queue is named {queue!r}")


def is_known(look: Inspection, queue: str, is_data: bool) -> bool:
    """Whether the queue is listed."""
    names = look.app.broker.execute(look.app.data_queues() if is_data else look.app.task_queues())
    return queue in names


def show_messages(title: str, rows: list[MessageView], *, with_queue: bool) -> None:
    """Print messages as a table."""
    if not rows:
        say(f"{title}: none.")
        return
    are_tasks = rows[0].kind == "tasks"
    are_buried = rows[0].state in GRAVES
    instants = {State.SCHEDULED: "due", State.LEASED: "lease ends"}
    columns = [
        "id",
        *(["queue"] if with_queue else []),
        *(["task", "args", "kwargs"] if are_tasks else ["item"]),
        "buried" if are_buried else instants.get(rows[0].state, "since"),
        *(["reason", "error"] if are_buried else []),
    ]
    cells = []
    for row in rows:
        content = [row.name, short(row.args), short(row.kwargs)] if are_tasks else [short(row.item)]
        if row.undecodable is not None:
            content = ["<undecodable>", short(row.undecodable), ""] if are_tasks else [short(row.undecodable)]
        cells.append(
            [
                row.id,
                *([row.queue] if with_queue else []),
                *content,
                instant(row.at or row.available_at),
                *([row.reason, short(_error(row))] if are_buried else []),
            ]
        )
    table(title, columns, cells)


def _error(row: MessageView) -> str:
    error = row.error or {}
    return ": ".join(str(error[key]) for key in ("exception", "message") if error.get(key))


def find(look: Inspection, message_id: str, queue: str | None) -> MessageView:
    """The message, or the end of the command."""
    found = look.message(message_id, queue)
    if found is None:
        place = f"in queue {queue!r}" if queue else "in any queue"
        raise Failure(f"no message {message_id!r} {place}; it may be over, and its result not kept")
    return found
