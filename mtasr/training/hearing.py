"""What a model makes of recordings, for the filters that compare."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from mtasr.training.records import Record
from mtasr.training.spoken import Heard
from mtasr.transcribe import Model


def hearing(model: Model) -> Callable[[Record], Heard]:
    """A function that transcribes a record's recording in the language that the model detects.

    It remembers the last ones, so that several filters share one transcript. Raises what `Model.transcribe` raises.
    """

    @lru_cache(maxsize=16)
    def of_audio(audio: str) -> Heard:
        transcript = model.transcribe(Path(audio))
        return Heard(language=transcript.language, probability=transcript.language_probability, text=transcript.text)

    return lambda record: of_audio(record.audio)
