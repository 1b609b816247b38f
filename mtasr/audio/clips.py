"""Only some stretches of a recording: all else becomes silence, so that times stay those of the file."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from mtasr.arrays import Float32Array
from mtasr.spans import SAMPLE_RATE


class Clips:
    """`times` are seconds: start, end, start, end, ...; without the last end it is that of the recording."""

    def __init__(self, times: Sequence[float]) -> None:
        edges = [0.0, *times, math.inf] if times else []
        #: What lies outside, in samples; the last end is that of any recording.
        self._outside = [
            (round(start * SAMPLE_RATE), round(end * SAMPLE_RATE) if end < math.inf else sys.maxsize)
            for start, end in zip(edges[::2], edges[1::2], strict=False)
        ]

    def mask(self, block: Float32Array, start: int) -> Float32Array:
        """The block that begins with sample `start` of the recording, silent outside of the clips."""
        end = start + len(block)
        silent = [(max(a, start), min(b, end)) for a, b in self._outside if a < end and b > start]
        if not silent:
            return block
        masked = block.copy()
        for a, b in silent:
            masked[a - start : b - start] = 0.0
        return masked
