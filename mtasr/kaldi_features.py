"""Features as Kaldi computes them: log-mel filter banks, which embedding networks see, and cepstra made from them.

Source: Kaldi's feature extraction with its defaults, but without dither. A frame of 25 ms every 10 ms, only where it
fits; its mean removed, pre-emphasis of .97, Povey's window, a power spectrum of 512 points, triangular bands between
20 Hz and 8 kHz on the scale 1127 ln(1 + f / 700), natural logarithm. Cepstra (MFCC) as HuBERT's first units come from
(Hsu et al. 2021, arXiv:2106.07447, section IV.B): with the zeroth coefficient in place of the energy.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mtasr.arrays import Float32Array, FloatArray
from mtasr.blas import on_one_thread
from mtasr.spans import SAMPLE_RATE

Window = Literal["povey", "hamming"]

#: Samples of a frame, 25 ms, and from one frame to the next, 10 ms.
FRAME_LENGTH, FRAME_STEP = 400, 160

#: Bands from which cepstra are made, and the coefficients of a frame.
MFCC_BANDS, COEFFICIENTS = 23, 13

_N_FFT = 512
_PRE_EMPHASIS = np.float32(0.97)
_LOWEST_HERTZ = 20.0
#: The floor of a band's energy: the smallest step above 1 in float32.
_FLOOR = np.finfo(np.float32).eps

# Kaldi's lifter weighs coefficients up that are small.
_LIFTER = 22.0
# Frames on either side from which a difference is made.
_REACH = 2

# Frames transformed at once: their spectra stay in a 1 MB cache.
_BLOCK_FRAMES = 128


@on_one_thread
def filter_banks(samples: Float32Array, bands: int, window: Window = "povey") -> Float32Array:
    """Features of shape (1 + (N - 400) // 160, bands) for samples of shape (N,), 16 kHz, within -1 to 1.

    Fewer than 400 samples give no frame.
    """
    if samples.ndim != 1:
        raise ValueError(f"samples must be mono, of shape (N,), not {samples.shape}")
    if samples.size < FRAME_LENGTH:
        return np.zeros((0, bands), np.float32)
    # Shapes: frames (F, 400), emphasised (F, 512), spectrum (F, 257), triangles (257, bands).
    frames = sliding_window_view(np.asarray(samples, np.float32), FRAME_LENGTH)[::FRAME_STEP]
    features = np.empty((len(frames), bands), np.float32)
    emphasised = np.zeros((min(len(frames), _BLOCK_FRAMES), _N_FFT), np.float32)
    shape, triangles = _window(window), _triangles(bands)
    for start in range(0, len(frames), _BLOCK_FRAMES):
        block = frames[start : start + _BLOCK_FRAMES]
        block = block - block.mean(axis=1, keepdims=True)
        target = emphasised[: len(block), :FRAME_LENGTH]
        # The first sample of a frame counts as its own predecessor.
        np.multiply(block[:, :1], 1 - _PRE_EMPHASIS, out=target[:, :1])
        np.multiply(block[:, :-1], -_PRE_EMPHASIS, out=target[:, 1:])
        target[:, 1:] += block[:, 1:]
        target *= shape
        spectrum = np.fft.rfft(emphasised[: len(block)])
        power = np.square(spectrum.real)
        power += np.square(spectrum.imag)
        np.matmul(power.astype(np.float32, copy=False), triangles, out=features[start : start + _BLOCK_FRAMES])
    np.maximum(features, _FLOOR, out=features)
    np.log(features, out=features)
    return features


def mfcc(samples: Float32Array) -> Float32Array:
    """Coefficients (F, 13) with F = 1 + (N - 400) // 160 for samples (N,), 16 kHz, within -1 to 1.

    Fewer than 400 samples give no frame. Frame i sees the samples from 160 i to 160 i + 399.
    """
    result: Float32Array = filter_banks(samples, MFCC_BANDS) @ _cosines()
    return result


def mfcc_with_deltas(samples: Float32Array) -> Float32Array:
    """Coefficients, their differences, and the differences of these: (F, 39), see `mfcc`."""
    values = mfcc(samples)
    first = deltas(values)
    return np.concatenate([values, first, deltas(first)], axis=1)


def deltas(values: Float32Array) -> Float32Array:
    """The slope (F, D) of values (F, D) in time, by linear regression over five frames.

    The first and the last frame are repeated beyond the ends.
    """
    if not len(values):
        return values.copy()
    frames = len(values)
    padded = np.pad(values, ((_REACH, _REACH), (0, 0)), mode="edge")
    result = np.zeros_like(values)
    for step in range(1, _REACH + 1):
        after = padded[_REACH + step : _REACH + step + frames]
        before = padded[_REACH - step : _REACH - step + frames]
        result += step * (after - before)
    return result / np.float32(2 * sum(step**2 for step in range(1, _REACH + 1)))


@cache
def _window(name: Window) -> Float32Array:
    """A symmetric window. Povey's is Hann's to the power of .85."""
    values = np.hamming(FRAME_LENGTH) if name == "hamming" else np.hanning(FRAME_LENGTH) ** 0.85
    window: Float32Array = values.astype(np.float32)
    window.flags.writeable = False
    return window


@cache
def _triangles(bands: int) -> Float32Array:
    """Triangles of height 1 in mels, shape (257, bands); neighbours share their corners."""
    frequencies = np.arange(_N_FFT // 2 + 1) * (SAMPLE_RATE / _N_FFT)
    mels = _mel(frequencies)
    corners = np.linspace(_mel(_LOWEST_HERTZ), _mel(SAMPLE_RATE / 2), bands + 2)
    lower, centre, upper = corners[:-2], corners[1:-1], corners[2:]
    rising = (mels[:, None] - lower) / (centre - lower)
    falling = (upper - mels[:, None]) / (upper - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    triangles.flags.writeable = False
    return triangles


def _mel(hertz: FloatArray | float) -> FloatArray:
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))


@cache
def _cosines() -> Float32Array:
    """The orthonormal cosine transform of type II, then the lifter: (23, 13). Read-only."""
    order, band = np.arange(COEFFICIENTS), np.arange(MFCC_BANDS)
    matrix = np.sqrt(2 / MFCC_BANDS) * np.cos(np.pi / MFCC_BANDS * np.outer(band + 0.5, order))
    matrix[:, 0] = np.sqrt(1 / MFCC_BANDS)
    matrix = (matrix * (1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER))).astype(np.float32)
    matrix.flags.writeable = False
    result: Float32Array = matrix
    return result
