"""``rpqueue worker``, which is ``python -m rpqueue.run`` too: one definition, under two names."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from ..errors import RedisNotReady, RedisUnavailable
from ..logs import FORMATS
from ..options import POOLS
from ..protocol.operation import as_is, command
from .amounts import DURATION, SIZE
from .connection import connection_of, connection_options
from .failures import EXIT_CODES, Failure
from .grouping import GroupedCommand, under

if TYPE_CHECKING:
    from ..app import App

log = logging.getLogger("rpqueue.worker")


tasks, processes, ending, showing = under("Tasks"), under("Processes"), under("Ending"), under("Showing")


@click.command("worker", cls=GroupedCommand, epilog=EXIT_CODES)
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
@tasks(
    "-m",
    "--module",
    "modules",
    required=True,
    multiple=True,
    help="Dotted name of the module that declares the tasks, or imports those that do; several with commas.",
)
@tasks("-q", "--queues", "more_queues", multiple=True, help="Only these queues, with commas, as QUEUE.")
@processes("--processes", default=1, show_default=True, type=click.IntRange(1, 1000), help="Worker processes.")
@processes(
    "--threads", default=1, show_default=True, type=click.IntRange(1, 1000), help="Tasks at once in each process."
)
@processes(
    "--pool",
    "--executor",
    "pool",
    default="threads",
    show_default=True,
    type=click.Choice(POOLS),
    help="Where tasks run that do not say: threads, reused child processes, one fork for each run, or sync: one at a "
    "time in the main thread. With asyncio, --threads are coroutines at once, and plain functions take turns.",
)
@processes("--max-tasks", type=click.IntRange(1), help="Replace a process after so many tasks.")
@processes("--max-age", type=DURATION, help="Replace a process after seconds, or 30m, 2h, 1d.")
@processes("--max-memory", type=SIZE, help="Replace a process that has grown by bytes, or 500M, 2G.")
@ending(
    "--wait",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1e6),
    help="Seconds for each thread that running tasks get to end, when told to stop.",
)
@ending("--exit-after", type=DURATION, help="Stop after seconds, or 90m, 2h, 1d.")
@ending("--burst", is_flag=True, help="Stop once there is nothing left that could run now.")
@ending("--reload", is_flag=True, help="Start anew when a Python file changes; needs rpqueue[reload].")
@showing("--loglevel", default="info", show_default=True, help="Show log records from this level on.")
@showing(
    "--log-format",
    default="text",
    show_default=True,
    type=click.Choice(FORMATS),
    help="text: lines to read, of rpqueue. json: a line of JSON for each record of any logger.",
)
@showing("--successlevel", default=None, help="Level of the records about tasks that ended well; debug by default.")
@showing(
    "--store-tracebacks/--no-store-tracebacks",
    default=None,
    help="Whether records of failed runs have tracebacks; by default they do.",
)
@showing("--health-file", metavar="PATH", help="Say in this file how the worker is, for rpqueue health --file.")
@connection_options(hidden=False, short=True)
@click.pass_context
def worker(
    ctx: click.Context,
    queues: tuple[str, ...],
    modules: tuple[str, ...],
    more_queues: tuple[str, ...],
    threads: int,
    processes: int,
    pool: str,
    max_tasks: int | None,
    max_age: float | None,
    max_memory: int | None,
    wait: float,
    exit_after: float | None,
    burst: bool,
    reload: bool,
    loglevel: str,
    log_format: str,
    successlevel: str | None,
    store_tracebacks: bool | None,
    health_file: str | None,
) -> None:
    """
    Run tasks of these queues, or of all, until told to stop.

    SIGTERM, SIGINT and SIGUSR1 stop it when what runs has ended, or after --wait; a second one stops it at once.
    SIGUSR2 prints every thread's stack.
    """
    import rpqueue

    from .. import logs
    from ..worker import module_names

    connection = connection_of(ctx)
    logs.configure(loglevel, log_format)
    rpqueue.LOG_LEVEL = logs.level(loglevel, "--loglevel")
    connection.apply(rpqueue.app)
    names = module_names(modules)
    _import_all(names, reload)
    # Once more: what the command line says wins over what the module says as it is imported.
    connection.apply(rpqueue.app)
    if successlevel is not None:
        rpqueue.SUCCESS_LOG_LEVEL = logs.level(successlevel, "--successlevel")
    if store_tracebacks is not None:
        rpqueue.STORE_TRACEBACKS = store_tracebacks
    _greet(rpqueue.app)
    rpqueue.execute_tasks(
        [*queues, *_separated(more_queues)] or None,
        threads,
        processes,
        wait,
        names,
        pool=pool,
        max_tasks=max_tasks,
        max_age=max_age,
        max_memory=max_memory,
        exit_after=exit_after,
        burst=burst,
        reload=reload,
        health_file=health_file,
    )


def _separated(given: tuple[str, ...]) -> list[str]:
    """Names that may have commas between them."""
    return [name.strip() for names in given for name in names.split(",") if name.strip()]


def _greet(app: App) -> None:
    """Say at once what is wrong with Redis; what may pass by itself does not keep a worker from starting."""
    try:
        app.broker.execute(command(as_is, "PING"))
    except (RedisUnavailable, RedisNotReady) as error:
        log.warning("%s; trying again until it answers", error)
    finally:
        app.broker.close()  # the worker processes, forked from this one, open their own connections


def _import_all(names: list[str], reload: bool) -> None:
    """Import the user's modules, or end with the reason; with *reload*, when their code has been changed."""
    import rpqueue

    from ..worker import Watcher

    try:
        for name in names:
            import_tasks(name)
        if not rpqueue.REGISTRY:
            raise Failure(
                f"module {', '.join(names)!r} declares no tasks; decorate functions with @rpqueue.task, and name their "
                "module"
            )
    except Failure as error:
        if reload:
            watcher = Watcher(names)
            error.show()
            watcher.start_again_after_change()
        raise


def import_tasks(name: str) -> None:
    """Import the user's module, or end with the reason."""
    import rpqueue

    from ..worker import import_modules

    dotted = name.removesuffix(".py").lstrip("./").replace("/", ".")
    hint = f"; did you mean {dotted!r}?" if dotted and dotted != name else ""
    if "/" in name or name.startswith(".") or not name:
        raise Failure(f"--module: expected a dotted name such as 'package.tasks', got {name!r}{hint}")
    try:
        import_modules(rpqueue.app, [name])
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
