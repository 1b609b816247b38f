"""Bars on a terminal. rich is loaded here, for a terminal alone."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mtasr.cli.failures import printable
from mtasr.cli.tally import Tally
from mtasr.cli.times import clock

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.table import Table

#: (file, bytes done, bytes in total or None) while a model is downloaded.
DownloadProgress = Callable[[str, int, int | None], None]


class Bars:
    """A line for the recording: name, bar, time in it, speed against real time, time left.

    One for the batch, if it is one, and one for the last text recognised, if there is any. It asks for the position
    whenever it draws, so it also moves through minutes without a segment.
    """

    def __init__(
        self, name: str, position: Callable[[], float], total: Callable[[], float | None], tally: Tally | None
    ) -> None:
        from rich.console import Console

        self.text = ""
        self._name = name
        self._position, self._total = position, total
        self._tally = tally if tally is not None and len(tally.sizes) > 1 else None
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
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        position, total = self._position(), self._total()
        speed = position / max(time.monotonic() - self._began, 1e-3)
        rows = Table.grid(padding=(0, 1), expand=True)
        rows.add_column(max_width=24, no_wrap=True, overflow="ellipsis")
        rows.add_column(ratio=1, min_width=8)
        rows.add_column(no_wrap=True)
        bar = ProgressBar(total=total, completed=min(position, total or 0), pulse=total is None)
        # In a batch, where the recordings to come are decoded already, the speed of one tells nothing.
        figures = _figures(position, total, speed if self._tally is None else None)
        rows.add_row(Text(printable(Path(self._name).name)), bar, Text(figures))
        if self._tally is not None:
            self._add_batch(rows, self._tally, position, total)
        lines: list[RenderableType] = [rows]
        if self.text:
            lines.append(Text(printable(self.text), style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)

    def _add_batch(self, rows: Table, tally: Tally, position: float, total: float | None) -> None:
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        fraction = tally.fraction(self._name, position, total)
        speed, left = tally.speed(position), tally.left(self._name, position, total)
        figures = [f"{fraction:4.0%}", clock(tally.seconds + position)]
        figures += [] if speed is None else [f"{speed:.1f}x"]
        figures += [] if left is None else [f"{clock(left)} left"]
        title = f"file {tally.files + 1} of {len(tally.sizes)}"
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
