"""The samples of recordings, and where somebody speaks in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtasr.audio.read import Float32Array, open_audio
from mtasr.vad.silero import SpeechTrack

#: The probability of speech from which a moment counts as speech, as in decoding.
_THRESHOLD = 0.5


def read_samples(path: Path) -> Float32Array:
    """All samples (N,) of a recording at 16 kHz. Raises `InputError`."""
    with open_audio(path) as stream:
        return np.concatenate([np.zeros(0, np.float32), *stream])


def speech_in(path: Path) -> list[tuple[float, float]]:
    """Start and end in seconds of each stretch of speech. Raises `InputError`."""
    track = SpeechTrack(_THRESHOLD)
    with open_audio(path) as stream:
        for _ in track.follow(stream):
            pass
    return track.stretches()
