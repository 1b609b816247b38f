"""Whisper-style multitask speech recognition.

from mtasr import load_model

transcript = load_model("base").transcribe("interview.mp3")
for segment in transcript:
    print(f"{segment.start:.2f} {segment.end:.2f} {segment.text}")
"""

from __future__ import annotations

__version__ = "0.1.0"

#: As in `typing`, which would take a third of the time until Ctrl-C is looked after (`mtasr.__main__`).
TYPE_CHECKING = False

if TYPE_CHECKING:
    from mtasr.audio.tracks import Tracks
    from mtasr.decoding.transcription import Transcription
    from mtasr.dubbing.dub import dub
    from mtasr.engines.engine import LanguageGuess
    from mtasr.errors import MtasrError
    from mtasr.options import DecodingOptions
    from mtasr.speakers.diarize import Diarization, diarize
    from mtasr.speakers.options import SpeakerOptions
    from mtasr.speech.voice import Speech, load_voice
    from mtasr.transcribe import Model, load_model
    from mtasr.transcript import Segment, Transcript, Turn, Word

__all__ = [
    "DecodingOptions",
    "Diarization",
    "LanguageGuess",
    "Model",
    "MtasrError",
    "Segment",
    "SpeakerOptions",
    "Speech",
    "Tracks",
    "Transcript",
    "Transcription",
    "Turn",
    "Word",
    "__version__",
    "diarize",
    "dub",
    "load_model",
    "load_voice",
]

# Loaded on first use, so that `mtasr --version` does not pay for NumPy and CTranslate2.
_HOMES = {
    "DecodingOptions": "mtasr.options",
    "Diarization": "mtasr.speakers.diarize",
    "LanguageGuess": "mtasr.engines.engine",
    "Model": "mtasr.transcribe",
    "MtasrError": "mtasr.errors",
    "Segment": "mtasr.transcript",
    "SpeakerOptions": "mtasr.speakers.options",
    "Speech": "mtasr.speech.voice",
    "Tracks": "mtasr.audio.tracks",
    "Transcript": "mtasr.transcript",
    "Transcription": "mtasr.decoding.transcription",
    "Turn": "mtasr.transcript",
    "Word": "mtasr.transcript",
    "diarize": "mtasr.speakers.diarize",
    "dub": "mtasr.dubbing.dub",
    "load_model": "mtasr.transcribe",
    "load_voice": "mtasr.speech.voice",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mtasr' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
