"""How close generated speech is to what it should be, and how much it repeats itself and others.

Sequences, of units or of the words that a recogniser heard, are measured by self-BLEU, auto-BLEU and VERT (Lakhotia et
al. 2021, arXiv:2102.01192, section 4): a model that stutters has a high auto-BLEU, one that always says the same a high
self-BLEU. Both are taken over n-grams of length 1 and 2 with the geometric mean, without a penalty for length, as the
authors' program takes them.

Samples are mono, float32 within -1 to 1; except for `si_snr`, at 16 kHz. Letters in shapes: N samples, F frames.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mtasr.arrays import Float32Array, FloatArray
from mtasr.audio.sources import Source
from mtasr.data.texts import word_errors
from mtasr.edit_distance import ErrorCount
from mtasr.features import HOP_LENGTH, N_FFT, mel_filters
from mtasr.speakers.diarizer import EmbeddingNetwork
from mtasr.transcribe import Model

Sequences = Sequence[Sequence[Hashable]]

#: Amplitude of a mel band below which all is silence.
_FLOOR = 1e-5
_MELS = 80


def self_bleu2(sequences: Sequences) -> float:
    """The mean BLEU-2 of each sequence with all others as its references, 0 to 1.

    A sequence of fewer than two items has a BLEU-2 of 0. Raises `ValueError` for fewer than two sequences.
    """
    if len(sequences) < 2:
        raise ValueError("self-BLEU compares at least two sequences")
    precisions = np.array([_precisions(sequences, size) for size in (1, 2)])  # (2, sequences)
    return float(np.sqrt(precisions.prod(axis=0)).mean())


def auto_bleu2(sequences: Sequences) -> float:
    """The mean over sequences of the root of two shares: of items, and of pairs, that occur again in the sequence.

    An occurrence that overlaps with the first does not count. A sequence of fewer than two items has 0. Raises
    `ValueError` if there is no sequence.
    """
    if not sequences:
        raise ValueError("there is no sequence")
    return float(np.mean([math.sqrt(recurring(each, 1) * recurring(each, 2)) for each in sequences]))


def vert(sequences: Sequences) -> float:
    """VERT, for diversity: the geometric mean of self-BLEU-2 and auto-BLEU-2. High is monotonous."""
    return math.sqrt(self_bleu2(sequences) * auto_bleu2(sequences))


def recurring(sequence: Sequence[Hashable], size: int) -> float:
    """The share of n-grams of this size that occur elsewhere in the sequence too, without overlap; 0 without any."""
    places = defaultdict(list)
    for place, gram in enumerate(_grams(sequence, size)):
        places[gram].append(place)
    count = max(0, len(sequence) - size + 1)
    again = sum(each - found[0] >= size or found[-1] - each >= size for found in places.values() for each in found)
    return again / count if count else 0.0


def area_over_temperatures(points: Sequence[tuple[float, float]]) -> float:
    """The area under a polyline of (perplexity, VERT), one point per temperature, in the order of the first values.

    As in GSLM, where lower is better. Raises `ValueError` for fewer than two points.
    """
    if len(points) < 2:
        raise ValueError("an area needs at least two points")
    ordered = sorted(points)
    return sum((x2 - x1) * (y1 + y2) / 2 for (x1, y1), (x2, y2) in itertools.pairwise(ordered))


def _precisions(sequences: Sequences, size: int) -> list[float]:
    """The modified precision of each sequence: of its n-grams, how many another sequence has as often."""
    counts = [Counter(_grams(sequence, size)) for sequence in sequences]
    # For each n-gram, how often it is at most in one sequence, and in another one: all that clipping asks for.
    most: dict[tuple[Hashable, ...], tuple[int, int, int]] = {}
    for owner, counter in enumerate(counts):
        for gram, count in counter.items():
            first, second, holder = most.get(gram, (0, 0, -1))
            most[gram] = (count, first, owner) if count > first else (first, max(second, count), holder)
    found = []
    for owner, counter in enumerate(counts):
        matched = sum(
            min(count, most[gram][1] if most[gram][2] == owner else most[gram][0]) for gram, count in counter.items()
        )
        found.append(matched / total if (total := sum(counter.values())) else 0.0)
    return found


def _grams(sequence: Sequence[Hashable], size: int) -> list[tuple[Hashable, ...]]:
    return list(zip(*(sequence[start:] for start in range(size)), strict=False))


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
