"""``rpqueue dead``: what was given up. Look at it, run it again, or delete it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from ..inspection import Inspection
from ..keys import QueueKeys
from ..protocol import moves, views
from ..protocol.operation import Operation
from ..states import State
from .connection import connection_of, connection_options
from .failures import EXIT_CODES, Command, Failure
from .looking import complete_queue, data_option, is_known, json_option, show_messages
from .output import as_json, say

F = TypeVar("F", bound=Callable[..., Any])


@click.group("dead")
def dead() -> None:
    """
    Messages that were given up: look at them, run them again, or delete them.

    Dead ones used up their deliveries and asked to be kept. --lost ones may be run at most once, and their worker died.
    --failed ones used up their deliveries and did not ask; of these the newest are kept.
    """


def grave_options(function: F) -> F:
    """--lost and --failed; dead when neither is said."""
    for option in (
        click.option("--failed", "grave", flag_value="failed", help="Failed messages, not dead ones."),
        click.option("--lost", "grave", flag_value="lost", help="Lost messages, not dead ones."),
    ):
        function = option(function)
    return function


def which_options(function: F) -> F:
    """IDs, --queue or --all."""
    for option in (
        click.option("--all", "takes_all", is_flag=True, help="All of them, of all queues."),
        click.option("--queue", default=None, help="All of this queue.", shell_complete=complete_queue),
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        function = option(function)
    return function


@dead.command("ls", cls=Command, epilog=EXIT_CODES)
@click.argument("queue", required=False, shell_complete=complete_queue)
@grave_options
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="Most messages to show.")
@click.option("--skip", default=0, type=click.IntRange(0), help="How many to pass over.")
@data_option
@json_option
@connection_options(hidden=True)
@click.pass_context
def ls(
    ctx: click.Context, queue: str | None, grave: str | None, limit: int, skip: int, is_data: bool, wants_json: bool
) -> None:
    """Show them, of QUEUE or of all queues, oldest first."""
    look = connection_of(ctx).inspect()
    place = State(grave or "dead")
    _check(look, queue, is_data)
    found = look.buried(place, queue, limit, skip, is_data)
    if wants_json:
        as_json({"state": place.value, "messages": found})
    else:
        show_messages(f"{place.value.capitalize()} {'items' if is_data else 'tasks'}", found, with_queue=True)
        if len(found) == limit:
            say(f"More: --skip {skip + limit}")


@dead.command("redrive", cls=Command, epilog=EXIT_CODES)
@which_options
@grave_options
@data_option
@json_option
@connection_options(hidden=True)
@click.pass_context
def redrive(
    ctx: click.Context,
    ids: tuple[str, ...],
    queue: str | None,
    takes_all: bool,
    grave: str | None,
    is_data: bool,
    wants_json: bool,
) -> None:
    """Put them back into their queues as if they were new: these IDs, those of one --queue, or --all."""
    look = connection_of(ctx).inspect()
    place = State(grave or "dead")
    index = () if is_data else look.app.index

    def move(keys: QueueKeys, some: list[str], limit: int) -> Operation[list[str]]:
        return moves.redrive(keys, index, place, some, limit)

    moved = _move(look, move, place, ids, queue, takes_all, is_data)
    _end(moved, ids, place, "redriven", "put back", wants_json)


@dead.command("purge", cls=Command, epilog=EXIT_CODES)
@which_options
@grave_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
@json_option
@connection_options(hidden=True)
@click.pass_context
def purge(
    ctx: click.Context,
    ids: tuple[str, ...],
    queue: str | None,
    takes_all: bool,
    grave: str | None,
    yes: bool,
    is_data: bool,
    wants_json: bool,
) -> None:
    """Delete them for good: these IDs, those of one --queue, or --all."""
    look = connection_of(ctx).inspect()
    place = State(grave or "dead")
    _check_which(ids, queue, takes_all)
    _check(look, queue, is_data)
    if not yes:
        what = f"{len(ids)}" if ids else "all"
        where = f" of queue {queue!r}" if queue else ""
        kind = "items" if is_data else "tasks"
        click.confirm(f"Delete {what} {place.value} {kind}{where} for good?", abort=True, err=True)

    def move(keys: QueueKeys, some: list[str], limit: int) -> Operation[list[str]]:
        return views.purge(keys, place, some, limit)

    moved = _move(look, move, place, ids, queue, takes_all, is_data)
    _end(moved, ids, place, "purged", "deleted", wants_json)


def _check_which(ids: tuple[str, ...], queue: str | None, takes_all: bool) -> None:
    if bool(ids) + (queue is not None) + takes_all != 1:
        raise click.UsageError("expected one of: ids, --queue, --all")


def _check(look: Inspection, queue: str | None, is_data: bool) -> None:
    if queue is not None and queue != look.app.settings.deadletter_queue and not is_known(look, queue, is_data):
        raise Failure(f"no {'data' if is_data else 'task'} queue is named {queue!r}")


def _move(
    look: Inspection,
    move: Callable[[QueueKeys, list[str], int], Operation[list[str]]],
    place: State,
    ids: tuple[str, ...],
    queue: str | None,
    takes_all: bool,
    is_data: bool,
) -> list[str]:
    """Move what was asked for; returns the ids of what was moved."""
    _check_which(ids, queue, takes_all)
    _check(look, queue, is_data)
    app = look.app
    queues: list[QueueKeys] = app.broker.run(app.queues_of(is_data))
    if queue is not None and queue != app.settings.deadletter_queue:
        queues = [keys for keys in queues if keys.name == queue]
    moved: list[str] = []
    if ids:
        for message_id in ids:
            for keys in app.broker.run(views.finding(queues, message_id, app.queues_per_call)):
                one = app.broker.execute(move(keys, [message_id], 1))
                moved += one
        return moved
    sizes = app.broker.run(views.sizing(queues, app.queues_per_call))
    for keys, size in zip(queues, sizes, strict=True):
        for batch in _batches(getattr(size, place.value)):
            some = app.broker.execute(move(keys, [], batch))
            moved += some
    return moved


def _batches(count: int) -> Iterator[int]:
    """As many as there were when we came: what is buried meanwhile is not run after."""
    for at in range(0, count, views.BATCH):
        yield min(views.BATCH, count - at)


def _end(moved: list[str], ids: tuple[str, ...], place: State, key: str, word: str, wants_json: bool) -> None:
    missing = [message_id for message_id in ids if message_id not in moved]
    if wants_json:
        as_json({"state": place.value, key: moved if ids else len(moved), "missing": missing})
    else:
        say(f"{len(moved):,} {place.value} {'message' if len(moved) == 1 else 'messages'} {word}.")
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise Failure(f"not {place.value}, or not known: {missing[0]}{more}")
