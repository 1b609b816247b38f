"""How close a sound is to another, and what a recogniser and a voice model hear in it. Letters in shapes: N samples.

Samples are mono, float32 within -1 to 1; except for `si_snr`, at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mtasr.arrays import Float32Array, FloatArray
from mtasr.audio.sources import Source
from mtasr.data.texts import word_errors
from mtasr.edit_distance import ErrorCount
from mtasr.features import HOP_LENGTH, N_FFT, mel_filters
from mtasr.speakers.diarizer import EmbeddingNetwork
from mtasr.transcribe import Model

#: Amplitude of a mel band below which all is silence.
_FLOOR = 1e-5
_MELS = 80


def si_snr(reference: Float32Array, estimate: Float32Array) -> float:
    """Scale-invariant signal-to-noise ratio in dB (Le Roux et al. 2019, arXiv:1811.02508), of two sounds (N,).

    Means are taken off first. Infinite for the same sound at any level; minus infinite for one that has nothing of the
    reference. Raises `ValueError` for different lengths and for a silent reference.
    """
    if reference.shape != estimate.shape or reference.ndim != 1:
        raise ValueError(f"both sounds must have one shape (N,), not {reference.shape} and {estimate.shape}")
    wanted = reference.astype(np.float64) - reference.mean(dtype=np.float64)
    given = estimate.astype(np.float64) - estimate.mean(dtype=np.float64)
    power = wanted @ wanted
    if not power:
        raise ValueError("the reference is silent")
    part = (given @ wanted / power) * wanted
    signal, noise = part @ part, (given - part) @ (given - part)
    if not signal:
        return -np.inf
    return float(10 * np.log10(signal / noise)) if noise else np.inf


def mel_distance(reference: Float32Array, estimate: Float32Array) -> float:
    """The mean absolute difference of two sounds (N,) in the logarithm of mel amplitudes, 80 bands every 10 ms.

    A sound that is g times as loud as the other differs by |ln g|, except where it is silent. Windows have 25 ms.
    Raises `ValueError` for different lengths and for less than one window.
    """
    if reference.shape != estimate.shape or reference.ndim != 1 or len(reference) < N_FFT:
        raise ValueError(f"both sounds must have {N_FFT} samples or more, not {reference.shape} and {estimate.shape}")
    return float(np.abs(_log_mel(reference) - _log_mel(estimate)).mean())


def _log_mel(samples: Float32Array) -> FloatArray:
    frames = sliding_window_view(samples.astype(np.float64), N_FFT)[::HOP_LENGTH]  # (F, 400)
    amplitudes = np.abs(np.fft.rfft(frames * np.hanning(N_FFT + 1)[:-1]))  # (F, 201)
    found: FloatArray = np.log(np.maximum(amplitudes @ mel_filters(_MELS).T, _FLOOR))
    return found


def heard_errors(model: Model, spoken: Iterable[tuple[Source, str]], language: str = "en") -> ErrorCount:
    """The word errors of our recogniser on recordings that should say these texts; `rate` is the word error rate.

    Case, accents and punctuation do not count. Raises what `Model.transcribe` raises.
    """
    total = ErrorCount()
    for source, text in spoken:
        total += word_errors(text, model.transcribe(source, language=language).text)
    return total


def voice_similarity(network: EmbeddingNetwork, one: Float32Array, other: Float32Array) -> float:
    """The cosine, -1 to 1, of the voices in two clips of one speaker each, as an independent network hears them.

    `mtasr.speakers.weights.load_speaker_models` has such a network; generators here never learn from it. Raises
    `ValueError` for a clip that is too short.
    """
    first, second = (network.embed([clip])[0].astype(np.float64) for clip in (one, other))
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
