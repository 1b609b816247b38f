"""Who speaks when, from samples: `Diarizer.listen()` follows one recording, and `Listening.turns` says who spoke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.models.speakers.published import CAMPPLUS_LIKENESS, Likeness
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.clustering import unit
from mtasr.speakers.labelling import Grouping, group, mean_voice
from mtasr.speakers.networks.segmentation import FRAME_STEP, WINDOW
from mtasr.speakers.options import MOST_SPEAKERS, SpeakerOptions
from mtasr.speakers.pieces import PASSAGE, PIECE, StretchPlace, VoiceCutter, VoicePiece, VoiceStretch
from mtasr.speakers.strands import HOP, Region, Stitcher
from mtasr.speakers.turns import FIRST_SAMPLE, seconds, spoken
from mtasr.speakers.voices import Heard
from mtasr.transcript import Turn

#: Windows computed at once. They are always the same ones, so that the result does not depend on the blocks of `add`.
_BATCH = 16
#: Samples on both sides of the middle of a frame that say how loud it is.
_LOUDNESS = FRAME_STEP


class SegmentationNetwork(Protocol):
    """As `Segmentation`."""

    def log_probabilities(self, samples_BT: Float32Array) -> Float32Array: ...  # noqa: N803


class EmbeddingNetwork(Protocol):
    """As `Embedding`."""

    def embed(self, clips: Sequence[Float32Array]) -> Float32Array: ...


class Diarizer:
    """Tells the speakers of recordings apart by their voices. Many threads may use it at the same time."""

    def __init__(
        self,
        segmentation: SegmentationNetwork,
        embedding: EmbeddingNetwork,
        likeness: Likeness = CAMPPLUS_LIKENESS,
    ) -> None:
        """`likeness` is that of the embedding network."""
        self._segmentation, self._embedding, self._likeness = segmentation, embedding, likeness

    def listen(self) -> Listening:
        """Follow a recording from its first sample on."""
        return Listening(self._segmentation, self._embedding, self._likeness)


class Listening:
    """Follows one recording: `add` its samples, and ask for its `turns` at the end, or so far at any time.

    It keeps 50 s of samples, and of the rest a few kilobytes per second.
    """

    def __init__(self, segmentation: SegmentationNetwork, embedding: EmbeddingNetwork, likeness: Likeness) -> None:
        self._segmentation, self._embedding, self._likeness = segmentation, embedding, likeness
        self._blocks: list[Float32Array] = []
        self._first = 0  # the number of their first sample
        self._heard = 0  # samples so far
        self._window = 0  # first frame of the next window
        self._stitcher = Stitcher()
        self._pieces_cutter, self._passages_cutter = VoiceCutter(PIECE), VoiceCutter(PASSAGE)
        self._regions: list[Region] = []
        self._levels: list[Float32Array] = []
        self._pieces: list[VoicePiece] = []
        self._passages: list[VoicePiece] = []

    def add(self, samples: Float32Array) -> None:
        """Samples (n,) that follow those before: 16 kHz, mono, float32."""
        self._blocks.append(samples)
        self._heard += len(samples)
        while self._heard - self._window * FRAME_STEP >= (_BATCH - 1) * HOP * FRAME_STEP + WINDOW:
            self._hear([self._window + index * HOP for index in range(_BATCH)])
            self._window += _BATCH * HOP
            self._settle(self._window)
            # The last window may begin up to one hop before the next one would.
            first = (self._window - HOP) * FRAME_STEP
            self._blocks, self._first = [self._samples()[first - self._first :].copy()], first

    @property
    def position(self) -> float:
        """Seconds that the networks have heard. The rest is heard when turns are asked for."""
        return self._window * FRAME_STEP / SAMPLE_RATE

    def turns(self, options: SpeakerOptions) -> tuple[Turn, ...]:
        """Who spoke when in all samples so far, in order of time; more samples may follow."""
        return self.heard(options).turns

    def heard(self, options: SpeakerOptions) -> Heard:
        """The same, and how each speaker sounds; not for those who never speak long enough."""
        known = self.finished()
        if not known._regions:
            return Heard(turns=(), voices={})
        grouping = known.grouping(options)
        runs = spoken(
            known._regions, known._pieces, grouping.labels, grouping.confidences, np.concatenate(known._levels)
        )
        names: dict[int, str] = {}
        for run in runs:
            names.setdefault(run.label, options.name(len(names)))
        length = self._heard / SAMPLE_RATE
        turns = tuple(
            Turn(start=start, end=end, speaker=names[run.label], confidence=round(run.confidence, 3))
            for run in runs
            if (start := round(seconds(run.start), 3)) < (end := round(min(seconds(run.end), length), 3))
        )
        sounds = {name: mean_voice(known._pieces, grouping.labels == label) for label, name in names.items()}
        voices = {name: voice for name, voice in sounds.items() if voice is not None}
        return Heard(turns=turns, voices=voices, same_person=self._likeness.same_person)

    def finished(self) -> Listening:
        """What is known if the recording ends here; this one can be added to as before."""
        other = Listening(self._segmentation, self._embedding, self._likeness)
        other._blocks, other._first, other._heard = list(self._blocks), self._first, self._heard
        other._window, other._stitcher = self._window, self._stitcher.copy()
        other._pieces_cutter, other._passages_cutter = self._pieces_cutter.copy(), self._passages_cutter.copy()
        other._regions, other._levels = list(self._regions), list(self._levels)
        other._pieces, other._passages = list(self._pieces), list(self._passages)
        last = max(0, -(-(self._heard - WINDOW) // FRAME_STEP))
        # The last window ends where the recording does, so that it has as much to go by as the others.
        other._hear(
            [*range(self._window, last, HOP), *([last] if last > self._window - HOP or not self._regions else [])]
        )
        other._settle(-(-max(0, self._heard - FIRST_SAMPLE) // FRAME_STEP), is_last=True)
        return other

    def grouping(self, options: SpeakerOptions) -> Grouping:
        return group(
            self._pieces,
            self._passages,
            number=options.num_speakers,
            least=options.min_speakers,
            most=options.max_speakers or MOST_SPEAKERS,
            likeness=self._likeness,
        )

    def _samples(self) -> Float32Array:
        if len(self._blocks) != 1:
            self._blocks = [np.concatenate([np.zeros(0, np.float32), *self._blocks])]
        return self._blocks[0]

    def _hear(self, starts: Sequence[int]) -> None:
        """Windows that begin with these frames."""
        if not starts:
            return
        windows = np.zeros((len(starts), WINDOW), np.float32)
        for window, start in zip(windows, starts, strict=True):
            samples = self._samples()[start * FRAME_STEP - self._first :][:WINDOW]
            window[: len(samples)] = samples
        for start, log_probabilities_FK in zip(starts, self._segmentation.log_probabilities(windows), strict=True):
            self._stitcher.add(start, log_probabilities_FK)

    def _settle(self, end: int, *, is_last: bool = False) -> None:
        """Take the regions up to frame `end`, and embed the pieces and passages that are complete there."""
        pieces: list[VoiceStretch] = []
        passages: list[VoiceStretch] = []
        for region in self._stitcher.regions(end):
            self._regions.append(region)
            self._levels.append(self._loudness(region.start, region.end))
            pieces += self._pieces_cutter.add(region, self._samples_of)
            passages += self._passages_cutter.add(region, self._samples_of)
        if is_last:
            pieces += self._pieces_cutter.rest()
            passages += self._passages_cutter.rest()
        # A short passage is a piece too.
        embedded = self._embedded({stretch.place: stretch for stretch in (*passages, *pieces)})
        self._pieces += [embedded[stretch.place] for stretch in pieces]
        self._passages += [embedded[stretch.place] for stretch in passages]

    def _embedded(self, stretches: Mapping[StretchPlace, VoiceStretch]) -> dict[StretchPlace, VoicePiece]:
        clips = {place: stretch.clip() for place, stretch in stretches.items()}
        heard = {place: clip for place, clip in clips.items() if clip is not None}
        vectors = dict(zip(heard, self._embedding.embed(list(heard.values())) if heard else (), strict=True))
        return {
            place: VoicePiece(
                strand=stretch.strand,
                start=stretch.start,
                end=stretch.end,
                seconds=stretch.seconds(),
                vector=unit(vectors[place]) if place in vectors else None,
            )
            for place, stretch in stretches.items()
        }

    def _samples_of(self, start: int, end: int) -> Float32Array:
        """What frames `start` to `end` stand for."""
        return self._cut(start * FRAME_STEP + FIRST_SAMPLE, end * FRAME_STEP + FIRST_SAMPLE).copy()

    def _cut(self, start: int, end: int) -> Float32Array:
        return self._samples()[max(0, start - self._first) : max(0, end - self._first)]

    def _loudness(self, start: int, end: int) -> Float32Array:
        """The level (end - start,) of these frames in decibels."""
        before = FIRST_SAMPLE + FRAME_STEP // 2 - _LOUDNESS
        samples = self._cut(start * FRAME_STEP + before, end * FRAME_STEP + before + _LOUDNESS).astype(np.float64)
        padded = np.pad(samples, (1, max(0, (end - start) * FRAME_STEP + _LOUDNESS - len(samples))))
        total = np.cumsum(np.square(padded))
        places = np.arange(end - start) * FRAME_STEP
        power = (total[places + 2 * _LOUDNESS] - total[places]) / (2 * _LOUDNESS)
        level: Float32Array = (10 * np.log10(np.maximum(power, 1e-9))).astype(np.float32)
        return level
