"""Sound a few percent faster or slower, by interpolation: what a recorder with a fast or slow clock needs."""

from __future__ import annotations

import numpy as np

from mtasr.arrays import Float32Array

#: Samples on each side of a place that its value is computed from.
HALF = 8
#: Places between two samples for which weights are kept.
_PHASES = 1024


def _weights() -> Float32Array:
    """Of shape (_PHASES + 1, 2 * HALF): a sinc in a Hann window, each row with the sum 1."""
    distance = np.arange(1 - HALF, HALF + 1) - np.arange(_PHASES + 1)[:, None] / _PHASES
    weights = np.sinc(distance) * np.cos(np.pi * distance / (2 * HALF)) ** 2
    normalised: Float32Array = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalised


class Stretch:
    """Plays the samples it is given at a speed that may change with every piece.

    `before` are the samples before the first piece. The output lags HALF samples behind; `flush` gives them.
    """

    def __init__(self, before: Float32Array) -> None:
        self._weights = _weights()
        self._kept = np.concatenate([np.zeros(HALF, np.float32), before])[-HALF:]
        #: Place of the next output in `_kept`.
        self._at = float(HALF)

    def push(self, piece: Float32Array, speed: float) -> Float32Array:
        """The piece in `len(piece) / speed` samples, give or take one."""
        self._kept = np.concatenate([self._kept, piece])
        end = len(self._kept) - HALF
        count = max(0, int(np.ceil((end - self._at) / speed)))
        places = self._at + speed * np.arange(count)
        whole = places.astype(np.intp)
        phases = np.rint((places - whole) * _PHASES).astype(np.intp)
        around = self._kept[whole[:, None] + np.arange(1 - HALF, HALF + 1)]
        stretched: Float32Array = np.einsum("nk,nk->n", around, self._weights[phases])
        dropped = max(0, min(int(self._at + speed * count), end) - HALF)
        self._kept, self._at = self._kept[dropped:], self._at + speed * count - dropped
        return stretched

    def flush(self, after: Float32Array) -> Float32Array:
        """What is left to play, up to the samples `after`, which are played by others."""
        return self.push(np.concatenate([after, np.zeros(HALF, np.float32)])[:HALF], 1.0)
