"""
Pages made from the code at build time, so that they cannot say what is not so.

``.. from-docstring:: MODULE`` puts a module's docstring there, with ``:literal:`` as it stands. ``.. from-settings::``
lists every setting. ``.. from-scripts::`` shows the header of every Lua script, ``.. from-script-parts::`` that of the
parts they share. ``.. from-exceptions:: MODULE`` documents every exception of a module. ``.. from-click:: MODULE:NAME``
writes down the help of a command and of all that are below it.
"""

from __future__ import annotations

import importlib
import inspect
import re
from importlib import resources
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_COMMENT = re.compile(r"^-- ?(.*)$")


class Generated(SphinxDirective):
    """A directive whose content is rst that a method writes."""

    has_content = False

    def rst(self) -> list[str]:
        """The lines to put in its place."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the lines where the directive stands, titles included."""
        lines = StringList(self.rst(), source=self.get_source_info()[0])
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


class FromDocstring(Generated):
    """A module's docstring."""

    required_arguments = 1
    option_spec = {"literal": directives.flag, "skip": directives.nonnegative_int}  # noqa: RUF012 - as docutils asks

    def rst(self) -> list[str]:
        """The docstring, without its first *skip* paragraphs."""
        module = importlib.import_module(self.arguments[0])
        paragraphs = inspect.cleandoc(module.__doc__ or "").split("\n\n")
        lines = "\n\n".join(paragraphs[self.options.get("skip", 0) :]).splitlines()
        return ["::", "", *_indented(lines)] if "literal" in self.options else lines


class FromSettings(Generated):
    """Every setting: name, default, meaning."""

    def rst(self) -> list[str]:
        """A definition for each."""
        from rpqueue.settings import Settings

        lines = []
        for setting in Settings.all():
            lines += [f".. py:data:: {setting.name}", "   :module: rpqueue", "", f"   {setting.__doc__}"]
            default = setting.default()
            if default is None or isinstance(default, (str, int, float)):
                lines += ["", f"   Default: ``{default!r}``."]
            lines.append("")
        return lines


class FromExceptions(Generated):
    """Every exception that a module defines."""

    required_arguments = 1

    def rst(self) -> list[str]:
        """An autodoc directive for each."""
        name = self.arguments[0]
        members = vars(importlib.import_module(name)).items()
        names = [key for key, value in members if isinstance(value, type) and issubclass(value, Exception)]
        return [line for key in names for line in (f".. autoexception:: {name}.{key}", "   :show-inheritance:", "")]


class FromScripts(Generated):
    """The header of every script."""

    def rst(self) -> list[str]:
        """A section for each."""
        from rpqueue.protocol import scripts

        lines = []
        for name in scripts.names():
            script = scripts.load(name)
            own = _file(f"{name}.lua")
            # What is shown is what is sent: the parts in front, then the file.
            assert script.source.endswith(own), name
            lines += _section(name, _header(own))
        return lines


class FromScriptParts(Generated):
    """The header of every part that scripts share."""

    def rst(self) -> list[str]:
        """A section for each."""
        folder = resources.files("rpqueue.protocol").joinpath("lua", "parts")
        names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".lua"))
        return [line for name in names for line in _section(f"parts/{name[:-4]}", _header(_file(f"parts/{name}")))]


class FromClick(Generated):
    """The help texts of a click command."""

    required_arguments = 1

    def rst(self) -> list[str]:
        """A section for the command, and one for each below it."""
        import click

        module, _, name = self.arguments[0].partition(":")
        command = getattr(importlib.import_module(module), name)
        return self._of(command, click.Context(command, info_name="rpqueue", terminal_width=100, max_content_width=100))

    def _of(self, command: Any, context: Any) -> list[str]:
        lines = _section(context.command_path, command.get_help(context).splitlines())
        for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                deeper = type(context)(below, info_name=name, parent=context)
                lines += self._of(below, deeper)
        return lines


def _file(path: str) -> str:
    return resources.files("rpqueue.protocol").joinpath("lua", *path.split("/")).read_text("utf-8")


def _header(source: str) -> list[str]:
    """The comment on top of a Lua file."""
    lines = []
    for line in source.splitlines():
        comment = _COMMENT.match(line)
        if comment is None:
            break
        lines.append(comment[1])
    return lines


def _section(title: str, text: list[str]) -> list[str]:
    return [title, "~" * len(title), "", "::", "", *_indented(text), ""]


def _indented(lines: list[str]) -> list[str]:
    return [f"   {line}".rstrip() for line in lines]


def list_nested_options(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Make a bullet list of options that are explained below a parameter, so that docutils reads them as such."""
    for at, line in enumerate(lines):
        if not re.match(r" +\w+: .*:$", line):
            continue
        margin, below, nested = len(line) - len(line.lstrip()), at + 1, []
        while below < len(lines) and len(lines[below]) - len(lines[below].lstrip()) > margin:
            nested.append(lines[below])
            below += 1
        if not nested:
            continue
        first = len(nested[0]) - len(nested[0].lstrip())
        bullets = [
            re.sub(r"^( +)(\w+): ", r"\1* ``\2``: ", text)
            if len(text) - len(text.lstrip()) == first
            else " " * (first + 2) + text.lstrip()
            for text in nested
        ]
        lines[at + 1 : below] = ["", *bullets, ""]
        return


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.add_directive("from-docstring", FromDocstring)
    app.add_directive("from-settings", FromSettings)
    app.add_directive("from-exceptions", FromExceptions)
    app.add_directive("from-scripts", FromScripts)
    app.add_directive("from-script-parts", FromScriptParts)
    app.add_directive("from-click", FromClick)
    app.connect("autodoc-process-docstring", list_nested_options, priority=400)  # before napoleon, which has 500
    return {"parallel_read_safe": True}
