"""``rpqueue dead``: how ``ls``, ``retry``, ``redrive``, ``delete`` and ``purge`` were said before. It still works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..inspection import Inspection
from ..keys import QueueKeys
from ..protocol import moves, views
from ..protocol.operation import Operation
from ..states import State
from . import graves
from .connection import connection_of, connection_options
from .failures import EXIT_CODES, Command, Failure
from .looking import check_known, complete_queue, data_option, json_option, show_messages
from .mending import yes_option
from .output import as_json, say

F = TypeVar("F", bound=Callable[..., Any])


@click.group("dead", hidden=True)
def dead() -> None:
    """
    Messages that were given up. This is how it was said before; see rpqueue ls, retry, redrive, delete and purge.

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
    """Show them, of QUEUE or of all queues, oldest first over all of them."""
    look = connection_of(ctx).inspect()
    place = State(grave or "dead")
    if queue is not None and queue != look.app.settings.deadletter_queue:
        check_known(look, queue, is_data)
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
    place = State(grave or "dead")
    if not _are_ids(ids, queue, takes_all):
        said = {"queue": queue, "takes_all": takes_all, "state": place.value, "is_data": is_data}
        ctx.invoke(graves.redrive, **said, wants_json=wants_json)
        return
    look = connection_of(ctx).inspect()
    index = () if is_data else look.app.index

    def move(keys: QueueKeys, one: str) -> Operation[list[str]]:
        return moves.redrive(keys, index, place, [one])

    _move(look, ids, place, is_data, move, wants_json, "redriven", "put back")


@dead.command("purge", cls=Command, epilog=EXIT_CODES)
@which_options
@grave_options
@yes_option
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
    place = State(grave or "dead")
    if not _are_ids(ids, queue, takes_all):
        queues = () if queue is None else (queue,)
        said = {"queues": queues, "takes_all": takes_all, "state": place.value, "yes": yes, "is_data": is_data}
        ctx.invoke(graves.purge, **said, wants_json=wants_json)
        return
    look = connection_of(ctx).inspect()
    if not yes:
        kind = "items" if is_data else "tasks"
        click.confirm(f"Delete {len(ids)} {place.value} {kind} for good?", abort=True, err=True)

    def move(keys: QueueKeys, one: str) -> Operation[list[str]]:
        return views.purge(keys, place, [one])

    _move(look, ids, place, is_data, move, wants_json, "purged", "deleted")


def _are_ids(ids: tuple[str, ...], queue: str | None, takes_all: bool) -> bool:
    if bool(ids) + (queue is not None) + takes_all != 1:
        raise click.UsageError("expected one of: ids, --queue, --all")
    return bool(ids)


def _move(
    look: Inspection,
    ids: tuple[str, ...],
    place: State,
    is_data: bool,
    move: Callable[[QueueKeys, str], Operation[list[str]]],
    wants_json: bool,
    key: str,
    word: str,
) -> None:
    """Move each of them that is in that place, and tell which are not."""
    app, moved = look.app, list[str]()
    queues = app.broker.run(app.queues_of(is_data))
    for message_id in ids:
        for keys in app.broker.run(views.finding(queues, message_id, app.queues_per_call)):
            one = app.broker.execute(move(keys, message_id))
            moved += one
    missing = [message_id for message_id in ids if message_id not in moved]
    if wants_json:
        as_json({"state": place.value, key: moved, "missing": missing})
    else:
        say(f"{len(moved):,} {place.value} {'message' if len(moved) == 1 else 'messages'} {word}.")
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise Failure(f"not {place.value}, or not known: {missing[0]}{more}")
