"""Stand-ins behind the engine seam, which write what a test tells them to, and one that hears speech."""

from __future__ import annotations

import contextlib
import random
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from vocabularies import vocabulary

from mtasr.arrays import Float32Array
from mtasr.decoding.checks import Checks
from mtasr.engines.engine import Alignment, EngineLimits, Hypothesis, LanguageGuess
from mtasr.options import DecodingOptions
from mtasr.tokenizer import Tokenizer
from mtasr.vad import FRAME

#: The defaults of `Checks` by name: what is set here counts for every `Checks` made later without that threshold.
DEFAULT_CHECKS: dict[str, Any] = Checks.__init__.__kwdefaults__


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
    limits: EngineLimits = EngineLimits()  # noqa: RUF009 - it is frozen
    calls: list[Call] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokenizer = Tokenizer(vocabulary(self.kind))

    def sampler(self, seed: int) -> contextlib.nullcontext[FakeEngine]:
        return contextlib.nullcontext(self)

    def encode(self, features: Sequence[Float32Array]) -> list[int]:
        first = len(self.frames)
        self.frames.extend(each.shape[1] for each in features)
        return list(range(first, len(self.frames)))

    def detect_language(self, encoded: int) -> list[LanguageGuess]:
        return [LanguageGuess("fr", 0.75), LanguageGuess("en", 0.25)]

    def generate(
        self, encoded: Sequence[int], prompts: Sequence[Sequence[int]], options: DecodingOptions, temperature: float
    ) -> list[Hypothesis]:
        return [self.answer(*each, options, temperature) for each in zip(encoded, prompts, strict=True)]

    def answer(self, encoded: int, prompt: Sequence[int], options: DecodingOptions, temperature: float) -> Hypothesis:
        """The hypothesis for one window; tests override it."""
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


class LoudIsSpeech:
    """A `SpeechDetector` to which every frame that is not silent is speech."""

    #: From which mean on, of what lies between -1 and 1.
    level = 0.001

    def __init__(self) -> None:
        self._held = np.zeros(0, np.float32)

    def probabilities(self, samples: Float32Array, *, last: bool = False) -> Float32Array:
        held = np.concatenate([self._held, samples])
        if last:
            held = np.pad(held, (0, -len(held) % FRAME))
        count = len(held) // FRAME
        self._held = held[count * FRAME :]
        loud = np.abs(held[: count * FRAME]).reshape(count, FRAME).mean(axis=1) > self.level
        return np.where(loud, 0.95, 0.05).astype(np.float32)


@dataclass(frozen=True)
class Heard:
    """What `HearingEngine` encodes: a number that the features determine, how many frames there were, the loudest."""

    number: int
    frames: int
    loudest: float


@dataclass
class HearingEngine:
    """Writes words that the features alone determine, after a little while that differs from call to call.

    `judge` may change a hypothesis; it and `fails`, which makes encoding fail, are given what was heard.
    """

    limits: EngineLimits = EngineLimits()  # noqa: RUF009 - it is frozen
    pause: float = 0.002
    judge: Callable[[Heard, float, Hypothesis], Hypothesis] = lambda heard, temperature, hypothesis: hypothesis
    fails: Callable[[Heard], bool] = lambda heard: False
    encoded: list[Heard] = field(default_factory=list)
    generated: list[tuple[Heard, float]] = field(default_factory=list)
    detected: list[Heard] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokenizer = FakeEngine().tokenizer
        self._lock = threading.Lock()

    def sampler(self, seed: int) -> contextlib.nullcontext[HearingEngine]:
        return contextlib.nullcontext(self)

    def _wait(self) -> None:
        time.sleep(random.random() * self.pause)

    def encode(self, features: Sequence[Float32Array]) -> list[Heard]:
        assert len({each.shape for each in features}) == 1
        self._wait()
        heard = [Heard(zlib.crc32(each.tobytes()), each.shape[1], float(each.max())) for each in features]
        if any(map(self.fails, heard)):
            raise RuntimeError("the engine stopped")
        with self._lock:
            self.encoded.extend(heard)
        return heard

    def detect_language(self, encoded: Heard) -> list[LanguageGuess]:
        with self._lock:
            self.detected.append(encoded)
        codes = ["en", "fr"] if encoded.number % 2 else ["fr", "en"]
        return [LanguageGuess(codes[0], 0.95), LanguageGuess(codes[1], 0.05)]

    def generate(
        self, encoded: Sequence[Heard], prompts: Sequence[Sequence[int]], options: DecodingOptions, temperature: float
    ) -> list[Hypothesis]:
        assert len(encoded) == len(prompts)
        assert len(encoded) <= self.limits.batch_size
        self._wait()
        with self._lock:
            self.generated.extend((each, temperature) for each in encoded)
            self.batches.append(len(encoded))
        return [
            self.judge(heard, temperature, self._says(heard, prompt))
            for heard, prompt in zip(encoded, prompts, strict=True)
        ]

    def align(self, encoded: Heard, start: Sequence[int], text_tokens: Sequence[int], frames: int) -> Alignment:
        steps = np.arange(len(text_tokens) + 1)
        return Alignment(token_indices=steps, frame_indices=steps * 10, token_probs=np.full(len(text_tokens), 0.5))

    def _says(self, heard: Heard, prompt: Sequence[int]) -> Hypothesis:
        chooser = random.Random(zlib.crc32(repr((heard.number, tuple(prompt))).encode()))
        text = "".join(chooser.choices([" the", " day", " water", " people", " sound", " number"], k=6))
        tokens = self.tokenizer.encoding.encode(
            f"<|0.00|>{text}<|{heard.frames // 2 * 0.02:.2f}|>", allowed_special="all"
        )
        return Hypothesis(tokens=tuple(tokens), avg_logprob=-chooser.uniform(0.1, 0.5), no_speech_prob=0.01)
