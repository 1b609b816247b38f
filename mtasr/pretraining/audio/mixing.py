"""Audio with others talking over it, or noise: what WavLM hears while it predicts the units of the first speaker.

Source: Chen et al. 2021 (WavLM, arXiv:2110.13900), section III-C. Letters in shapes: B crops, N samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mtasr.arrays import Float32Array

#: Gives so many samples (N,) of noise, by chance.
Noise = Callable[[int, np.random.Generator], Float32Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """What is mixed into crops, and how often."""

    #: Probability that something is mixed into a crop.
    share: float
    #: Probability that this is noise and not speech.
    noise_share: float = 0.0
    noise: Noise | None = None
    #: Least and most decibels by which a crop is louder than what is mixed into it.
    speech_decibels: tuple[float, float] = (-5.0, 5.0)
    noise_decibels: tuple[float, float] = (-5.0, 20.0)

    def mixed(self, audio: Float32Array, rng: np.random.Generator) -> Float32Array:
        """A copy of the crops (B, N) in which some have, for at most half of their time, another sound over them.

        That is a piece of another crop, or of noise, from a random place at a random place. What is mixed in stays as
        it was before anything was mixed. Silence is never mixed in.
        """
        result = audio.copy()
        for row, crop in enumerate(audio):
            if rng.random() < self.share:
                other, decibels = self._other(audio, row, rng)
                if other is not None:
                    _add(result[row], crop, other, float(rng.uniform(*decibels)), rng)
        return result

    def _other(
        self, audio: Float32Array, row: int, rng: np.random.Generator
    ) -> tuple[Float32Array | None, tuple[float, float]]:
        """The other sound (N,), if there is one, and its range of decibels."""
        if self.noise is not None and rng.random() < self.noise_share:
            return self.noise(audio.shape[1], rng), self.noise_decibels
        if len(audio) == 1:
            return None, self.speech_decibels
        other = int(rng.integers(len(audio) - 1))
        return audio[other + (other >= row)], self.speech_decibels


def _add(
    target: Float32Array, crop: Float32Array, other: Float32Array, decibels: float, rng: np.random.Generator
) -> None:
    """Add a piece of `other` (N,) to `target` (N,), so loud that the whole `crop` is `decibels` louder than `other`."""
    samples = len(crop)
    length = int(rng.integers(1, samples // 2 + 1))
    to, start = (int(place) for place in rng.integers(0, samples - length + 1, 2))
    loudness, energy = (float(np.square(each, dtype=np.float64).mean()) for each in (crop, other))
    if energy > 0:
        factor = np.float32(np.sqrt(loudness / (10 ** (decibels / 10) * energy)))
        target[to : to + length] += factor * other[start : start + length]
