"""The parity gate: do two checkpoints compute the same?

Both hear a short spoken clip (`examples/make_examples.py` made it). The result writes text greedily; the source is
given the same tokens (teacher forcing), and the encoder outputs and all logits are compared. Then the source writes
text by itself, which must be the same unless two tokens were nearly as probable as each other.

The result is run by whatever will run it: CTranslate2 for its own format, torch for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from mtasr.audio import open_audio
from mtasr.dimensions import ModelDimensions
from mtasr.errors import ModelError
from mtasr.features import HOP_LENGTH, log_mel
from mtasr.model import Whisper
from mtasr.models.checkpoints import Checkpoint, Precision, load_checkpoint
from mtasr.models.names import Format
from mtasr.tokenizer import Tokenizer

Float32Array = npt.NDArray[np.float32]

#: What passes, as root mean square of the difference over that of the values, by the type of the matrices.
#: Measured on `base`: float32 1e-5, float16 4e-3, bfloat16 4e-2, int8 9e-2; with the weights of another model, about 1.
TOLERANCES = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1, "int8": 2e-1}

_MOST_TOKENS = 32
#: Ten seconds, a good part of them silence after the clip.
_CLIP_FRAMES = 1000
_CLIP = Path(__file__).with_name("parity_clip.flac")


class Difference(NamedTuple):
    """How far two arrays are apart: parts of the source's root mean square, and of its largest value."""

    rms: float
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far source and result are apart."""

    encoder: Difference
    logits: Difference
    tolerance: float
    source_text: str
    result_text: str
    #: What of vocabulary and settings did not arrive as it was.
    lost: tuple[str, ...]
    #: By how much the source preferred its own token where the texts part, in root mean squares of its logits; 0
    #: where the texts are the same.
    margin: float

    @property
    def most(self) -> float:
        """The largest difference that passes: single values stray further than their root mean square."""
        return min(10 * self.tolerance, 1.0)

    def require(self) -> None:
        """Raise `ModelError` if a difference exceeds the tolerance, or the texts differ by more than a tie."""
        if self.lost:
            raise ModelError(f"parity: {' and '.join(self.lost)} did not arrive as they were")
        for what, difference in (("encoder outputs", self.encoder), ("logits", self.logits)):
            if not difference.rms <= self.tolerance:  # so that "not a number" fails
                raise ModelError(
                    f"parity: the {what} differ by {difference.rms:.1e}; at most {self.tolerance:.0e} may be"
                )
            if not difference.largest <= self.most:
                raise ModelError(
                    f"parity: one of the {what} differs by {difference.largest:.1e}; at most {self.most:.0e} may be"
                )
        if self.margin > 2 * self.tolerance:  # two logits may stray towards each other
            raise ModelError(f"parity: the text was {self.source_text!r} and is now {self.result_text!r}")


class _Rules(NamedTuple):
    """How both sides choose tokens: the most probable that is not suppressed, until the end of text."""

    suppressed: tuple[int, ...]
    end: int


class Runner(Protocol):
    def encode(self) -> Float32Array:
        """Encoder output for the clip, (S, D)."""

    def greedy(self, prompt: Sequence[int]) -> tuple[list[int], Float32Array]:
        """The most probable tokens after the prompt, and the logits (N, V) they were chosen by, at least one row."""


def compare(source: Checkpoint, result: Path, kind: Format, precision: Precision, clip: Path = _CLIP) -> Parity:
    """Run both on the first ten seconds of a recording and tell how far they are apart; `Parity.require` judges."""
    tokenizer = Tokenizer(source.tokens)
    prompt = _prompt(tokenizer)
    mel = _features(clip, source.model.dims)
    rules = _Rules((*source.settings.suppress_ids, *tokenizer.never_text), tokenizer.eot)
    reference = TorchRunner(source.model, mel, rules)
    arrived = load_checkpoint(result)
    runner = (
        _ctranslate2_runner(result, precision, mel, rules, source.model.dims)
        if kind == "ctranslate2"
        else TorchRunner(arrived.model, mel, rules)
    )
    encoder = _difference(reference.encode(), runner.encode())
    tokens, logits = runner.greedy(prompt)
    lost = [what for what in ("tokens", "settings") if getattr(arrived, what) != getattr(source, what)]
    # CTranslate2 returns suppressed logits changed.
    allowed = np.setdiff1d(np.arange(logits.shape[1]), rules.suppressed)
    forced = reference.forced(prompt, tokens)
    count = min(len(forced), len(logits))
    own, _ = reference.greedy(prompt)
    return Parity(
        encoder=encoder,
        logits=_difference(_centred(forced[:count, allowed]), _centred(logits[:count, allowed])),
        tolerance=TOLERANCES["int8" if precision.startswith("int8") else precision],
        source_text=tokenizer.decode(own),
        result_text=Tokenizer(arrived.tokens).decode(tokens),
        lost=tuple(lost),
        margin=_margin([*own, rules.end], [*tokens, rules.end], _centred(forced)),
    )


def _ctranslate2_runner(
    result: Path, precision: Precision, mel: Float32Array, rules: _Rules, dims: ModelDimensions
) -> Runner:
    # What every CPU can do; to leave the choice to CTranslate2 gives the same and a warning.
    compute = "int8_float32" if precision.startswith("int8") else "float32"
    return CTranslate2Runner(result, mel, rules, dims.n_text_ctx, compute)


def _prompt(tokenizer: Tokenizer) -> tuple[int, ...]:
    languages = tokenizer.language_tokens
    language = "en" if "en" in languages else next(iter(languages))
    return tokenizer.sot_sequence(language, "transcribe", timestamps=False)


def _features(clip: Path, dims: ModelDimensions) -> Float32Array:
    """Features (M, F): an even number of frames, and not those whose encoding CTranslate2 takes for features."""
    frames = min(_CLIP_FRAMES, 2 * dims.n_audio_ctx)
    frames -= 2 if frames // 2 == dims.n_mels else 0
    with open_audio(clip) as blocks:
        samples = np.concatenate([*blocks, np.zeros(frames * HOP_LENGTH, np.float32)])
    return np.ascontiguousarray(log_mel(samples[: frames * HOP_LENGTH], dims.n_mels))


def _difference(source: Float32Array, result: Float32Array) -> Difference:
    if source.shape != result.shape:
        raise ModelError(f"parity: the shapes differ: {source.shape} was computed, and now {result.shape}")
    apart = np.abs(source - result)
    return Difference(_rms(apart) / max(_rms(source), 1e-12), float(apart.max() / max(np.abs(source).max(), 1e-12)))


def _rms(values: Float32Array) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def _margin(own: Sequence[int], other: Sequence[int], centred: Float32Array) -> float:
    for place, (mine, theirs) in enumerate(zip(own, other, strict=False)):
        if mine != theirs:
            return float(centred[place, mine] - centred[place, theirs]) / _rms(centred)
    return 0.0


def _centred(logits: Float32Array) -> Float32Array:
    """Each row less its mean, which says nothing: softmax ignores it."""
    centred: Float32Array = logits - logits.mean(axis=1, keepdims=True)
    return centred


class TorchRunner:
    """The model of this project."""

    def __init__(self, model: Whisper, mel: Float32Array, rules: _Rules) -> None:
        self._model = model
        self._rules = rules
        with torch.inference_mode():
            self._audio = model.encode(torch.from_numpy(mel)[None])  # (1, S, D)

    def encode(self) -> Float32Array:
        audio: Float32Array = self._audio[0].float().numpy()
        return audio

    @torch.inference_mode()
    def greedy(self, prompt: Sequence[int]) -> tuple[list[int], Float32Array]:
        tokens: list[int] = []
        chosen_by = []
        given, cache = list(prompt), None
        for _ in range(min(_MOST_TOKENS, self._model.dims.n_text_ctx - len(prompt))):
            output = self._model.decode(torch.tensor([given]), self._audio, cache)
            cache = output.cache
            logits = output.logits[0, -1]
            chosen_by.append(logits.numpy().copy())
            logits[list(self._rules.suppressed)] = -torch.inf
            best = int(logits.argmax())
            if best == self._rules.end:
                break
            tokens.append(best)
            given = [best]
        return tokens, np.stack(chosen_by)

    @torch.inference_mode()
    def forced(self, prompt: Sequence[int], tokens: Sequence[int]) -> Float32Array:
        """Logits (N + 1, V) after the prompt and after each of the tokens, as far as the context goes."""
        given = [*prompt, *tokens][: self._model.dims.n_text_ctx]
        logits = self._model.decode(torch.tensor([given]), self._audio).logits[0, len(prompt) - 1 :]
        return np.asarray(logits.numpy(), dtype=np.float32)


class CTranslate2Runner:
    """The folder as CTranslate2 runs it on the CPU."""

    def __init__(self, folder: Path, mel: Float32Array, rules: _Rules, context: int, compute: str) -> None:
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
        steps = min(_MOST_TOKENS, self._context - len(prompt))
        result = self._model.generate(
            self._audio,
            [list(prompt)],
            beam_size=1,
            # CTranslate2 writes at most half of max_length, and no more than fits after the prompt.
            max_length=max(2 * steps, steps + len(prompt)),
            suppress_blank=False,
            suppress_tokens=list(self._rules.suppressed),
            return_logits_vocab=True,
        )[0]
        tokens = list(result.sequences_ids[0][:steps])
        logits = [np.asarray(row, dtype=np.float32).reshape(-1) for row in result.logits[0]]
        return tokens, np.stack(logits)[: max(len(tokens), 1)]
