"""The parity gate: do two checkpoints compute the same?

Both hear a short spoken clip (made by `examples/make_examples.py`). The result decodes greedily. The source is given
the same tokens (teacher forcing), and the encoder outputs and all logits are compared. Then the source decodes by
itself, and its text must be the same unless two tokens were almost equally probable.

CTranslate2 runs results in its own format, torch all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mtasr.arrays import Float32Array
from mtasr.checkpoints.checkpoint import Checkpoint, Precision
from mtasr.checkpoints.formats import format_of, load_checkpoint
from mtasr.checkpoints.parity_clip import (
    CLIP,
    MOST_TOKENS,
    Difference,
    Rules,
    centred,
    difference,
    features,
    prompt_of,
    rms,
    tolerance_of,
)
from mtasr.errors import ModelError
from mtasr.networks.whisper import Whisper
from mtasr.tokenizer import Tokenizer

#: How far two logits may approach each other, in tolerances. Single values differ more than the mean: `base`,
#: fine-tuned, chose another word in int8 where the source's word was ahead by 2.8 tolerances.
_STRAY = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far source and result are apart."""

    encoder: Difference
    logits: Difference
    tolerance: float
    source_text: str
    result_text: str
    #: "tokens" or "settings" if these changed.
    lost: tuple[str, ...]
    #: How much the source preferred its own token where the texts part, in root mean squares of its logits; 0 for
    #: equal texts.
    margin: float

    @property
    def most(self) -> float:
        """The largest difference that passes: single values differ by more than the root mean square."""
        return min(10 * self.tolerance, 1.0)

    def require(self) -> None:
        """Raise `ModelError` if a difference exceeds the tolerance, or the texts differ by more than a tie."""
        if self.lost:
            raise ModelError(f"parity: {' and '.join(self.lost)} changed")
        for what, apart in (("encoder outputs", self.encoder), ("logits", self.logits)):
            if not apart.rms <= self.tolerance:  # so that "not a number" fails
                raise ModelError(f"parity: the {what} differ by {apart.rms:.1e}, more than {self.tolerance:.0e}")
            if not apart.largest <= self.most:
                raise ModelError(f"parity: one of the {what} differs by {apart.largest:.1e}, more than {self.most:.0e}")
        if self.margin > _STRAY * self.tolerance:
            raise ModelError(f"parity: the text was {self.source_text!r} and is now {self.result_text!r}")


def compare(source: Checkpoint, result: Path, precision: Precision, clip: Path = CLIP) -> Parity:
    """Run both on the first ten seconds of a recording and measure their differences, which `Parity.require` judges."""
    tokenizer = Tokenizer(source.tokens)
    prompt = prompt_of(tokenizer)
    mel = features(clip, source.model.dims)
    rules = Rules((*source.settings.suppress_ids, *tokenizer.never_text), tokenizer.eot)
    reference = TorchRunner(source.model, mel, rules)
    arrived = load_checkpoint(result)
    runner = format_of(result).runner(result, precision, mel, rules, source.model.dims.n_text_ctx)
    runner = runner or TorchRunner(arrived.model, mel, rules)
    encoder = difference(reference.encode(), runner.encode())
    tokens, logits = runner.greedy(prompt)
    lost = [what for what in ("tokens", "settings") if getattr(arrived, what) != getattr(source, what)]
    # CTranslate2 returns suppressed logits changed.
    allowed = np.setdiff1d(np.arange(logits.shape[1]), rules.suppressed)
    forced = reference.forced(prompt, tokens)
    count = min(len(forced), len(logits))
    own, _ = reference.greedy(prompt)
    return Parity(
        encoder=encoder,
        logits=difference(centred(forced[:count, allowed]), centred(logits[:count, allowed])),
        tolerance=tolerance_of(precision),
        source_text=tokenizer.decode(own),
        result_text=Tokenizer(arrived.tokens).decode(tokens),
        lost=tuple(lost),
        margin=_margin([*own, rules.end], [*tokens, rules.end], centred(forced)),
    )


def _margin(own: Sequence[int], other: Sequence[int], rows: Float32Array) -> float:
    for place, (mine, theirs) in enumerate(zip(own, other, strict=False)):
        if mine != theirs:
            return float(rows[place, mine] - rows[place, theirs]) / rms(rows)
    return 0.0


class TorchRunner:
    """The network of this package, having heard the clip."""

    def __init__(self, model: Whisper, mel: Float32Array, rules: Rules) -> None:
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
        for _ in range(min(MOST_TOKENS, self._model.dims.n_text_ctx - len(prompt))):
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
