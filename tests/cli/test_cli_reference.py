"""The reference of the commands is that of the commands there are."""

from __future__ import annotations

import io
from pathlib import Path

import click

from mtasr.cli import program, reference

FILE = Path(__file__).parent.parent.parent / "docs" / "commands.md"


def test_it_is_up_to_date() -> None:
    stream = io.StringIO()
    reference.write(stream)
    assert FILE.read_text("utf-8") == stream.getvalue(), "python -m mtasr.cli.reference > docs/commands.md"


def test_every_command_is_in_it() -> None:
    text = FILE.read_text("utf-8")
    for name in program.list_commands(click.Context(program)):
        assert f"\n## mtasr {name}\n" in text
    assert "\n## mtasr models convert\n" in text
    assert "\n## mtasr config show\n" in text
