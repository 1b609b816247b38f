"""A terminal on which lines stay, and what is below them is drawn anew."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from mtasr.cli.display import print_line

_UP, _CLEAR_BELOW = "\x1b[{}A", "\x1b[J"


class Screen:
    """Standard output, a terminal. All text is wrapped at words, so that it is easy to read while it comes."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        #: The lines that are drawn at present, without styles.
        self._drawn: list[str] = []
        self._open: tuple[Sequence[tuple[str, str]], str] = ([], "")

    @property
    def can_draw(self) -> bool:
        """Whether it understands more than lines."""
        return not _console().is_dumb_terminal

    def print(self, text: str) -> None:
        """Text that stays, above what is drawn."""
        console = _console()
        lines = Text(text).wrap(console, _width(console))
        with self._lock:
            self._erase()
            for line in lines:
                print_line(line.plain.rstrip())

    def note(self, text: str) -> None:
        """A line on standard error, above what is drawn."""
        with self._lock:
            self._erase()
            sys.stdout.flush()
            click.echo(text, err=True)
            self.draw(*self._open)

    def draw(self, texts: Sequence[tuple[str, str]], late: str) -> None:
        """Draw texts in place of those before: of each a part that is plain and one that is dimmed.

        If they are higher than the terminal, the last lines are drawn.
        """
        console = _console()
        width, height = _width(console), max(console.height - 1, 1)
        lines: list[Text] = []
        for plain, dimmed in texts:
            lines += Text.assemble(plain, (dimmed, "dim")).wrap(console, width)
        if late:
            lines += Text(late, style="yellow").wrap(console, width)
        lines = lines[-height:]
        with console.capture() as captured:
            for number, line in enumerate(lines):
                line.rstrip()
                console.print(line, end="\n" if number < len(lines) - 1 else "", soft_wrap=True)
        with self._lock:
            self._erase()
            self._open = texts, late
            self._drawn = [line.plain for line in lines]
            sys.stdout.write(captured.get())
            sys.stdout.flush()

    def _erase(self) -> None:
        """Remove what is drawn. A terminal that has become narrower shows a line of it in several rows."""
        if not self._drawn:
            return
        width = _console().width
        rows = sum(max(math.ceil(cell_len(line) / width), 1) for line in self._drawn) - 1
        self._drawn = []
        sys.stdout.write("\r" + (_UP.format(rows) if rows else "") + _CLEAR_BELOW)


def _console() -> Console:
    """A console for the present size of the terminal."""
    return Console(file=sys.stdout, highlight=False)


def _width(console: Console) -> int:
    """The columns to fill: after a character in the last one, terminals do not agree where the cursor is."""
    return max(console.width - 1, 1)
