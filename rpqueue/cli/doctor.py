"""``rpqueue doctor``: is all well, and what to do if not."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from ..doctor import MAX_AGE, Doctor, Finding, Level, worst
from .connection import PATIENCE, connection_of, connection_options
from .failures import REDIS, Command
from .looking import json_option
from .output import as_json, say, shown
from .work import import_tasks

CODES = f"""Exit codes: 0 nothing is worse than a note; 1 there are warnings; 2 there are problems, or wrong usage;
{REDIS} Redis was not reached."""

_COLOURS = {Level.OK: "green", Level.NOTE: "cyan", Level.WARNING: "yellow", Level.PROBLEM: "red"}


@click.command("doctor", cls=Command, epilog=CODES)
@click.option("--repair", is_flag=True, help="Mend what can be mended without losing or repeating anything.")
@click.option("--dry-run", is_flag=True, help="With --repair: only tell what it would mend.")
@click.option("--quick", is_flag=True, help="Do not look at every key and message.")
@click.option(
    "--max-age",
    default=MAX_AGE,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds for which the first ready message of a queue may have waited.",
)
@click.option(
    "--module", default=None, help="Import it first: the client that it gives to set_redis_connection is checked."
)
@json_option
@connection_options(hidden=True)
@click.pass_context
def doctor(
    ctx: click.Context, repair: bool, dry_run: bool, quick: bool, max_age: float, module: str | None, wants_json: bool
) -> None:
    """
    Check Redis, workers and queues, and say what to do.

    It asks in small pieces and may be run on a busy system, and so may --repair. What it mends: ids without a message
    are deleted, messages in two places are kept in one, messages in no place go back to the queue, or to the lost or
    dead if they must not be delivered again; the index of queues is made true. It never drops a message.
    """
    import rpqueue

    if dry_run and not repair:
        raise click.UsageError("--dry-run: expected together with --repair; without, nothing is changed in any case")
    connection = connection_of(ctx)
    if module is None:
        connection.apply(rpqueue.app, timeout=PATIENCE)
    else:
        import_tasks(module)
        connection.apply(rpqueue.app)  # what the module says stays, where the command line says nothing
    examination = Doctor(rpqueue.app, max_age=max_age, quick=quick, mends=repair and not dry_run)
    found: list[Finding] = []
    if not wants_json:
        say(f"Redis at {rpqueue.app.broker.label}, prefix {rpqueue.app.settings.key_prefix}")
    for one in examination.findings():
        found.append(one)
        if not wants_json:
            _show(one)
    level = worst(found)
    if wants_json:
        as_json({"level": str(level), "findings": [{**asdict(one), "level": str(one.level)} for one in found]})
    else:
        _sum_up(found)
    sys.exit({Level.PROBLEM: 2, Level.WARNING: 1}.get(level, 0))


def _show(finding: Finding) -> None:
    level = click.style(f"{finding.level!s:<8}", fg=_COLOURS[finding.level], bold=finding.level >= Level.WARNING)
    click.echo(f"{level} {shown(finding.check)}: {shown(finding.seen)}")
    for name, text in (("expected", finding.expected), ("do", finding.advice)):
        if text:
            click.echo(f"{'':8} {name}: {shown(text)}")


def _sum_up(found: list[Finding]) -> None:
    counts = [(level, sum(one.level is level for one in found)) for level in reversed(Level)]
    say(
        ", ".join(
            f"{count} {level}{'' if count == 1 or level is Level.OK else 's'}" for level, count in counts if count
        )
    )
