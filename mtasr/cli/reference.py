"""All help pages as one Markdown document: `python -m mtasr.cli.reference > docs/commands.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click

from mtasr.cli import program

_WIDTH = 100

_HEAD = """\
# Commands

This page has the output of `--help` for each command. `python -m mtasr.cli.reference > docs/commands.md` writes it, and
a test checks that it is up to date. Configuration files and the environment can set the options that `mtasr config
show` lists.
"""


def write(stream: TextIO) -> None:
    stream.write(_HEAD)
    for context in _contexts(program, "mtasr"):
        stream.write(f"\n## {context.command_path}\n\n```text\n{context.get_help().rstrip()}\n```\n")


def _contexts(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[click.Context]:
    """A context for the command and for each below it, in the order of the help."""
    settings: dict[str, Any] = {**command.context_settings, "terminal_width": _WIDTH, "max_content_width": _WIDTH}
    context = click.Context(command, parent=parent, info_name=name, **settings)
    yield context
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            if below is not None and not below.hidden:
                yield from _contexts(below, each, context)


if __name__ == "__main__":
    write(sys.stdout)
