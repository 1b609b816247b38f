"""Log-mel features as published for Whisper: samples at 16 kHz -> what the encoder sees.

Source: the Whisper paper (Radford et al. 2022, section 2.2) and the values of its published front end. A 25 ms Hann
window every 10 ms, a power spectrum, 80 or 128 mel bands on Slaney's scale, base-10 logarithm, a floor 80 dB
below the loudest value, then shifted and scaled to about -1..1.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from mtasr.arrays import Float32Array
from mtasr.blas import on_one_thread
from mtasr.spans import SAMPLE_RATE

#: Samples in the window of one frame, 25 ms.
N_FFT = 400
#: Samples from one frame to the next, 10 ms.
HOP_LENGTH = 160
#: Seconds the encoder was trained on.
CHUNK_SECONDS = 30
#: Frames in CHUNK_SECONDS.
N_FRAMES = CHUNK_SECONDS * SAMPLE_RATE // HOP_LENGTH

# Frames transformed at once: windows, spectra and powers of a block stay in a 1 MB cache.
_BLOCK_FRAMES = 256


@on_one_thread
def log_mel(samples: Float32Array, n_mels: int = 80) -> Float32Array:
    """Features of shape (n_mels, N // 160) for mono samples of shape (N,), 16 kHz, any N.

    The loudest value sets the floor, so the result depends on where a recording is cut into windows.
    """
    if samples.ndim != 1:
        raise ValueError(f"samples must be mono, of shape (N,), not {samples.shape}")
    n_frames = samples.size // HOP_LENGTH
    if n_frames == 0:
        return np.zeros((n_mels, 0), np.float32)
    # Shapes: frames (F, 400), spectrum and power (F, 201), filters (n_mels, 201), mel (n_mels, F).
    padded = np.pad(np.asarray(samples, np.float32), N_FFT // 2, mode="reflect")
    frames = sliding_window_view(padded, N_FFT)[::HOP_LENGTH]
    window, filters = _hann(), mel_filters(n_mels)
    mel = np.empty((n_mels, n_frames), np.float32)
    for start in range(0, n_frames, _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, n_frames)
        spectrum = np.fft.rfft(frames[start:stop] * window)
        power = np.square(spectrum.real)
        power += np.square(spectrum.imag)
        np.matmul(filters, power.astype(np.float32, copy=False).T, out=mel[:, start:stop])
    np.maximum(mel, 1e-10, out=mel)
    np.log10(mel, out=mel)
    np.maximum(mel, mel.max() - 8.0, out=mel)
    mel += 4.0
    mel *= 0.25
    return mel


@cache
def _hann() -> Float32Array:
    """The periodic window: N_FFT + 1 points of the symmetric one, without the last."""
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    window.flags.writeable = False
    return window


@cache
def mel_filters(n_mels: int) -> Float32Array:
    """Triangular filters of shape (n_mels, 201) from 0 to 8000 Hz, each of unit area (in hertz). Read-only.

    Neighbours share their corners, which are equally spaced on Slaney's mel scale (Auditory Toolbox, 1998).
    """
    if n_mels < 1:
        raise ValueError(f"n_mels must be positive, not {n_mels}")
    nyquist = SAMPLE_RATE / 2
    frequencies = np.linspace(0.0, nyquist, N_FFT // 2 + 1)
    corners = _mel_to_hertz(np.linspace(0.0, _hertz_to_mel(nyquist), n_mels + 2))
    lower, centre, upper = (corners[i : i + n_mels, None] for i in range(3))
    rising = (frequencies - lower) / (centre - lower)
    falling = (upper - frequencies) / (upper - centre)
    filters = (np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (upper - lower))).astype(np.float32)
    filters.flags.writeable = False
    return filters


# Slaney's scale: linear to 1 kHz, 200/3 Hz to the mel; above it 27 mels for each factor of 6.4.
_HERTZ_PER_MEL = 200.0 / 3.0
_KNEE_HERTZ = 1000.0
_KNEE_MEL = _KNEE_HERTZ / _HERTZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def _hertz_to_mel(hertz: float) -> float:
    if hertz < _KNEE_HERTZ:
        return hertz / _HERTZ_PER_MEL
    return float(_KNEE_MEL + np.log(hertz / _KNEE_HERTZ) / _LOG_STEP)


def _mel_to_hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = _KNEE_HERTZ * np.exp(_LOG_STEP * np.maximum(mel - _KNEE_MEL, 0.0))
    return np.where(mel < _KNEE_MEL, mel * _HERTZ_PER_MEL, above)
