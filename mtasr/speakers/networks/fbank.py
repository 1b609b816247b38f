"""Log-mel filter banks as Kaldi computes them: samples at 16 kHz -> what the embedding network sees.

Source: Kaldi's feature extraction with its defaults, but without dither and with 80 bands. A frame of 25 ms every
10 ms, only where it fits; its mean removed, pre-emphasis of .97, Povey's window, a power spectrum of 512 points,
triangular bands between 20 Hz and 8 kHz on the scale 1127 ln(1 + f / 700), natural logarithm.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mtasr.arrays import Float32Array, FloatArray
from mtasr.blas import on_one_thread
from mtasr.models.speakers.published import Window
from mtasr.spans import SAMPLE_RATE

#: Bands of a frame.
N_BANDS = 80
#: Samples of a frame, 25 ms, and from one frame to the next, 10 ms.
FRAME_LENGTH, FRAME_STEP = 400, 160
#: Samples of the shortest clip that an embedding network takes: three frames. Below .3 s a vector says little.
SHORTEST = FRAME_LENGTH + 2 * FRAME_STEP

_N_FFT = 512
_PRE_EMPHASIS = np.float32(0.97)
_LOWEST_HERTZ = 20.0
#: The floor of a band's energy: the smallest step above 1 in float32.
_FLOOR = np.finfo(np.float32).eps

# Frames transformed at once: their spectra stay in a 1 MB cache.
_BLOCK_FRAMES = 128


@on_one_thread
def fbank(samples: Float32Array, window: Window = "povey") -> Float32Array:
    """Features of shape (1 + (N - 400) // 160, 80) for samples of shape (N,), 16 kHz, within -1 to 1.

    Fewer than 400 samples give no frame.
    """
    if samples.ndim != 1:
        raise ValueError(f"samples must be mono, of shape (N,), not {samples.shape}")
    if samples.size < FRAME_LENGTH:
        return np.zeros((0, N_BANDS), np.float32)
    # Shapes: frames (F, 400), emphasised (F, 512), spectrum (F, 257), bands (257, 80).
    frames = sliding_window_view(np.asarray(samples, np.float32), FRAME_LENGTH)[::FRAME_STEP]
    features = np.empty((len(frames), N_BANDS), np.float32)
    emphasised = np.zeros((min(len(frames), _BLOCK_FRAMES), _N_FFT), np.float32)
    shape, bands = _window(window), _bands()
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
        np.matmul(power.astype(np.float32, copy=False), bands, out=features[start : start + _BLOCK_FRAMES])
    np.maximum(features, _FLOOR, out=features)
    np.log(features, out=features)
    return features


def voice_features(clip: Float32Array, window: Window = "povey") -> Float32Array:
    """What an embedding network hears of a clip: the features without their mean.

    Raises `ValueError` for a clip of fewer than `SHORTEST` samples.
    """
    if clip.size < SHORTEST:
        raise ValueError(f"a clip needs {SHORTEST} samples, not {clip.size}")
    features = fbank(clip, window)
    features -= features.mean(axis=0)
    return features


@cache
def _window(name: Window) -> Float32Array:
    """A symmetric window. Povey's is Hann's to the power of .85."""
    values = np.hamming(FRAME_LENGTH) if name == "hamming" else np.hanning(FRAME_LENGTH) ** 0.85
    window: Float32Array = values.astype(np.float32)
    window.flags.writeable = False
    return window


@cache
def _bands() -> Float32Array:
    """Triangles of height 1 in mels, shape (257, 80); neighbours share their corners."""
    frequencies = np.arange(_N_FFT // 2 + 1) * (SAMPLE_RATE / _N_FFT)
    mels = _mel(frequencies)
    corners = np.linspace(_mel(_LOWEST_HERTZ), _mel(SAMPLE_RATE / 2), N_BANDS + 2)
    lower, centre, upper = corners[:-2], corners[1:-1], corners[2:]
    rising = (mels[:, None] - lower) / (centre - lower)
    falling = (upper - mels[:, None]) / (upper - centre)
    bands = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    bands.flags.writeable = False
    return bands


def _mel(hertz: FloatArray | float) -> FloatArray:
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))
