"""Windows of samples from a stream of blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mtasr.arrays import Float32Array


class SampleBuffer:
    """Reads blocks of samples as far as they are asked for, and forgets what lies before the last window."""

    def __init__(self, blocks: Iterator[Float32Array]) -> None:
        self._blocks = blocks
        self._held = np.zeros(0, dtype=np.float32)
        self._start = 0
        #: What went wrong while reading; an iterator that has failed would look like one at its end.
        self._failure: Exception | None = None
        #: Samples of the whole stream, known once its end has been read.
        self.total: int | None = None

    def window(self, start: int, length: int) -> Float32Array:
        """Samples [start, start + length), fewer at the end of the stream. `start` never moves back."""
        if start < self._start:
            raise ValueError(f"sample {start} has been dropped already; the buffer starts at {self._start}")
        parts, begin, end = [self._held], self._start, self._start + len(self._held)
        while self.total is None and end < start + length:
            if self._failure is not None:
                raise self._failure
            try:
                block = next(self._blocks, None)
            except Exception as exc:
                self._failure = exc
                raise
            if block is None:
                self.total = end
            else:
                parts.append(block)
                end += len(block)
            if end <= start:  # All of it lies before what is asked for.
                parts, begin = [self._held[:0]], end
        samples = np.concatenate(parts) if len(parts) > 1 else parts[0]
        self._held = samples[start - begin :]
        self._start = min(start, end)
        return self._held[:length]
