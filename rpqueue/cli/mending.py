"""``rpqueue retry``, ``delete``, ``cancel``, ``reschedule`` and ``run-now``: single messages, by their ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ..enqueued import due_of
from ..inspection import Inspection, MessageView
from ..keys import QueueKeys
from ..protocol import mending, moves
from ..protocol.moves import Index
from ..states import State
from .connection import connection_of, connection_options
from .failures import EXIT_CODES, Command, Failure
from .looking import find, json_option, queue_option
from .output import as_json, say
from .times import when as when_said

ids_argument = click.argument("ids", nargs=-1, required=True, metavar="ID...")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def keys_of(look: Inspection, found: MessageView) -> tuple[QueueKeys, Index]:
    """The keys of its queue, and those of the index that its moves keep true."""
    app = look.app
    return (app.data_keys(found.queue), ()) if found.kind == "data" else (app.task_keys(found.queue), app.index)


@click.command("retry", cls=Command, epilog=EXIT_CODES)
@ids_argument
@queue_option
@json_option
@connection_options(hidden=True)
@click.pass_context
def retry(ctx: click.Context, ids: tuple[str, ...], queue: str | None, wants_json: bool) -> None:
    """Run messages that were given up once more now, as if they were new: dead, lost or failed ones, by their IDs."""
    look = connection_of(ctx).inspect()

    def move(found: MessageView) -> str:
        keys, index = keys_of(look, found)
        went = look.app.broker.execute(moves.redrive(keys, index, None, [found.id]))
        return "" if went else f"it is {found.status}"

    _each(look, ids, queue, move, "retried", "put back", wants_json)


@click.command("delete", cls=Command, epilog=EXIT_CODES)
@ids_argument
@queue_option
@yes_option
@json_option
@connection_options(hidden=True)
@click.pass_context
def delete(ctx: click.Context, ids: tuple[str, ...], queue: str | None, yes: bool, wants_json: bool) -> None:
    """Delete messages for good, wherever they are, by their IDs. Fails for those that somebody holds: see cancel."""
    look = connection_of(ctx).inspect()
    if not yes:
        count = f"{len(ids)} messages" if len(ids) > 1 else f"message {ids[0]}"
        click.confirm(f"Delete {count} for good?", abort=True, err=True)

    def move(found: MessageView) -> str:
        keys, _ = keys_of(look, found)
        was = look.app.broker.execute(mending.delete(keys, found.id, look.app.settings.remember_cancelled))
        if was == "leased":
            return "somebody holds it now; rpqueue cancel --running asks a run to stop"
        return "it has gone meanwhile" if was == "gone" else ""

    _each(look, ids, queue, move, "deleted", "deleted", wants_json)


def _each(
    look: Inspection,
    ids: tuple[str, ...],
    queue: str | None,
    move: Callable[[MessageView], str],
    key: str,
    word: str,
    wants_json: bool,
) -> None:
    """Move each of them, and tell which were not moved, and why."""
    moved: list[str] = []
    others: dict[str, str] = {}
    for message_id in dict.fromkeys(ids):
        found = look.message(message_id, queue)
        why = "no queue knows it" if found is None else move(found)
        if why:
            others[message_id] = why
        else:
            moved.append(message_id)
    if wants_json:
        as_json({key: moved, "others": others})
    else:
        say(f"{len(moved):,} {'message' if len(moved) == 1 else 'messages'} {word}.")
    if others:
        first = next(iter(others))
        more = f", nor were {len(others) - 1} more" if len(others) > 1 else ""
        raise Failure(f"{first} was not {word}: {others[first]}{more}")


@click.command("cancel", cls=Command, epilog=EXIT_CODES)
@click.argument("message_id", metavar="ID")
@click.option("--running", is_flag=True, help="If it is running, ask who runs it to stop.")
@queue_option
@json_option
@connection_options(hidden=True)
@click.pass_context
def cancel(ctx: click.Context, message_id: str, running: bool, queue: str | None, wants_json: bool) -> None:
    """
    Take a task away that has not started. Fails when it runs, or has ended.

    With --running, one that runs is to stop within a second or two: coroutines are cancelled and child processes
    killed; what runs in a thread has to look for it by itself.
    """
    look = connection_of(ctx).inspect()
    found = find(look, message_id, queue)
    if found.kind == "data":
        raise Failure(f"{message_id} is an item of data queue {found.queue!r}; only tasks can be cancelled")
    keys, _ = keys_of(look, found)
    answer = 1
    if found.state is not State.CANCELLED:
        keep_for = look.app.settings.remember_cancelled
        answer = look.app.broker.execute(moves.cancel(keys, found.id, keep_for, running=running))
    told: dict[str, Any] = {"id": message_id, "queue": found.queue, "cancelled": answer == 1, "asked": answer == 2}
    if wants_json:
        as_json({**told, "was": found.status})
    if answer in (0, -1):
        after = "it had ended; its saved result is deleted now" if answer == -1 else f"it is {found.status}"
        raise Failure(f"{message_id} was not cancelled: {after}")
    if not wants_json:
        say(f"{message_id} is {'asked to stop' if answer == 2 else 'cancelled'}.")


@click.command("reschedule", cls=Command, epilog=EXIT_CODES)
@click.argument("message_id", metavar="ID")
@click.argument("when", metavar="WHEN")
@queue_option
@json_option
@connection_options(hidden=True)
@click.pass_context
def reschedule(ctx: click.Context, message_id: str, when: str, queue: str | None, wants_json: bool) -> None:
    """
    Let a scheduled message start at another instant.

    WHEN is now, +90s, +5m, +2h, +1d, +1w, a date and time as 2026-05-01T12:00, which is UTC unless it says otherwise,
    or epoch seconds.
    """
    _reschedule(ctx, message_id, when, queue, wants_json)


@click.command("run-now", cls=Command, epilog=EXIT_CODES)
@click.argument("message_id", metavar="ID")
@queue_option
@json_option
@connection_options(hidden=True)
@click.pass_context
def run_now(ctx: click.Context, message_id: str, queue: str | None, wants_json: bool) -> None:
    """Let a scheduled message start at once."""
    _reschedule(ctx, message_id, "now", queue, wants_json)


def _reschedule(ctx: click.Context, message_id: str, when: str, queue: str | None, wants_json: bool) -> None:
    delay = due_of(when_said(when, "WHEN"), "WHEN")
    look = connection_of(ctx).inspect()
    found = find(look, message_id, queue)
    keys, index = keys_of(look, found)
    place = look.app.broker.execute(mending.reschedule(keys, index, found.id, delay))
    if wants_json:
        state = found.state.value if place == "elsewhere" else place
        as_json({"id": message_id, "queue": found.queue, "rescheduled": place != "elsewhere", "state": state})
    if place == "elsewhere":
        raise Failure(f"{message_id} was not rescheduled: it is {found.status}, not scheduled")
    if not wants_json:
        say(f"{message_id} is {place}.")
