"""``rpqueue acl``: what a Redis user needs, and nothing more."""

from __future__ import annotations

import hashlib

import click

from ..acl import ROLES, Role, rules
from ..errors import RefusedName
from .connection import connection_of, connection_options
from .failures import Command


@click.command("acl", cls=Command)
@click.argument("role", type=click.Choice(ROLES))
@click.option("--user", help="Name of the Redis user; rpqueue-ROLE by default.")
@click.option("--new-password", is_flag=True, help="Ask for the user's password, and print its SHA-256 in the line.")
@click.option("--cluster", "is_cluster", is_flag=True, help="For a Redis Cluster: run the line on every node.")
@click.option("--fsync", "may_fsync", is_flag=True, help='For durability "fsync": needs Redis or Valkey 7.2.')
@click.option("--file", "as_file", is_flag=True, help="As a line of an ACL file or of redis.conf.")
@connection_options(hidden=True)
@click.pass_context
def acl(
    ctx: click.Context,
    role: Role,
    user: str | None,
    new_password: bool,
    is_cluster: bool,
    may_fsync: bool,
    as_file: bool,
) -> None:
    """
    Print the ACL line of a Redis user with the least privileges that ROLE needs.

    A producer enqueues, waits and fetches results. A worker runs tasks and consumes items. An admin has all commands of
    this program. Each may touch the keys of one --prefix alone. Nothing is sent to Redis.

    \b
    rpqueue acl worker --new-password | redis-cli
    """
    import rpqueue

    name = user or f"rpqueue-{role}"
    if not name.isprintable() or set(name) & set(" \"'"):
        raise RefusedName(f"--user: expected a name without spaces and quotes, got {name!r}")
    words = ["reset", "on"]
    if new_password:
        secret = click.prompt(f"Password of {name}", hide_input=True, err=True, confirmation_prompt=True)
        words.append("#" + hashlib.sha256(secret.encode()).hexdigest())
    prefix = connection_of(ctx).prefix or rpqueue.app.settings.key_prefix
    words += rules(role, prefix, is_cluster=is_cluster, may_fsync=may_fsync)
    click.echo(" ".join(["user" if as_file else "ACL SETUSER", name, *words]))
    if not new_password:
        click.echo(f"No password yet, so nobody can log in as {name}: ACL SETUSER {name} '>PASSWORD'", err=True)
