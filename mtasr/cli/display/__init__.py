"""What a command shows: text on stdout, and on stderr notes and bars for people, or events for programs.

Where stdout is not a terminal it gets the text alone: one segment per line, or one turn if there are speakers. With
`--progress json`, stderr gets one JSON object per line:

    {"event": "batch", "files": 20}                       decoding begins; skipped recordings are not counted
    {"event": "file", "file": "a.wav", "place": 1}        the first of them begins
    {"event": "progress", "file": "a.wav", "position": 12.4, "duration": 60.0, "start": 8.1, "end": 12.4,
     "text": "...", "speed": 21.0, "left": 140.2}         a segment is recognised
    {"event": "end", "file": "a.wav", "result": "done", "reason": "", "seconds": 60.0, "language": "en",
     "files": ["a.srt"]}                                  also for recordings that are skipped or fail
    {"event": "finish", "done": 18, "in_doubt": 1, "failed": 1, "skipped": 0, "seconds": 1180.5, "took": 55.1}
    {"event": "nodes", "nodes": [{"name": "host", "workers": 1, "tasks": 2, "recordings": 8, "seconds": 640.0,
     "reason": ""}]}                                      with --cluster, where it changes: what its nodes do
    {"event": "note", "text": "..."}                      what a person would read

All times are in seconds. `position` and `duration` are of the recording; `duration` is null if its file does not state
it. `speed` is seconds of audio per second and `left` the seconds until the end of the batch, both null while unknown.
`result` is done, in_doubt, failed or skipped. Of a node, `tasks` are under way, `recordings` and `seconds` of audio are
decoded, and `reason` says why it gets no work. A line that is not JSON says why the command was refused or stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mtasr.batch.run import OUTCOMES, Ending, Outcome
from mtasr.cli.display.pace import Pace
from mtasr.cli.failures import not_written, printable
from mtasr.formats.cue_text import continues, labelled
from mtasr.transcript import Segment

if TYPE_CHECKING:
    from mtasr.cli.display.terminal import Bars, DownloadProgress
    from mtasr.cluster.team import NodeState

#: Bytes from which a download is worth a note: the small files of a model take no time.
_WORTH_A_NOTE = 1_000_000

#: Seconds between events about nodes.
_LOOK = 1.0

#: Recordings from which on the table at the end leaves out those that went well.
_LONGEST_TABLE = 40


class Display:
    """The screen for one run of a command; `progress` is bar, json or none."""

    def __init__(self, *, quiet: bool = False, text: bool = True, progress: str = "bar") -> None:
        self._quiet = quiet
        self._text = text and not quiet
        self._progress = progress
        self._pace = Pace({})
        #: The current recording: its name, position and duration.
        self._working: tuple[str, Callable[[], float], Callable[[], float | None]] | None = None
        self._bars: Bars | None = None
        #: What a speaker says in a turn that may go on, while it is not printed.
        self._turn: list[Segment] = []
        #: What the nodes of a cluster do, if there is one.
        self._nodes: Callable[[], Sequence[NodeState]] = tuple
        #: The last event about them, and when it was looked whether there is a new one.
        self._written: list[dict[str, Any]] = []
        self._looked = float("-inf")

    @property
    def is_for_programs(self) -> bool:
        """Whether stderr gets events and nothing else."""
        return self._progress == "json"

    def note(self, text: str) -> None:
        """One line about the work, on stderr."""
        if self.is_for_programs:
            _write_event("note", text=text)
        elif not self._quiet:
            with self._bars_hidden():
                click.echo(printable(text), err=True)

    def segment(self, segment: Segment) -> None:
        """The text of a segment, on stdout at once, or at the end of a turn if that is one line."""
        text = labelled(segment)
        if self.is_for_programs and self._working is not None:
            self._write_progress(segment, text, *self._working)
        if not text:
            return
        if self._text and sys.stdout.isatty():
            from mtasr.cli.display.terminal import print_timed

            with self._bars_hidden():
                print_timed(segment.start, segment.end, text)
            return
        if self._bars is not None:
            self._bars.text = text
        if not self._text:
            return
        if self._turn and not continues(self._turn, segment):
            self.end_turn()
        self._turn.append(segment)
        if segment.speaker is None:
            self.end_turn()

    def end_turn(self) -> None:
        """Print what is left: the recording has no more segments."""
        turn, self._turn = self._turn, []
        if turn:
            print_line(labelled(*turn))

    def begin(self, sizes: Mapping[str, int]) -> None:
        """A batch of recordings of these sizes in bytes begins."""
        self._pace = Pace(sizes)
        if self.is_for_programs:
            _write_event("batch", files=len(sizes))

    def follow_nodes(self, nodes: Callable[[], Sequence[NodeState]]) -> None:
        """Show what the nodes of a cluster do."""
        self._nodes = nodes

    def look_at_nodes(self) -> None:
        """Write an event if what the nodes of a cluster do has changed, at most once a second."""
        if self.is_for_programs and time.monotonic() - self._looked >= _LOOK:
            self._looked = time.monotonic()
            self._write_nodes()

    def _write_nodes(self) -> None:
        nodes = [asdict(each) for each in self._nodes()]
        if nodes != self._written:
            self._written = nodes
            _write_event("nodes", nodes=nodes)

    @contextlib.contextmanager
    def working(
        self,
        name: str,
        position: Callable[[], float],
        total: Callable[[], float | None],
        is_telling_apart: Callable[[], bool] = bool,
    ) -> Iterator[None]:
        """Bars while the recording `name` is transcribed; `position` and `total` return seconds of audio.

        `is_telling_apart` returns whether what is left is to find out who spoke.
        """
        self._working = (name, position, total)
        if self.is_for_programs:
            _write_event("file", file=name, place=self._pace.files + 1)
        if self._quiet or self._progress != "bar" or not sys.stderr.isatty() or _into_pipe():
            yield
            return
        from mtasr.cli.display.terminal import Bars

        self._bars = Bars(name, position, total, self._pace, is_telling_apart, self._nodes)
        try:
            self._bars.show()
            yield
        finally:
            self._bars.hide()
            self._bars = None

    def ended(self, ending: Ending) -> None:
        """A recording has ended."""
        if ending.name in self._pace.sizes:
            self._pace.end(ending.name, ending.seconds or 0.0)
        if self.is_for_programs:
            _write_event(
                "end",
                file=ending.name,
                result=_identifier(ending.result),
                reason=ending.reason,
                seconds=ending.seconds,
                language=ending.language,
                files=ending.files,
            )
            self._write_nodes()

    def finish(self, endings: Sequence[Ending]) -> None:
        """All recordings have ended: a table on a terminal, else a line for each that did not go well."""
        if self.is_for_programs:
            counts = Counter(each.result for each in endings)
            figures = {"seconds": self._pace.seconds, "took": self._pace.took()}
            _write_event("finish", **{_identifier(result): counts[result] for result in OUTCOMES}, **figures)
            return
        bad = [each for each in endings if each.result in ("failed", "in doubt")]
        listed = bad if len(endings) > _LONGEST_TABLE or not sys.stderr.isatty() else endings
        if self._quiet or len(endings) < 2 or not listed:
            return
        if sys.stderr.isatty():
            from mtasr.cli.display.terminal import print_table

            print_table(listed)
            return
        for each in listed:
            reason = each.reason.removeprefix(f"{each.name}: ")
            click.echo(printable(f"{each.result}: {each.name}: {reason}"), err=True)

    def _write_progress(
        self, segment: Segment, text: str, name: str, position: Callable[[], float], total: Callable[[], float | None]
    ) -> None:
        at, duration = position(), total()
        _write_event(
            "progress",
            file=name,
            position=at,
            duration=duration,
            start=segment.start,
            end=segment.end,
            text=text,
            speed=self._pace.speed(at),
            left=self._pace.left(name, at, duration),
        )

    @contextlib.contextmanager
    def downloads(self) -> Iterator[DownloadProgress | None]:
        """Bars in bytes on a terminal, else a line for each file."""
        if self._quiet or self._progress == "none":
            yield None
        elif sys.stderr.isatty() and not self.is_for_programs:
            from mtasr.cli.display.terminal import download_bars

            with download_bars() as progress:
                yield progress
        else:
            yield self._note_downloads()

    def _note_downloads(self) -> DownloadProgress:
        seen: set[str] = set()

        def progress(file: str, done: int, total: int | None) -> None:
            if file not in seen and (total is None or total >= _WORTH_A_NOTE):
                seen.add(file)
                self.note(f"Fetching {file}" + (f" ({total / 1e6:.1f} MB)" if total else ""))

        return progress

    @contextlib.contextmanager
    def _bars_hidden(self) -> Iterator[None]:
        """A terminal shows both streams: a line printed meanwhile would land in the middle of the bars."""
        if self._bars is None:
            yield
            return
        self._bars.hide()
        yield
        self._bars.show()


def _identifier(result: Outcome) -> str:
    return result.replace(" ", "_")


def _write_event(event: str, **fields: Any) -> None:
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in fields.items()}
    # json.dumps writes ASCII, which every encoding of stderr can take.
    sys.stderr.write(f"{json.dumps({'event': event} | rounded)}\n")
    sys.stderr.flush()


def _into_pipe() -> bool:
    """Whether stdout is a pipe: the program that reads it may write to the same terminal, across a bar."""
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
