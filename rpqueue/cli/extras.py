"""``rpqueue demo`` and ``rpqueue completion``."""

from __future__ import annotations

import os
import sys

import click

from .failures import Command, Failure


@click.command(
    "demo",
    cls=Command,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Count the Python standard library with real workers on an embedded server."""
    from ..demo import main

    code = main(list(arguments))
    if code:
        sys.exit(code)


@click.command("completion", cls=Command)
@click.argument("shell", required=False, type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> None:
    """
    Print what makes SHELL complete commands, options and queue names.

    \b
    bash:  eval "$(rpqueue completion bash)"    in ~/.bashrc
    zsh:   eval "$(rpqueue completion zsh)"     in ~/.zshrc
    fish:  rpqueue completion fish > ~/.config/fish/completions/rpqueue.fish
    """
    from click.shell_completion import get_completion_class

    name = shell or os.path.basename(os.environ.get("SHELL", ""))  # noqa: PTH119
    kind = get_completion_class(name)
    if kind is None or name not in ("bash", "zsh", "fish"):
        raise Failure(f"shell: expected bash, zsh or fish, got {name!r}")
    click.echo(kind(ctx.find_root().command, {}, "rpqueue", "_RPQUEUE_COMPLETE").source())
