"""``rpqueue health``: whether a worker is well."""

from __future__ import annotations

import socket
import sys

import click

from ..health import MAX_AGE, report
from .connection import connection_of, connection_options
from .failures import Command, Failure
from .output import as_json, say

CODES = "Exit codes: 0 well; 1 not well, with one line that says why; 2 wrong usage; 3 Redis was not reached."


@click.command("health", cls=Command, epilog=CODES)
@click.option("--file", "path", metavar="PATH", help="The worker's --health-file. Redis is not asked then.")
@click.option(
    "--max-age",
    default=MAX_AGE,
    show_default=True,
    type=click.FloatRange(0, 1e9, min_open=True, max_open=True),
    help="Seconds after which the file counts as left behind.",
)
@click.option(
    "--ready", is_flag=True, help="With --file: the worker has to work, too, with all processes, and not be stopping."
)
@click.option("--worker", "worker_id", metavar="ID", help="Without --file: this worker process, HOST:PID.")
@click.option("--queue", help="Without --file: any worker, of any host, that works on this queue.")
@click.option("--json", "wants_json", is_flag=True, help="Print JSON.")
@connection_options(hidden=True)
@click.pass_context
def health(
    ctx: click.Context,
    path: str | None,
    max_age: float,
    ready: bool,
    worker_id: str | None,
    queue: str | None,
    wants_json: bool,
) -> None:
    """
    Say whether a worker is well: by its file, or whether Redis has heard of one on this host within WORKER_TTL.

    The application is not imported.
    """
    if path is not None:
        if worker_id is not None or queue is not None:
            raise click.UsageError("--worker, --queue: expected without --file, which is about one worker")
        sys.exit(report(path, max_age, ready, wants_json))
    if ready:
        raise click.UsageError("--ready: expected together with --file")
    host = socket.gethostname()
    found = [
        worker
        for worker in connection_of(ctx).inspect().workers()
        if worker.is_alive
        and (worker_id is None or worker.id == worker_id)
        and (queue is None or worker.queues is None or queue in worker.queues)
        and (worker_id is not None or queue is not None or worker.host == host)
    ]
    place = f"worker {worker_id!r}" if worker_id else "worker" if queue else f"worker on {host}"
    why = "" if found else f"Redis has not heard of any {place}{f' for queue {queue!r}' if queue else ''} lately"
    if wants_json:
        as_json({"healthy": not why, "why": why, "workers": found})
        sys.exit(bool(why))
    if why:
        raise Failure(f"not healthy: {why}")
    say(f"healthy: {len(found)} worker process{'es' if len(found) > 1 else ''}")
