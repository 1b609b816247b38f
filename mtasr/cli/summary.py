"""How each recording of a batch has ended, and the table of it at the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import click

from mtasr.cli.failures import printable

#: Longer tables leave out what went well.
_LONGEST = 40

Result = Literal["done", "in doubt", "failed", "skipped"]

RESULTS: tuple[Result, ...] = get_args(Result)

_COLOURS: dict[Result, str] = {"done": "green", "in doubt": "yellow", "failed": "red", "skipped": "dim"}


@dataclass(frozen=True, slots=True)
class Ending:
    """What has become of one recording: "in doubt" is what has text without speech, or speech without text."""

    name: str
    result: Result
    #: Of a failure, of doubts, and of skipping.
    reason: str = ""
    #: Of audio.
    seconds: float | None = None
    language: str | None = None
    #: Those written.
    files: tuple[str, ...] = ()


def show(endings: Sequence[Ending]) -> None:
    """A table on a terminal, all of a batch or what did not go well in it; else a line for each of the latter."""
    bad = [each for each in endings if each.result in ("failed", "in doubt")]
    if not sys.stderr.isatty():
        for each in bad:
            click.echo(printable(f"{each.result}: {each.name}: {_reason(each)}"), err=True)
        return
    listed = endings if len(endings) <= _LONGEST else bad
    if listed:
        _show_table(listed)


def _show_table(endings: Sequence[Ending]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mtasr.cli.times import clock

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Recording", overflow="fold", max_width=40)
    table.add_column("Audio", justify="right")
    table.add_column("Language")
    table.add_column("Result", no_wrap=True)
    if any(each.reason for each in endings):
        table.add_column("Reason", overflow="fold")
    for each in endings:
        table.add_row(
            Text(printable(each.name)),
            "" if each.seconds is None else clock(round(each.seconds)),
            each.language or "",
            Text(each.result, style=_COLOURS[each.result]),
            *([Text(printable(_reason(each)))] if len(table.columns) > 4 else []),
        )
    Console(stderr=True, highlight=False).print(table)


def _reason(ending: Ending) -> str:
    """Without the name of the recording, which stands beside it."""
    return ending.reason.removeprefix(f"{ending.name}: ")
