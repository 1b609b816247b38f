"""What a dispatcher keeps of tasks on their way, and how it divides a long recording."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mtasr.cluster.tasks import Task
from mtasr.decoding.windows import Place, WindowOutline
from mtasr.spans import SAMPLE_RATE

#: Seconds of audio of a chunk at least, unless it is the last one.
_CHUNK_SECONDS = 300.0

#: Files with so many times the audio in a byte: 64 MB are an hour at 24 kbit/s.
_DENSE, _DENSITY = frozenset({".aac", ".amr", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".weba", ".wma"}), 6


@dataclass(eq=False, slots=True)
class Errand:
    """A task on its way, and the recordings that it is for."""

    task: Task
    #: Their places in the batch.
    recordings: tuple[int, ...]
    #: Workers that died of it, perhaps.
    deaths: int = 0
    #: The nodes that do not see the recording.
    unseen_by: frozenset[str] = frozenset()

    @property
    def alone(self) -> bool:
        """Whether a worker does nothing else meanwhile."""
        return self.deaths > 0


@dataclass(slots=True)
class OpenChannel:
    """A channel of a long recording whose chunks are under way."""

    chunks: int
    outlines: dict[Place, WindowOutline]
    language: str
    #: Windows that need random samples.
    to_draw: list[Place] = field(default_factory=list)


def chunks_of(outlines: Sequence[WindowOutline], most: int) -> Iterator[list[WindowOutline]]:
    """Consecutive windows, in at most so many chunks of about the same length."""
    if not outlines:
        return
    samples = outlines[-1].place.start + outlines[-1].place.samples - outlines[0].place.start
    least = max(_CHUNK_SECONDS * SAMPLE_RATE, samples / most)
    chunk: list[WindowOutline] = []
    for outline in outlines:
        chunk.append(outline)
        if outline.place.start + outline.place.samples - chunk[0].place.start >= least:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def wav_bytes(source: str) -> int:
    """About the size of a file if it were WAV; 0 if that is not known."""
    try:
        size = os.stat(source).st_size  # noqa: PTH116 - names may hold what no path can
    except (OSError, ValueError):
        return 0
    return size * (_DENSITY if os.path.splitext(source)[1].lower() in _DENSE else 1)  # noqa: PTH122
