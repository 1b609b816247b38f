"""The seam between decoding and the network.

Everything above is written against `Engine` alone, so the CTranslate2 engine, the torch reference and the fakes of the
tests are interchangeable.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mtasr.arrays import Float32Array
from mtasr.options import DecodingOptions
from mtasr.tokenizer import Tokenizer

#: Encoder output in the form and on the device that the engine chooses.
Encoded = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """One decoded window: ids of text and timestamp tokens, without prompt and without end of text."""

    tokens: tuple[int, ...]
    #: Sum of log-probabilities over tokens and end of text, divided by their number.
    avg_logprob: float
    no_speech_prob: float
    #: Further hypotheses (tokens, mean log-probability), if `DecodingOptions.n_best` asks for them.
    others: tuple[tuple[tuple[int, ...], float], ...] = ()


@dataclass(frozen=True, slots=True)
class LanguageGuess:
    """A language and how probable the model finds it."""

    code: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Which encoder frame each text token belongs to.

    `token_indices` and `frame_indices` (equal length, both ascending) are the path of dynamic time warping
    through cross-attention: frame_indices counts encoder frames of 0.02 s. `token_probs` has one
    probability for each text token.
    """

    token_indices: npt.NDArray[np.int64]
    frame_indices: npt.NDArray[np.int64]
    token_probs: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """How probable a model finds a given text of T tokens: log-probabilities among all tokens, (T + 1,) each."""

    #: Of each token after those before it; last, of the end of text after all of them.
    logprobs: npt.NDArray[np.float64]
    #: Of the end of text in the place of each token; the last is the last of `logprobs`.
    end_logprobs: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What one loaded model takes, and how to keep it busy."""

    #: Mel bins the encoder takes: 80, or 128 from large-v3 on.
    n_mels: int = 80
    #: Tokens of prompt and text together that fit the decoder: 448 for the published models.
    max_length: int = 448
    #: Seconds of audio the encoder takes: 30 for the published models.
    audio_seconds: float = 30.0
    #: Whether the model was trained on windows of any length, and so needs no silence after them.
    variable_length: bool = False
    #: Whether `Engine.align` tells reliably when words are spoken.
    reliable_alignment: bool = True
    #: Calls that may run at the same time.
    workers: int = 1
    #: Windows that one call of `generate` is best given.
    batch_size: int = 1


class Engine(Protocol):
    """Runs one Whisper-style model. As many calls as `limits.workers` may run at the same time, from any threads.

    Encoder output belongs to the engine: callers hand it back unread.
    """

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def limits(self) -> EngineLimits: ...

    def sampler(self, seed: int) -> AbstractContextManager[Engine]:
        """The same model for one caller and one call at a time, with the whole machine for it.

        What it draws at temperatures above 0 depends on `seed` and on its own calls alone (on CUDA, on all calls).
        """

    def encode(self, features: Sequence[Float32Array]) -> list[Encoded]:
        """Encode log-mel features, (n_mels, frames) each and of one shape.

        `frames` is even and at most 100 for each of `limits.audio_seconds`.
        """

    def detect_language(self, encoded: Encoded) -> list[LanguageGuess]:
        """All languages of a multilingual model, the most probable first."""

    def generate(
        self, encoded: Sequence[Encoded], prompts: Sequence[Sequence[int]], options: DecodingOptions, temperature: float
    ) -> list[Hypothesis]:
        """Decode windows: beam search at temperature 0, the best of several samples above.

        Features have one length, and so have prompts. The result for a window does not depend on the others. Tokens of
        a prompt after the start of transcript begin the text and the hypothesis.
        """

    def align(self, encoded: Encoded, start: Sequence[int], text_tokens: Sequence[int], frames: int) -> Alignment:
        """Align text tokens with the first `frames` feature frames, after the start-of-transcript tokens `start`."""

    def score(
        self, encoded: Sequence[Encoded], prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]
    ) -> list[Likelihood]:
        """How probable each text is as the whole text of its window; no token is suppressed.

        Features have one length, and so have prompts, which end in the token that turns timestamps off. A text has at
        most `limits.max_length` // 2 - 2 tokens.
        """
