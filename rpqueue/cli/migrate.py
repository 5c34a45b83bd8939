"""``rpqueue migrate``: the queues of version 0.33, moved into this one."""

from __future__ import annotations

import sys

import click

from ..migration import Left, Migration, Moved, as_plain
from .connection import PATIENCE, connection_of, connection_options
from .failures import EXIT_CODES, REFUSED, Command
from .looking import json_option
from .output import as_json, say, table
from .work import import_tasks

#: What stays is named up to this number.
MOST_SHOWN = 20


@click.command("migrate", cls=Command, epilog=EXIT_CODES)
@click.option(
    "--from-prefix", default="", help="Key prefix of 0.33, as given to its set_key_prefix. Empty by default, as there."
)
@click.option("--queues", multiple=True, help="Only this queue; may be given more than once.")
@click.option(
    "--module", default=None, help="Module that declares the tasks: tells which of them recur, and their queues."
)
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@json_option
@connection_options(hidden=True)
@click.pass_context
def migrate(
    ctx: click.Context, from_prefix: str, queues: tuple[str, ...], module: str | None, dry_run: bool, wants_json: bool
) -> None:
    """
    Move what version 0.33 has left in Redis into the queues of this version.

    Stop its workers first. It can be interrupted and run again; every message is in one place at any instant. What
    cannot be read stays where it is, is named, and makes the exit code 1.
    """
    import rpqueue

    connection = connection_of(ctx)
    connection.apply(rpqueue.app, timeout=PATIENCE)
    if module is not None:
        import_tasks(module)
        connection.apply(rpqueue.app, timeout=PATIENCE)
    found = Migration(rpqueue.app, from_prefix, queues or None, dry=dry_run).run()
    if wants_json:
        as_json({"dry_run": dry_run, "queues": [as_plain(moved) for moved in found]})
    else:
        _show(found, dry_run)
    if any(moved.left for moved in found):
        sys.exit(REFUSED)


def _show(found: list[Moved], dry: bool) -> None:
    if not found:
        say("Nothing of version 0.33 is there.")
        return
    counts = ["ready", "scheduled", "leased", "dead", "known", "empty", "left"]
    rows = [
        [
            moved.queue,
            moved.kind,
            *(f"{getattr(moved, count):,}" for count in counts),
            ", ".join(moved.recurring) or "-",
        ]
        for moved in found
    ]
    table("What would be moved" if dry else "Moved", ["queue", "kind", *counts, "recurring"], rows)
    why = [left for moved in found for left in moved.why]
    for left in why[:MOST_SHOWN]:
        say(f"Left: {_place(left)}: {left.why}")
    total = sum(moved.left for moved in found)
    if total > MOST_SHOWN:
        say(f"Left: {total - MOST_SHOWN:,} more (--json names them)")


def _place(left: Left) -> str:
    return f"{left.key} {left.entry}" if left.entry else left.key
