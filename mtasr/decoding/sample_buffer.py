"""A sliding view of a stream of samples: what Whisper's seek needs, without holding the file."""

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
        parts, end = [self._held], self._start + len(self._held)
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
        samples = np.concatenate(parts) if len(parts) > 1 else self._held
        self._held = samples[start - self._start :]
        self._start = min(start, end)
        return self._held[:length]
