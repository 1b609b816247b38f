"""The seam for voice activity models, and what turns their probabilities into spans of speech."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.spans import SAMPLE_RATE, Interval, Span

#: Samples of a frame: 32 ms.
FRAME = 512

#: Speech ends at a frame this far below the threshold, so that one doubtful frame does not end it.
HYSTERESIS = 0.15
#: The fewest silent frames that make a pause, and the fewest speech frames that make speech.
_PAUSE, _SPEECH = 3, 2


class SpeechDetector(Protocol):
    """Follows one recording, whose samples (16 kHz, mono, float32) come in order and in blocks of any size."""

    def probabilities(self, samples: Float32Array, *, last: bool = False) -> Float32Array:
        """Speech probability (F,) of each frame of `FRAME` samples that these samples complete.

        `last` says that no samples follow: the frame that they leave incomplete is completed with silence.
        """


#: Makes the detector of one recording.
MakeDetector = Callable[[], SpeechDetector]


def speech_spans(probabilities: Float32Array, threshold: float, *, inside: bool = False) -> list[Span]:
    """Spans of speech among the probabilities (F,) of frames, separated by pauses of at least 0.1 s.

    `inside` says that the frames follow speech, which may go on in the first of them.
    """
    spans = []
    start, silent = 0 if inside else -1, 0
    for index, probability in enumerate(probabilities.tolist()):
        if start < 0:
            if probability >= threshold:
                start, silent = index, 0
        elif probability >= threshold - HYSTERESIS:
            silent = 0
        else:
            silent += 1
            if silent == _PAUSE:
                spans.append(Span(start, index + 1 - silent))
                start = -1
    if start >= 0:
        spans.append(Span(start, len(probabilities) - silent))
    return [span for span in spans if span.end - span.start >= _SPEECH]


class SpeechTrack:
    """Records the speech in a stream of samples that passes through it.

    A frame counts as speech at the probability `threshold` or above.
    """

    def __init__(self, threshold: float, detector: SpeechDetector) -> None:
        self._threshold = threshold
        self._detector = detector
        self._probabilities: list[Float32Array] = []

    def follow(self, blocks: Iterable[Float32Array]) -> Iterator[Float32Array]:
        """The same blocks, each after the detector has heard it."""
        for block in blocks:
            self._probabilities.append(self._detector.probabilities(block))
            yield block
        self._probabilities.append(self._detector.probabilities(np.zeros(0, np.float32), last=True))

    def intervals(self, start: float = 0.0, end: float = math.inf) -> list[Interval]:
        """Speech between two times in seconds, as far as the stream has been read. The times count from `start`."""
        known = np.concatenate([np.zeros(0, np.float32), *self._probabilities])
        self._probabilities = [known]
        first = math.floor(start * SAMPLE_RATE / FRAME)
        last = len(known) if end == math.inf else math.ceil(end * SAMPLE_RATE / FRAME)
        spans = speech_spans(known[first:last], self._threshold)
        return [
            (
                max(0.0, (first + span.start) * FRAME / SAMPLE_RATE - start),
                (first + span.end) * FRAME / SAMPLE_RATE - start,
            )
            for span in spans
        ]
