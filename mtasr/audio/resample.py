"""Sound at another rate, block by block, for what comes live; recordings are resampled by ffmpeg."""

from __future__ import annotations

import math

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.spans import SAMPLE_RATE

#: Zero crossings of the filter on each side; with the window's parameter, 80 dB of stopband.
_CROSSINGS, _BETA = 24, 8.0

#: Share of the band that passes; the filter falls off in the rest.
_PASSED = 0.94


class Resampler:
    """From `rate` samples per second to 16 kHz, by a windowed sinc in polyphase form.

    Sound at 16 kHz stays as it is. The result does not depend on where the blocks begin and end. Raises `ValueError`
    for a rate below 1.
    """

    def __init__(self, rate: int) -> None:
        if rate < 1:
            raise ValueError(f"{rate} is no sample rate")
        self._is_idle = rate == SAMPLE_RATE
        common = math.gcd(rate, SAMPLE_RATE)
        #: Each output sample is `_down` / `_up` input samples after the one before.
        self._up, self._down = SAMPLE_RATE // common, rate // common
        cutoff = _PASSED * min(1.0, SAMPLE_RATE / rate)
        #: Input samples on each side that an output sample is made of.
        self._half = math.ceil(_CROSSINGS / cutoff)
        taps = np.arange(1 - self._half, self._half + 1)
        distance = taps[None, :] - np.arange(self._up)[:, None] / self._up
        window = np.i0(_BETA * np.sqrt(np.maximum(1 - (distance / self._half) ** 2, 0))) / np.i0(_BETA)
        filters = np.sinc(cutoff * distance) * window
        #: A filter for each place between two input samples, shape (up, 2 * half).
        self._filters = (filters / filters.sum(axis=1, keepdims=True)).astype(np.float32)
        #: Input that is still needed. Its first sample is number `_start`; silence precedes number 0.
        self._kept = np.zeros(self._half - 1, np.float32)
        self._start = 1 - self._half
        self._given = 0

    def push(self, samples: Float32Array) -> Float32Array:
        """The output that these samples, shape (n,), complete."""
        if self._is_idle:
            return samples
        self._kept = np.concatenate([self._kept, samples])
        return self._ready()

    def finish(self) -> Float32Array:
        """The rest of the output, as if silence followed."""
        if self._is_idle:
            return np.zeros(0, np.float32)
        self._kept = np.concatenate([self._kept, np.zeros(self._half, np.float32)])
        return self._ready()

    def _ready(self) -> Float32Array:
        # Output sample m stands `m * down / up` input samples after the first, and needs `half` samples behind that.
        last = self._start + len(self._kept) - 1 - self._half
        count = (last * self._up + self._up - 1) // self._down + 1 - self._given
        if count <= 0:
            return np.zeros(0, np.float32)
        places = np.arange(self._given, self._given + count, dtype=np.int64) * self._down
        firsts = places // self._up + 1 - self._half - self._start
        windows = np.lib.stride_tricks.sliding_window_view(self._kept, 2 * self._half)[firsts]
        output: Float32Array = np.einsum("nt,nt->n", windows, self._filters[places % self._up])
        self._given += count
        drop = max(self._given * self._down // self._up + 1 - self._half - self._start, 0)
        self._kept = self._kept[drop:]
        self._start += drop
        return output
