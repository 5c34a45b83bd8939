"""The command line: ``rpqueue COMMAND``, or ``python -m rpqueue COMMAND``."""

from __future__ import annotations

from copy import copy

import click

from ..version import VERSION
from .acl import acl
from .connection import connection_options
from .dead import dead
from .doctor import doctor
from .extras import completion, demo
from .failures import EXIT_CODES
from .graves import purge, redrive
from .health import health
from .looking import ls, names, status
from .mending import cancel, delete, reschedule, retry, run_now
from .migrate import migrate
from .queues import clear, priority
from .task import task
from .work import worker

__all__ = ["main"]


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="rpqueue")
@connection_options(hidden=False)
def main() -> None:
    """
    Priority task queues and data queues on Redis or Valkey.

    The options that say where Redis is may also stand behind a command.
    """


for command in (
    *(worker, status, ls, names, task, retry, redrive, delete, purge, cancel, reschedule, run_now),
    *(clear, priority, doctor, migrate, acl, health, demo, completion),
):
    main.add_command(command)

# As it was said before.
page = copy(ls)
page.hidden = True
main.add_command(page, "page")
main.add_command(dead)
