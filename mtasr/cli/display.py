"""What a person sees: the text on stdout, and on stderr notes and a bar in audio time.

Where stdout is no terminal it gets the text alone, a segment a line. rich is loaded only for a terminal.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtasr.cli.failures import printable, silence
from mtasr.errors import OutputError
from mtasr.transcript import Segment
from mtasr.writers import labelled

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

#: (file, bytes done, bytes in total or None) while a model is downloaded.
DownloadProgress = Callable[[str, int, int | None], None]


#: Bytes; the small files of a model come in no time.
_WORTH_A_NOTE = 1_000_000


class Display:
    """The screen for one run of a command."""

    def __init__(self, *, quiet: bool = False, text: bool = True) -> None:
        self._quiet = quiet
        self._text = text and not quiet
        self._bar: _Bar | None = None
        self._console: Console | None = None

    def note(self, text: str) -> None:
        """One line about the work, on stderr."""
        if not self._quiet:
            with self._bar_away():
                click.echo(printable(text), err=True)

    def segment(self, segment: Segment) -> None:
        """The text of a segment, on stdout at once."""
        text = labelled(segment)
        if not self._text or not text:
            return
        if sys.stdout.isatty():
            with self._bar_away():
                self._print_timed(segment, text)
        else:
            print_line(text)

    @contextlib.contextmanager
    def working(self, name: str, position: Callable[[], float], total: Callable[[], float | None]) -> Iterator[None]:
        """A bar while the recording `name` is worked on; `position` and `total` tell seconds of audio."""
        if self._quiet or not sys.stderr.isatty() or _into_pipe():
            yield
            return
        self._bar = _Bar(name, position, total)
        try:
            self._bar.show()
            yield
        finally:
            self._bar.hide()
            self._bar = None

    @contextlib.contextmanager
    def downloads(self) -> Iterator[DownloadProgress | None]:
        """Bars in bytes on a terminal, else a line for each file."""
        if self._quiet:
            yield None
        elif sys.stderr.isatty():
            with _download_bars() as progress:
                yield progress
        else:
            yield self._note_downloads()

    def _note_downloads(self) -> DownloadProgress:
        seen: set[str] = set()

        def progress(file: str, done: int, total: int | None) -> None:
            if file not in seen and (total is None or total >= _WORTH_A_NOTE):
                seen.add(file)
                self.note(f"Installing {file}" + (f" ({total / 1e6:.1f} MB)" if total else ""))

        return progress

    def _print_timed(self, segment: Segment, text: str) -> None:
        from rich.console import Console
        from rich.text import Text

        self._console = self._console or Console(file=sys.stdout, highlight=False)
        # A Text is taken as it is: brackets and colons in speech are neither markup nor emoji codes.
        line = Text.assemble((f"[{timestamp(segment.start)} --> {timestamp(segment.end)}]", "cyan"), "  ", text)
        # The terminal wraps, so that copied text has no line breaks of ours.
        self._console.print(line, soft_wrap=True)

    @contextlib.contextmanager
    def _bar_away(self) -> Iterator[None]:
        """On a terminal both streams are one screen: whatever is printed would land in the middle of the bar."""
        if self._bar is None:
            yield
            return
        self._bar.hide()
        yield
        self._bar.show()


def _into_pipe() -> bool:
    """Whether stdout is a pipe: what reads it may write to the same terminal, across a bar."""
    try:
        return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def print_line(text: str) -> None:
    """A line on stdout at once, for the program behind the pipe. Raises `OutputError` when it cannot be written."""
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        silence(sys.stdout)
        raise OutputError(f"standard output: {error.strerror}") from error


def timestamp(seconds: float) -> str:
    """MM:SS.mmm, after an hour H:MM:SS.mmm."""
    milliseconds = round(seconds * 1000)
    rest, milliseconds = divmod(milliseconds, 1000)
    return f"{clock(rest, minute_digits=2)}.{milliseconds:03}"


def clock(seconds: float, *, minute_digits: int = 1) -> str:
    """M:SS, after an hour H:MM:SS."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:0{minute_digits}}:{second:02}"


class _Bar:
    """One line: name, bar, time in the recording, speed against real time, time left.

    It asks for the position whenever it draws, so it also moves through minutes without a segment.
    """

    def __init__(self, name: str, position: Callable[[], float], total: Callable[[], float | None]) -> None:
        from rich.console import Console

        self._name = printable(Path(name).name)
        self._position = position
        self._total = total
        self._began = time.monotonic()
        self._console = Console(file=sys.stderr, highlight=False)
        self._live: Live | None = None

    def show(self) -> None:
        from rich.live import Live

        self._live = Live(get_renderable=self._render, console=self._console, transient=True, redirect_stdout=False)
        self._live.start(refresh=True)

    def hide(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        position, total = self._position(), self._total()
        speed = position / max(time.monotonic() - self._began, 1e-3)
        bar = ProgressBar(total=total, completed=min(position, total or 0), pulse=total is None)
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(max_width=24, no_wrap=True, overflow="ellipsis")
        row.add_column(ratio=1, min_width=8)
        row.add_column(no_wrap=True)
        row.add_row(Text(self._name), bar, Text(_figures(position, total, speed)))
        return row


def _figures(position: float, total: float | None, speed: float) -> str:
    parts = [clock(position)]
    if total:
        parts = [f"{min(position / total, 1):4.0%}", f"{clock(position)}/{clock(total)}"]
    if position > 0:
        parts.append(f"{speed:.1f}x")
        if total:
            parts.append(f"{clock(max(total - position, 0) / speed)} left")
    return "  ".join(parts)


@contextlib.contextmanager
def _download_bars() -> Iterator[DownloadProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    bars = Progress(*columns, console=Console(stderr=True), transient=True)

    def progress(file: str, done: int, total: int | None) -> None:
        if file not in tasks:
            bars.start()  # Not before: most models are on the machine already.
            tasks[file] = bars.add_task(file, total=total)
        bars.update(tasks[file], completed=done, total=total)

    try:
        yield progress
    finally:
        if tasks:
            bars.stop()
