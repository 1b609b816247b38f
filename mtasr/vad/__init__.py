"""Voice activity: where a recording holds speech.

To add a model, write a file in this folder with a `SpeechDetector` and add its line to `DETECTORS`. A program can pass
its own to `load_model(detector=...)` without that.
"""

from __future__ import annotations

from mtasr.vad.detector import FRAME, HYSTERESIS, MakeDetector, SpeechDetector, SpeechTrack, speech_spans
from mtasr.vad.silero import SileroDetector

#: What `load_model(detector=NAME)` takes.
DETECTORS: dict[str, MakeDetector] = {
    "silero": SileroDetector,
}

#: The one used without a name.
DEFAULT_DETECTOR = "silero"

__all__ = [
    "DEFAULT_DETECTOR",
    "DETECTORS",
    "FRAME",
    "HYSTERESIS",
    "MakeDetector",
    "SileroDetector",
    "SpeechDetector",
    "SpeechTrack",
    "speech_spans",
]
