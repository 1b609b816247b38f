"""Recordings as samples, for scripts that make new ones of them: mono float32 at 16 kHz, shape (N,)."""

from __future__ import annotations

import contextlib
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mtasr.audio.read import open_audio
from mtasr.spans import SAMPLE_RATE, Span
from mtasr.vad import FRAME, SileroDetector, speech_spans

Samples = npt.NDArray[np.float32]

#: Largest value in a file: louder sound is made quieter as a whole, not clipped.
_PEAK = 0.99


def read(path: Path) -> Samples:
    with contextlib.closing(open_audio(path)) as audio:
        return np.concatenate([np.zeros(0, np.float32), *audio])


def write(path: Path, samples: npt.NDArray[np.floating]) -> None:
    """In 16 bits."""
    loudest = float(np.abs(samples).max(initial=0.0))
    scaled = samples * min(1.0, _PEAK / loudest) if loudest else samples
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, len(samples), "NONE", ""))
        file.writeframes(np.rint(scaled * 32767).astype("<i2").tobytes())


def speech(samples: Samples) -> list[Span]:
    """Where somebody speaks, in samples; everywhere if nobody seems to."""
    spans = speech_spans(SileroDetector().probabilities(samples, last=True), 0.5)
    found = [Span(span.start * FRAME, min(span.end * FRAME, len(samples))) for span in spans]
    return found or [Span(0, len(samples))]
