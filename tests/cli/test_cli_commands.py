"""A program that uses mtasr adds a command: one module, and one line in the table of commands."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from mtasr.cli import COMMANDS, LazyCommand, program
from mtasr.cli.options.command import Command, Option
from mtasr.cli.options.decoding import language_option
from mtasr.errors import InputError


@click.command(cls=Command)
@click.argument("file")
@click.option("--least", cls=Option, type=int, default=1)
@language_option
def count(file: str, least: int, language: str | None) -> int:
    """Count words."""
    if file == "gone.txt":
        raise InputError("gone.txt: no such file")
    click.echo(f"{file} {least} {language}")
    return 6 if least > 1 else 0


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("my_program")
    module.count = count  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_program", module)
    monkeypatch.setitem(COMMANDS, "count", LazyCommand("my_program", "count", "Count words.", configured=True))


def test_it_runs_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*args: str) -> tuple[int, str]:
        result = CliRunner().invoke(program, args, prog_name="mtasr")
        return result.exit_code, result.output

    assert run("count", "a.txt", "--language", "French") == (0, "a.txt 1 fr\n")
    assert run("count", "gone.txt") == (3, "mtasr: error: gone.txt: no such file\n")
    assert run("cuont", "a.txt")[1].startswith("mtasr: error: No such command 'cuont'; did you mean: mtasr count")
    assert re.search(r"^  count +Count words\.$", run("--help")[1], re.MULTILINE)
    monkeypatch.setenv("MTASR_LEAST", "2")
    assert run("count", "a.txt") == (6, "a.txt 2 None\n")
    assert run("config", "show", "count")[1].splitlines()[-1].split() == ["least", "=", "2", "(MTASR_LEAST)"]
