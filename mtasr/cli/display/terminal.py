"""Bars and tables on a terminal, drawn with rich, which only this module and `screen` load."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mtasr.batch.run import Ending, Outcome
from mtasr.cli.display.pace import Pace, clock, timestamp
from mtasr.cli.failures import printable

if TYPE_CHECKING:
    from mtasr.cluster.team import NodeState

#: (file, bytes done, bytes in total or None) while a model is downloaded.
DownloadProgress = Callable[[str, int, int | None], None]

_COLOURS: dict[Outcome, str] = {"done": "green", "in doubt": "yellow", "failed": "red", "skipped": "dim"}


class Bars:
    """A line for the recording: name, bar, time in it, speed against real time, time left.

    In a batch there is a line for all of it, and one for each node of a cluster. Below is the last text recognised, if
    `text` is set, or that speakers are told apart. Each drawing asks for the position, so the bar also moves through
    minutes without a segment.
    """

    def __init__(
        self,
        name: str,
        position: Callable[[], float],
        total: Callable[[], float | None],
        pace: Pace,
        is_telling_apart: Callable[[], bool] = bool,
        nodes: Callable[[], Sequence[NodeState]] = tuple,
    ) -> None:
        self.text = ""
        self._nodes = nodes
        self._is_telling_apart = is_telling_apart
        self._name = name
        self._position, self._total = position, total
        self._pace = pace if len(pace.sizes) > 1 else None
        self._began = time.monotonic()
        self._console = Console(file=sys.stderr, highlight=False)
        self._live: Live | None = None

    def show(self) -> None:
        self._live = Live(get_renderable=self._render, console=self._console, transient=True, redirect_stdout=False)
        self._live.start(refresh=True)

    def hide(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> RenderableType:
        position, total = self._position(), self._total()
        speed = position / max(time.monotonic() - self._began, 1e-3)
        rows = Table.grid(padding=(0, 1), expand=True)
        rows.add_column(max_width=24, no_wrap=True, overflow="ellipsis")
        rows.add_column(ratio=1, min_width=8)
        rows.add_column(no_wrap=True)
        bar = ProgressBar(total=total, completed=min(position, total or 0), pulse=total is None)
        # In a batch the next recordings are being decoded already, so the speed of one says nothing.
        # What telling speakers apart takes does not go by the audio that is left.
        is_telling_apart = self._is_telling_apart()
        figures = _figures(position, total, speed if self._pace is None and not is_telling_apart else None)
        rows.add_row(Text(printable(Path(self._name).name)), bar, Text(figures))
        if self._pace is not None:
            self._add_batch(rows, self._pace, position, total)
        for node in self._nodes():
            figures = f"{node.recordings} files  {clock(node.seconds)}" if not node.reason else "no work"
            rows.add_row(Text(printable(node.name)), Text(f"{node.tasks} tasks under way", style="dim"), Text(figures))
        lines: list[RenderableType] = [rows]
        text = "telling speakers apart" if is_telling_apart else self.text
        if text:
            lines.append(Text(printable(text), style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)

    def _add_batch(self, rows: Table, pace: Pace, position: float, total: float | None) -> None:
        fraction = pace.fraction(self._name, position, total)
        speed, left = pace.speed(position), pace.left(self._name, position, total)
        figures = [f"{fraction:4.0%}", clock(pace.seconds + position)]
        figures += [] if speed is None else [f"{speed:.1f}x"]
        figures += [] if left is None else [f"{clock(left)} left"]
        title = f"file {pace.files + 1} of {len(pace.sizes)}"
        rows.add_row(Text(title), ProgressBar(total=1.0, completed=fraction), Text("  ".join(figures)))


def _figures(position: float, total: float | None, speed: float | None) -> str:
    parts = [clock(position)]
    if total:
        parts = [f"{min(position / total, 1):4.0%}", f"{clock(position)}/{clock(total)}"]
    if position > 0 and speed is not None:
        parts.append(f"{speed:.1f}x")
        if total:
            parts.append(f"{clock(max(total - position, 0) / speed)} left")
    return "  ".join(parts)


@contextlib.contextmanager
def download_bars() -> Iterator[DownloadProgress]:
    """A bar in bytes for each file."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
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


def print_timed(start: float, end: float, text: str) -> None:
    """A line of text after its times, on stdout."""
    # A Text is taken as it is: brackets and colons in speech are neither markup nor emoji codes.
    line = Text.assemble((f"[{timestamp(start)} --> {timestamp(end)}]", "cyan"), "  ", text)
    # The terminal wraps, so that copied text has no line breaks of ours.
    Console(file=sys.stdout, highlight=False).print(line, soft_wrap=True)


def print_table(endings: Sequence[Ending]) -> None:
    """How each recording ended, on stderr."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Recording", overflow="fold", max_width=40)
    table.add_column("Audio", justify="right")
    table.add_column("Language")
    table.add_column("Outcome", no_wrap=True)
    has_reasons = any(each.reason for each in endings)
    if has_reasons:
        table.add_column("Reason", overflow="fold")
    for each in endings:
        table.add_row(
            Text(printable(each.name)),
            "" if each.seconds is None else clock(round(each.seconds)),
            each.language or "",
            Text(each.result, style=_COLOURS[each.result]),
            *([Text(printable(each.reason.removeprefix(f"{each.name}: ")))] if has_reasons else []),
        )
    Console(stderr=True, highlight=False).print(table)
