"""What a person sees: the text on stdout, and on stderr notes and bars in audio time; or events for a program there.

Where stdout is no terminal it gets the text alone, a segment a line. rich is loaded only for a terminal.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from mtasr.cli import events
from mtasr.cli.failures import not_written, printable
from mtasr.cli.summary import RESULTS, Ending, Result, show
from mtasr.cli.tally import Tally
from mtasr.cli.times import timestamp
from mtasr.formats.cue_text import labelled
from mtasr.transcript import Segment

if TYPE_CHECKING:
    from rich.console import Console

    from mtasr.cli.bars import Bars, DownloadProgress

#: Bytes; the small files of a model come in no time.
_WORTH_A_NOTE = 1_000_000


class Display:
    """The screen for one run of a command; `progress` is bar, json or none."""

    def __init__(self, *, quiet: bool = False, text: bool = True, progress: str = "bar") -> None:
        self._quiet = quiet
        self._text = text and not quiet
        self._progress = progress
        self._tally = Tally({})
        #: The recording at work: its name, its position and its duration.
        self._working: tuple[str, Callable[[], float], Callable[[], float | None]] | None = None
        self._bars: Bars | None = None
        self._console: Console | None = None

    @property
    def is_for_programs(self) -> bool:
        """Whether stderr gets events and nothing else."""
        return self._progress == "json"

    def note(self, text: str) -> None:
        """One line about the work, on stderr."""
        if self.is_for_programs:
            events.write("note", text=text)
        elif not self._quiet:
            with self._bars_away():
                click.echo(printable(text), err=True)

    def segment(self, segment: Segment) -> None:
        """The text of a segment, on stdout at once."""
        text = labelled(segment)
        if self.is_for_programs and self._working is not None:
            self._tell(segment, text, *self._working)
        if not text:
            return
        if not self._text:
            if self._bars is not None:
                self._bars.text = text
        elif sys.stdout.isatty():
            with self._bars_away():
                self._print_timed(segment, text)
        else:
            print_line(text)
            if self._bars is not None:
                self._bars.text = text

    def begin(self, sizes: Mapping[str, int]) -> None:
        """Recordings of so many bytes are worked on from now on."""
        self._tally = Tally(sizes)
        if self.is_for_programs:
            events.write("batch", files=len(sizes))

    @contextlib.contextmanager
    def working(self, name: str, position: Callable[[], float], total: Callable[[], float | None]) -> Iterator[None]:
        """Bars while the recording `name` is worked on; `position` and `total` tell seconds of audio."""
        self._working = (name, position, total)
        if self.is_for_programs:
            events.write("file", file=name, place=self._tally.files + 1)
        if self._quiet or self._progress != "bar" or not sys.stderr.isatty() or _into_pipe():
            yield
            return
        from mtasr.cli.bars import Bars

        self._bars = Bars(name, position, total, self._tally)
        try:
            self._bars.show()
            yield
        finally:
            self._bars.hide()
            self._bars = None

    def ended(self, ending: Ending) -> None:
        """A recording is at its end."""
        if ending.name in self._tally.sizes:
            self._tally.end(ending.name, ending.seconds or 0.0)
        if self.is_for_programs:
            events.write(
                "end",
                file=ending.name,
                result=_for_programs(ending.result),
                reason=ending.reason,
                seconds=ending.seconds,
                language=ending.language,
                files=ending.files,
            )

    def finish(self, endings: Sequence[Ending]) -> None:
        """All are at their ends."""
        if self.is_for_programs:
            counts = Counter(each.result for each in endings)
            figures = {"seconds": self._tally.seconds, "took": self._tally.took()}
            events.write("finish", **{_for_programs(result): counts[result] for result in RESULTS}, **figures)
        elif not self._quiet and len(endings) > 1:
            show(endings)

    def _tell(
        self, segment: Segment, text: str, name: str, position: Callable[[], float], total: Callable[[], float | None]
    ) -> None:
        at, duration = position(), total()
        events.write(
            "progress",
            file=name,
            position=at,
            duration=duration,
            start=segment.start,
            end=segment.end,
            text=text,
            speed=self._tally.speed(at),
            left=self._tally.left(name, at, duration),
        )

    @contextlib.contextmanager
    def downloads(self) -> Iterator[DownloadProgress | None]:
        """Bars in bytes on a terminal, else a line for each file."""
        if self._quiet or self._progress == "none":
            yield None
        elif sys.stderr.isatty() and not self.is_for_programs:
            from mtasr.cli.bars import download_bars

            with download_bars() as progress:
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
    def _bars_away(self) -> Iterator[None]:
        """On a terminal both streams are one screen: whatever is printed would land in the middle of the bars."""
        if self._bars is None:
            yield
            return
        self._bars.hide()
        yield
        self._bars.show()


def _for_programs(result: Result) -> str:
    return result.replace(" ", "_")


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
        raise not_written(error) from error
