"""``rpqueue worker``, which is ``python -m rpqueue.run`` too: one definition, under two names."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from ..errors import RedisNotReady, RedisUnavailable
from ..logs import FORMATS
from ..protocol.operation import as_is, command
from .connection import connection_of, connection_options
from .failures import EXIT_CODES, Command, Failure

if TYPE_CHECKING:
    from ..app import App

log = logging.getLogger("rpqueue.worker")


@click.command("worker", cls=Command, epilog=EXIT_CODES)
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
@click.option(
    "--module", required=True, help="Dotted name of the module that declares the tasks, or imports those that do."
)
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(1, 1000), help="Tasks at once in each process."
)
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 1000), help="Worker processes.")
@click.option(
    "--wait",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1e6),
    help="Seconds for each thread that running tasks get to end, when told to stop.",
)
@click.option("--loglevel", default="info", show_default=True, help="Show log records from this level on.")
@click.option(
    "--log-format",
    default="text",
    show_default=True,
    type=click.Choice(FORMATS),
    help="text: lines to read, of rpqueue. json: a line of JSON for each record of any logger.",
)
@click.option(
    "--successlevel", default=None, help="Level of the records about tasks that ended well; debug by default."
)
@connection_options(hidden=False)
@click.pass_context
def worker(
    ctx: click.Context,
    queues: tuple[str, ...],
    module: str,
    threads: int,
    processes: int,
    wait: float,
    loglevel: str,
    log_format: str,
    successlevel: str | None,
) -> None:
    """
    Run tasks of these queues, or of all, until told to stop.

    SIGTERM, SIGINT and SIGUSR1 stop it when what runs has ended, or after --wait; a second one stops it at once.
    SIGUSR2 prints every thread's stack.
    """
    import rpqueue

    from .. import logs

    connection = connection_of(ctx)
    logs.configure(loglevel, log_format)
    rpqueue.LOG_LEVEL = logs.level(loglevel, "--loglevel")
    connection.apply(rpqueue.app)
    import_tasks(module)
    # Once more: what the command line says wins over what the module says as it is imported.
    connection.apply(rpqueue.app)
    if successlevel is not None:
        rpqueue.SUCCESS_LOG_LEVEL = logs.level(successlevel, "--successlevel")
    if not rpqueue.REGISTRY:
        raise Failure(
            f"module {module!r} declares no tasks; decorate functions with @rpqueue.task, and name their module"
        )
    _greet(rpqueue.app)
    rpqueue.execute_tasks(queues or None, threads, processes, wait, module)


def _greet(app: App) -> None:
    """Say at once what is wrong with Redis; what may pass by itself does not keep a worker from starting."""
    try:
        app.broker.execute(command(as_is, "PING"))
    except (RedisUnavailable, RedisNotReady) as error:
        log.warning("%s; trying again until it answers", error)
    finally:
        app.broker.close()  # the worker processes, forked from this one, open their own connections


def import_tasks(name: str) -> None:
    """Import the user's module, or end with the reason."""
    import rpqueue

    from ..worker import import_module

    dotted = name.removesuffix(".py").lstrip("./").replace("/", ".")
    hint = f"; did you mean {dotted!r}?" if dotted and dotted != name else ""
    if "/" in name or name.startswith(".") or not name:
        raise Failure(f"--module: expected a dotted name such as 'package.tasks', got {name!r}{hint}")
    try:
        import_module(rpqueue.app, name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            _fail(name, error)
        raise Failure(
            f"module {name!r} was not found in the current directory, nor where Python looks for modules{hint}"
        ) from error
    except Exception as error:
        _fail(name, error)


def _fail(name: str, error: BaseException) -> NoReturn:
    """Show where the user's module went wrong, without our own frames and those of the import system."""
    ours = str(Path(__file__).parents[1])
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if "importlib" not in frame.filename and not frame.filename.startswith(ours)]
    click.echo("".join(traceback.format_list(theirs)), err=True, nl=False)
    raise Failure(f"module {name!r} cannot be imported: {type(error).__name__}: {error}") from error
