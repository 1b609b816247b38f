"""How a window is shown to the model: at its own length and a little more, which takes less time than 30 s."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.decoding.windows import Window
from mtasr.engines.engine import Encoded
from mtasr.features import CHUNK_SECONDS, log_mel
from mtasr.options import Task
from mtasr.spans import SAMPLE_RATE

#: Seconds of silence that the encoder is shown after a window: with less, models trained on 30 s start to loop
#: (benchmarks/README.md).
_MARGIN = 2.0
#: The shortest context, in seconds.
_SHORTEST = 8.0
#: Contexts are multiples of this, so that windows of about the same length are decoded together.
_STEP = 3.0
#: The same for models trained on windows of any length.
_VARIABLE_MARGIN, _VARIABLE_SHORTEST, _VARIABLE_STEP = 0.2, 3.0, 1.0


def context_for(
    seconds: float, task: Task = "transcribe", most: float = CHUNK_SECONDS, *, variable_length: bool = False
) -> float:
    """How many seconds the encoder is shown of a window of that length; it takes `most` seconds.

    Models trained on windows of `variable_length` need hardly any silence after them. A translation, which the models
    do less surely, gets all: with less it is worse in most languages (benchmarks/README.md).
    """
    if task == "translate":
        return float(most)
    margin, shortest, step = _MARGIN, _SHORTEST, _STEP
    if variable_length:
        margin, shortest, step = _VARIABLE_MARGIN, _VARIABLE_SHORTEST, _VARIABLE_STEP
    longer = max(shortest, seconds + margin)
    return min(math.ceil(longer / step) * step, float(most))


def features_of(samples: Float32Array, context: float, n_mels: int) -> Float32Array:
    """Log-mel (n_mels, frames) of a window (n,) with silence after it, up to `context` seconds."""
    length = round(context * SAMPLE_RATE)
    return log_mel(np.pad(samples[:length], (0, max(0, length - len(samples)))), n_mels)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowInput:
    """A window and how it is shown to the model."""

    window: Window
    #: Code of the language spoken; empty until it is known.
    language: str = ""
    task: Task = "transcribe"
    #: Whether the recording begins with this window.
    first: bool = False
    #: Tokens of the text before the window; empty for the initial prompt.
    previous: tuple[int, ...] = ()
    #: Text tokens that the window's text begins with.
    given: tuple[int, ...] = ()
    #: Seconds that the encoder is shown: the window and silence after it.
    context: float = 0.0
    #: Tokens per second of speech around a window that was cut from another; 0 if that is unknown.
    pace: float = 0.0
    #: Encoder output, None until the window is encoded.
    encoded: Encoded | None = None

    @property
    def lenient(self) -> bool:
        """Whether any text that does not loop is taken, however improbable and wherever it begins.

        So it is for translations: samples drawn instead are no better, and take a fifth longer (benchmarks/README.md).
        """
        return self.task == "translate"
