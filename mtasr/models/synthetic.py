"""A clip that sounds like somebody babbling, made of arithmetic alone, for checks that need some speech."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000

#: First, second and third formant in Hz of some vowels (Peterson and Barney 1952, men).
_VOWELS = {
    "i": (270, 2290, 3010),
    "a": (730, 1090, 2440),
    "u": (300, 870, 2240),
    "e": (530, 1840, 2480),
    "o": (570, 840, 2410),
}
_SYLLABLES = "aieouaeiuoa"
_BANDWIDTH = 90.0
_SECONDS = 3.2


def speech_like_clip() -> npt.NDArray[np.float32]:
    """3.2 s at 16 kHz: a falling voice glides from vowel to vowel, a syllable every 0.3 s. The same each time."""
    time = np.arange(round(_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = 130 - 12 * time + 8 * np.sin(2 * np.pi * 2.3 * time)  # Hz
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    formants = _formants(time)
    voice = np.zeros_like(time)
    for harmonic in range(1, 40):
        frequency = harmonic * pitch
        # Each formant is a resonance; the source itself falls by 6 dB an octave.
        gain = (1 / (1 + ((frequency - formants) / _BANDWIDTH) ** 2)).sum(axis=0) / harmonic
        voice += gain * np.sin(harmonic * phase)
    syllables = np.clip(1.4 * np.sin(np.pi * time / 0.3) ** 2, 0, 1)
    clip: npt.NDArray[np.float64] = 0.3 * voice * syllables / np.abs(voice).max()
    return clip.astype(np.float32)


def _formants(time: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(3, samples) Hz, linear between the vowels."""
    centres = 0.15 + 0.3 * np.arange(len(_SYLLABLES))
    targets = np.array([_VOWELS[vowel] for vowel in _SYLLABLES], dtype=np.float64)
    return np.stack([np.interp(time, centres, targets[:, formant]) for formant in range(3)])
