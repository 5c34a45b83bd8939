"""``rpqueue task ID``: one message, and what happened to it."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from .connection import connection_of, connection_options
from .failures import EXIT_CODES, Command
from .looking import find, json_option, queue_option
from .mending import cancel
from .output import age, as_json, instant, say, short, table


class ShowsByDefault(click.Group):
    """A group for which ``task ID`` is ``task show ID``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """What click calls."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


@click.group("task", cls=ShowsByDefault, subcommand_metavar="ID [OPTIONS]")
def task() -> None:
    """
    Show one message, by its id: where it is, what is in it, what happened to it, and how its runs failed.

    Options stand behind the id: see rpqueue task show --help.
    """


@task.command("show", cls=Command, epilog=EXIT_CODES)
@click.argument("message_id", metavar="ID")
@queue_option
@json_option
@connection_options(hidden=True)
@click.pass_context
def show(ctx: click.Context, message_id: str, queue: str | None, wants_json: bool) -> None:
    """Show where the message is, what is in it, and what happened to it. The same as: rpqueue task ID."""
    found = find(connection_of(ctx).inspect(), message_id, queue)
    if wants_json:
        as_json(found)
        return
    values: dict[str, Any] = dataclasses.asdict(found)
    values["at"], values["available_at"] = instant(found.at), instant(found.available_at)
    trace = (values["error"] or {}).pop("traceback", None)
    skipped = {"id", "executions", *(["item"] if found.kind == "tasks" else ["name", "args", "kwargs"])}
    rows = []
    for name, value in values.items():
        if name not in skipped and value not in (None, ""):
            rows.append([name, short(value, 200) if isinstance(value, (list, dict)) or name == "item" else value])
    table(f"Message {found.id}", ["field", "value"], rows)
    if found.executions:
        table("Runs that failed", ["began", "took", "host", "pid", "error"], list(map(_run, found.executions)))
    if trace:
        say(trace)


def _run(record: dict[str, Any]) -> list[Any]:
    began, ended = (_number(record.get(name)) for name in ("started_at", "failed_at"))
    error = ": ".join(str(record[key]) for key in ("exception", "message") if record.get(key))
    took = age(max(ended - began, 0.001)) if began and ended else "-"
    return [instant(began), took, record.get("host", "-"), record.get("pid", "-"), error[:100]]


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) else 0


task.add_command(cancel)
