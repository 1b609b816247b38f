"""The clip of the parity gate, CTranslate2 hearing it, and measures of difference. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from mtasr import system
from mtasr.arrays import Float32Array
from mtasr.audio.read import open_audio
from mtasr.errors import ModelError
from mtasr.features import HOP_LENGTH, log_mel
from mtasr.networks.dimensions import ModelDimensions
from mtasr.system import WHOLE_RANGE
from mtasr.tokenizer import Tokenizer

#: The largest difference that passes, as its root mean square over that of the values, by the type of the matrices.
#: Measured on `base`: float32 1e-5, float16 4e-3, bfloat16 4e-2, int8 9e-2; with the weights of another model, about 1.
_TOLERANCES = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1, "int8": 2e-1}
#: For int8 on processors whose sums overflow. Measured: `base` 1.5e-1, a model of random weights 3e-1.
_OVERFLOWING = 4e-1

MOST_TOKENS = 32
#: Ten seconds, the last of them silence after the clip.
_CLIP_FRAMES = 1000
CLIP = Path(__file__).with_name("parity_clip.flac")


class Difference(NamedTuple):
    """Difference of two arrays, relative to the root mean square and to the largest value of the source."""

    rms: float
    largest: float


class Rules(NamedTuple):
    """How both sides choose tokens: the most probable one that is not suppressed, until `end`."""

    suppressed: tuple[int, ...]
    end: int


class Runner(Protocol):
    """A model that has heard the clip."""

    def encode(self) -> Float32Array:
        """Encoder output for the clip, (S, D)."""

    def greedy(self, prompt: Sequence[int]) -> tuple[list[int], Float32Array]:
        """The most probable tokens after the prompt, and the logits (N, V) they were chosen by, at least one row."""


def tolerance_of(precision: str) -> float:
    """The largest difference that passes, for matrices in that precision."""
    kind = "int8" if precision.startswith("int8") else precision
    if kind == "int8" and system.largest_weight() != WHOLE_RANGE:
        return _OVERFLOWING
    return _TOLERANCES[kind]


def prompt_of(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The prompt for the clip, which is in English, without timestamps."""
    languages = tokenizer.language_tokens
    language = "en" if "en" in languages else next(iter(languages))
    return tokenizer.sot_sequence(language, "transcribe", timestamps=False)


def features(clip: Path, dims: ModelDimensions) -> Float32Array:
    """Features (M, F). F is even and avoids the length whose encoding CTranslate2 mistakes for features."""
    frames = min(_CLIP_FRAMES, 2 * dims.n_audio_ctx)
    frames -= 2 if frames // 2 == dims.n_mels else 0
    with open_audio(clip) as blocks:
        samples = np.concatenate([*blocks, np.zeros(frames * HOP_LENGTH, np.float32)])
    return np.ascontiguousarray(log_mel(samples[: frames * HOP_LENGTH], dims.n_mels))


def difference(source: Float32Array, result: Float32Array) -> Difference:
    """Raises `ModelError` for arrays of different shapes."""
    if source.shape != result.shape:
        raise ModelError(f"parity: the shape was {source.shape} and is now {result.shape}")
    apart = np.abs(source - result)
    return Difference(rms(apart) / max(rms(source), 1e-12), float(apart.max() / max(np.abs(source).max(), 1e-12)))


def rms(values: Float32Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def centred(logits: Float32Array) -> Float32Array:
    """Each row less its mean, which softmax ignores."""
    moved: Float32Array = logits - logits.mean(axis=1, keepdims=True)
    return moved


class CTranslate2Runner:
    """The folder as CTranslate2 runs it on the CPU."""

    def __init__(self, folder: Path, mel: Float32Array, rules: Rules, context: int, compute: str) -> None:
        import ctranslate2

        self._context = context
        self._rules = rules
        try:
            self._model = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type=compute, intra_threads=1)
            self._audio = self._model.encode(ctranslate2.StorageView.from_array(mel[None]), to_cpu=True)
        except (RuntimeError, ValueError) as exc:
            raise ModelError(f"CTranslate2 cannot run the result: {exc}") from exc

    def encode(self) -> Float32Array:
        audio: Float32Array = np.asarray(self._audio, dtype=np.float32)[0]
        return audio

    def greedy(self, prompt: Sequence[int]) -> tuple[list[int], Float32Array]:
        steps = min(MOST_TOKENS, self._context - len(prompt))
        result = self._model.generate(
            self._audio,
            [list(prompt)],
            beam_size=1,
            # CTranslate2 writes at most half of max_length and stays within it, prompt included.
            max_length=max(2 * steps, steps + len(prompt)),
            suppress_blank=False,
            suppress_tokens=list(self._rules.suppressed),
            return_logits_vocab=True,
        )[0]
        tokens = list(result.sequences_ids[0][:steps])
        logits = [np.asarray(row, dtype=np.float32).reshape(-1) for row in result.logits[0]]
        return tokens, np.stack(logits)[: max(len(tokens), 1)]
