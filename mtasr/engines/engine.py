"""The seam between the decoding strategy and whatever runs the network.

Everything above it (windows, fallback, long form, language, word times) is written against `Engine` alone, so the
CTranslate2 engine, the torch reference and the fake in the tests are interchangeable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mtasr.options import DecodingOptions
from mtasr.tokenizer import Tokenizer

Float32Array = npt.NDArray[np.float32]

#: Encoder output, kept by the engine in its own form (on its own device) and handed back to it unread.
Encoded = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """One decoded window: ids of text and timestamp tokens, without prompt and without end of text."""

    tokens: tuple[int, ...]
    #: Sum of log-probabilities over tokens and end of text, divided by their number.
    avg_logprob: float
    no_speech_prob: float
    #: The next most probable, as tokens and their mean log-probability, if `DecodingOptions.n_best` asks for them.
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


class Engine(Protocol):
    """Runs one Whisper-style model. As many calls as `workers` may run at the same time, from as many threads."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def n_mels(self) -> int:
        """Mel bins the encoder takes: 80, or 128 from large-v3 on."""

    @property
    def max_length(self) -> int:
        """Tokens of prompt and text together that fit the decoder, 448 for the published models."""

    @property
    def audio_seconds(self) -> float:
        """How much audio the encoder can be shown, 30 s for the published models."""

    @property
    def variable_length(self) -> bool:
        """Whether the model is at home with windows that end without silence."""

    @property
    def workers(self) -> int:
        """How many calls run side by side."""

    @property
    def batch_size(self) -> int:
        """How many windows to give to one call of `generate_batch`."""

    def sampler(self, seed: int) -> Engine:
        """The same model for one call at a time, with the whole machine for it; its random numbers begin with `seed`.

        Asking again ends the use of the one before.
        """

    def encode(self, features: Float32Array) -> Encoded:
        """Encode log-mel features of shape (n_mels, frames), at most 100 for each of `audio_seconds`, and even."""

    def encode_batch(self, features: Sequence[Float32Array]) -> list[Encoded]:
        """Encode several of the same shape."""

    def detect_language(self, encoded: Encoded) -> list[LanguageGuess]:
        """All languages of a multilingual model, the most probable first."""

    def generate(
        self, encoded: Encoded, prompt: Sequence[int], options: DecodingOptions, temperature: float
    ) -> Hypothesis:
        """Decode one window: beam search at temperature 0, the best of several samples above.

        What the prompt has after the start of transcript is what the text begins with, and the hypothesis with it.
        """

    def generate_batch(
        self, encoded: Sequence[Encoded], prompts: Sequence[Sequence[int]], options: DecodingOptions, temperature: float
    ) -> list[Hypothesis]:
        """Decode windows whose features and prompts have the same lengths: the same as one by one, in less time."""

    def align(self, encoded: Encoded, start: Sequence[int], text_tokens: Sequence[int], frames: int) -> Alignment:
        """Align text tokens with the first `frames` feature frames, after the start-of-transcript tokens `start`."""

    def score_batch(
        self, encoded: Sequence[Encoded], prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]
    ) -> list[Likelihood]:
        """How probable each text is as all that is said in its window; nothing is suppressed.

        Features have the same length, and so have prompts, which end in the switch that turns timestamps off. A text
        has at most `max_length` // 2 - 2 tokens.
        """
