"""A stand-in behind the engine seam: it writes what a test tells it to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from vocabularies import vocabulary

from mtasr.decoding.engine import Alignment, Float32Array, Hypothesis, LanguageGuess
from mtasr.decoding.options import DecodingOptions
from mtasr.tokenizer import Tokenizer


@dataclass
class Call:
    """What `generate` was asked."""

    prompt: tuple[int, ...]
    temperature: float
    encoded: int


@dataclass
class FakeEngine:
    """Answers the n-th distinct window with the n-th script entry; each entry maps a temperature to a hypothesis."""

    script: Sequence[Callable[[float], Hypothesis]] = ()
    kind: str = "multilingual"
    n_mels: int = 80
    max_length: int = 448
    calls: list[Call] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokenizer = Tokenizer(vocabulary(self.kind))

    workers = 1
    batch_size = 1

    def alone(self) -> FakeEngine:
        return self

    def encode_batch(self, features: Sequence[Float32Array]) -> list[int]:
        return [self.encode(each) for each in features]

    def generate_batch(
        self, encoded: Sequence[int], prompts: Sequence[Sequence[int]], options: DecodingOptions, temperature: float
    ) -> list[Hypothesis]:
        return [
            self.generate(window, prompt, options, temperature) for window, prompt in zip(encoded, prompts, strict=True)
        ]

    def encode(self, features: Float32Array) -> int:
        self.frames.append(features.shape[1])
        return len(self.frames) - 1

    def detect_language(self, encoded: int) -> list[LanguageGuess]:
        return [LanguageGuess("fr", 0.75), LanguageGuess("en", 0.25)]

    def generate(self, encoded: int, prompt: Sequence[int], options: DecodingOptions, temperature: float) -> Hypothesis:
        self.calls.append(Call(tuple(prompt), temperature, encoded))
        return self.script[encoded](temperature)

    def align(self, encoded: int, start: Sequence[int], text_tokens: Sequence[int], frames: int) -> Alignment:
        """Token n is spoken from n * 0.2 s on."""
        steps = np.arange(len(text_tokens) + 1)
        return Alignment(token_indices=steps, frame_indices=steps * 10, token_probs=np.full(len(text_tokens), 0.5))

    def says(self, text: str, **figures: float) -> Callable[[float], Hypothesis]:
        """A hypothesis from text with timestamps such as "<|0.00|> the sound<|2.00|>"."""
        hypothesis = self.hypothesis(text, **figures)
        return lambda temperature: hypothesis

    def hypothesis(self, text: str, avg_logprob: float = -0.2, no_speech_prob: float = 0.01) -> Hypothesis:
        tokens = self.tokenizer.encoding.encode(text, allowed_special="all")
        return Hypothesis(tokens=tuple(tokens), avg_logprob=avg_logprob, no_speech_prob=no_speech_prob)
