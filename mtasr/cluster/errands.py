"""What a dispatcher keeps of tasks on their way, and how it divides a long recording."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mtasr.cluster.tasks import Task
from mtasr.decoding.windows import Place, WindowOutline
from mtasr.spans import SAMPLE_RATE

#: Seconds of audio of a chunk, unless its last window is longer.
_CHUNK_SECONDS = 300.0


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


def chunks_of(outlines: Sequence[WindowOutline]) -> Iterator[list[WindowOutline]]:
    """Consecutive windows, together about as long as a chunk is."""
    chunk: deque[WindowOutline] = deque()
    for outline in outlines:
        end = outline.place.start + outline.place.samples
        if chunk and end - chunk[0].place.start > _CHUNK_SECONDS * SAMPLE_RATE:
            yield list(chunk)
            chunk.clear()
        chunk.append(outline)
    if chunk:
        yield list(chunk)
