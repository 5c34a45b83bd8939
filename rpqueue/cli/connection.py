"""Where Redis is, as the command line says it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .grouping import under

if TYPE_CHECKING:
    from ..app import App
    from ..inspection import Inspection

F = TypeVar("F", bound=Callable[..., Any])

#: Seconds that looks and changes wait for an answer, before they are sent again. A worker waits as long as the library.
PATIENCE = 5.0


@dataclass
class Connection:
    """What was said on the command line; None: nothing. Options of a command win over those in front of it."""

    url: str | None = None
    host: str | None = None
    port: int | None = None
    db: int | None = None
    password: str | None = None
    pwprompt: bool | None = None
    unixpath: str | None = None
    timeout: float | None = None
    prefix: str | None = None

    def apply(self, app: App, timeout: float | None = None) -> None:
        """Tell an App all that was said, and nothing else: what its module says of itself stays."""
        if self.prefix is not None:
            app.set_key_prefix(self.prefix)
        places = {"host": self.host, "port": self.port, "db": self.db, "unix_socket_path": self.unixpath}
        said: dict[str, Any] = {name: value for name, value in places.items() if value is not None}
        if self.url is not None and said:
            names = ", ".join("--" + name.replace("unix_socket_path", "unixpath") for name in said)
            raise click.UsageError(f"--url: expected without {names}; write them into the URL")
        is_elsewhere = bool(said)
        if self.pwprompt and self.password is None:
            self.password = click.prompt("Redis password", hide_input=True, err=True, default="", show_default=False)
        if self.password:
            said["password"] = self.password
        waits = self.timeout if self.timeout is not None else timeout
        if waits is not None:
            said["socket_timeout"] = waits
        # RPQUEUE_URL holds when nobody says anything: it does not stand against a module, nor against --host.
        url = self.url or (os.environ.get("RPQUEUE_URL") if said and not is_elsewhere else None)
        if url:
            said["url"] = url
        if said:
            app.set_redis_connection_settings(**said)

    def inspect(self) -> Inspection:
        """Views of the default App, connected as the command line says."""
        import rpqueue

        from ..inspection import Inspection

        self.apply(rpqueue.app, timeout=PATIENCE)
        return Inspection(rpqueue.app)


def connection_of(ctx: click.Context) -> Connection:
    """The one Connection of a command and of the group in front of it."""
    return ctx.ensure_object(Connection)


def _take(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None:
        setattr(connection_of(ctx), parameter.name or "", value)


def _positive(ctx: click.Context, parameter: click.Parameter, value: float | None) -> None:
    if value is not None and not 0 < value < 1e6:
        raise click.BadParameter(f"expected seconds greater than 0, got {value:g}")
    _take(ctx, parameter, value)


def connection_options(*, hidden: bool, short: bool = False) -> Callable[[F], F]:
    """
    The options that say where Redis is. All commands take them.

    Args:
        hidden: whether the command's help leaves them out; the group lists them.
        short: whether there are names of one letter, too, as TaskTiger's worker has them. -h is for help.
    """
    common: dict[str, Any] = {"expose_value": False, "default": None, "hidden": hidden, "callback": _take}
    option = under("Redis")
    port, db, password = (("-p",), ("-n",), ("-a",)) if short else ((), (), ())
    options = [
        option(
            "--url",
            help="redis://HOST:PORT/DB, rediss://, unix://, redis+sentinel://, redis+cluster:// or embedded:DIR. "
            "Without any option: RPQUEUE_URL, else localhost:6379.",
            **common,
        ),
        option("--host", help="Name or address of the machine that Redis runs on.", **common),
        option(*port, "--port", type=click.IntRange(1, 65535), help="TCP port of Redis.", **common),
        option(*db, "--db", type=click.IntRange(0), help="Number of the database.", **common),
        option(
            *password, "--password", help="Password of Redis; others may see it in the list of processes.", **common
        ),
        option("--pwprompt", is_flag=True, help="Ask for the password.", **common),
        option("--unixpath", help="Path of a unix socket, instead of host and port.", **common),
        option(
            "--timeout", type=float, help="Seconds to wait for Redis's answer.", **{**common, "callback": _positive}
        ),
        option("--prefix", help="First part of every key; rpqueue by default.", **common),
    ]

    def decorate(function: F) -> F:
        for add in reversed(options):
            function = add(function)
        return function

    return decorate


#: The names of these options, for tests and documentation.
NAMES = tuple(field.name for field in fields(Connection))
