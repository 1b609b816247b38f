"""Pieces of speech of one voice, cut from the strands of a recording for the embedding network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.spans import SAMPLE_RATE, Span
from mtasr.speakers.strands import Region, runs

#: A strand speaks where it is at least this probable, alone if all others together are at most that.
SPEAKING, _OTHERS = 0.5, 0.25
#: Frames: a strand that is silent so long may go on with another voice.
_PAUSE = 15
#: Frames of a piece, 1.5 s: few hold two voices. And of a passage, 3 s, whose vector is surer.
PIECE, PASSAGE = 89, 178
#: Seconds of sound that make an embedding.
_SHORTEST = 0.3

#: The samples of frames from one up to, not including, another.
SamplesOf = Callable[[int, int], Float32Array]

#: Strand, first frame and end of a stretch, which no two stretches of other samples share.
StretchPlace = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoicePiece:
    """A strand speaks in frames `start` to `end`. `vector` (D,), of length 1, is how it sounds; None if too short.

    `seconds` of that are of the voice alone; 0 says that others are heard in all of it.
    """

    strand: int
    start: int
    end: int
    seconds: float
    vector: Float32Array | None


@dataclass(slots=True, kw_only=True)
class VoiceStretch:
    """What a strand has said since its last pause or piece; `count` samples of it `alone`."""

    strand: int
    start: int
    end: int
    alone: list[Float32Array] = field(default_factory=list)
    count: int = 0
    mixed: list[Float32Array] = field(default_factory=list)

    @property
    def place(self) -> StretchPlace:
        return self.strand, self.start, self.end

    def copy(self) -> VoiceStretch:
        return replace(self, alone=list(self.alone), mixed=list(self.mixed))

    def seconds(self) -> float:
        """Of the voice alone, 0 if too short."""
        seconds = self.count / SAMPLE_RATE
        return seconds if seconds >= _SHORTEST else 0.0

    def clip(self) -> Float32Array | None:
        """Samples for the embedding network: of the voice alone if there are enough."""
        parts = self.alone if self.seconds() else self.mixed
        clip = np.concatenate([np.zeros(0, np.float32), *parts])
        return clip if len(clip) >= _SHORTEST * SAMPLE_RATE else None


class VoiceCutter:
    """Takes the regions of one recording in order, and gives the stretches that are complete.

    Longer ones are cut into stretches of `frames`; the last one is up to half as long again.
    """

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._longest = frames * 3 // 2
        self._open: dict[int, VoiceStretch] = {}

    def copy(self) -> VoiceCutter:
        other = VoiceCutter(self._frames)
        other._open = {strand: stretch.copy() for strand, stretch in self._open.items()}
        return other

    def add(self, region: Region, samples_of: SamplesOf) -> Iterator[VoiceStretch]:
        together = sum(region.activity.values(), np.zeros(region.end - region.start, np.float32))
        for strand, own in region.activity.items():
            is_alone = together - own <= _OTHERS
            for run in runs(own >= SPEAKING):
                yield from self._speaks(strand, run, is_alone, region.start, samples_of)
        for strand in [key for key, each in self._open.items() if region.end - each.end >= _PAUSE]:
            yield self._open.pop(strand)

    def rest(self) -> Iterator[VoiceStretch]:
        """What is not complete when the recording ends."""
        while self._open:
            yield self._open.pop(next(iter(self._open)))

    def _speaks(
        self, strand: int, run: Span, is_alone: np.ndarray, origin: int, samples_of: SamplesOf
    ) -> Iterator[VoiceStretch]:
        start, end = run
        stretch = self._open.get(strand)
        if stretch is not None and origin + start - stretch.end >= _PAUSE:
            yield self._open.pop(strand)
            stretch = None
        if stretch is None:
            stretch = self._begin(strand, origin + start)
        while origin + end - stretch.start >= self._longest:
            cut = min(max(stretch.start + self._frames - origin, start), end)
            _extend(stretch, Span(start, cut), is_alone, origin, samples_of)
            yield self._open.pop(strand)
            start = cut
            stretch = self._begin(strand, origin + start)
        _extend(stretch, Span(start, end), is_alone, origin, samples_of)

    def _begin(self, strand: int, start: int) -> VoiceStretch:
        stretch = self._open[strand] = VoiceStretch(strand=strand, start=start, end=start)
        return stretch


def _extend(stretch: VoiceStretch, run: Span, is_alone: np.ndarray, origin: int, samples_of: SamplesOf) -> None:
    for start, end in runs(is_alone[run.start : run.end]):
        clip = samples_of(origin + run.start + start, origin + run.start + end)
        stretch.alone.append(clip)
        stretch.count += len(clip)
    stretch.mixed.append(samples_of(origin + run.start, origin + run.end))
    stretch.end = max(stretch.end, origin + run.end)
