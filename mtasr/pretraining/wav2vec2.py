"""wav2vec 2.0: which quantised frame was masked here? (Baevski et al. 2020, arXiv:2006.11477)

XLS-R is the same with many languages (Babu et al. 2021, arXiv:2111.09296): its presets draw languages and corpora with
little audio more often than their share.

Letters in shapes: B crops, N samples, S frames, M masked frames of a crop, C channels of the convolutions, D width of
what is compared, G codebooks, V codes of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mtasr.arrays import IntArray
from mtasr.data.reading import RecordBlock
from mtasr.errors import UsageError
from mtasr.networks.wave import WaveEncoder
from mtasr.pretraining.audio.languages import corpus_weights
from mtasr.pretraining.heads.contrastive import contrastive_logits, contrastive_loss, first_wins, other_frames
from mtasr.pretraining.heads.gradients import with_scaled_gradient
from mtasr.pretraining.heads.gumbel import GumbelQuantiser, gumbel_temperature, perplexities
from mtasr.pretraining.objective import CropBatch, PretrainingObjective, require_sensible
from mtasr.pretraining.wave_encoders import SpanOptions
from mtasr.training.config import TrainConfig

#: Share of the steps after which the temperature has fallen to its last value, unless the decay is set. In the
#: published run, that is so after 277,259 of 400,000 steps.
_COOLED = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Wav2Vec2Options(SpanOptions):
    """The settings in `objective_options`. The defaults are those of wav2vec 2.0 Base, but for the encoder."""

    #: Wrong answers for each masked frame.
    negatives: int = 100
    #: Size of the quantiser: codebooks, codes in each, and the width of what it puts together.
    codebooks: int = 2
    codes: int = 320
    code_width: int = 256
    #: The width in which predictions and targets are compared, and what their cosine is divided by.
    compared_width: int = 256
    logit_temperature: float = 0.1
    #: The temperature of the Gumbel softmax falls from the first to the last by this factor with each step. null: so
    #: that it gets there after 70 % of the steps.
    gumbel_first: float = 2.0
    gumbel_last: float = 0.5
    gumbel_decay: float | None = None
    #: Weights of the extra losses: unused codes, and the mean square of what the convolutions put out.
    diversity: float = 0.1
    penalty: float = 10.0
    #: Dropout of the frames that are quantised.
    target_dropout: float = 0.1
    #: Whether entries of data.train are corpora, which share the audio as languages do: each in proportion to its hours
    #: to the power 1 / data.temperature. Languages are then balanced within each corpus.
    balance_corpora: bool = False

    def __post_init__(self) -> None:
        SpanOptions.__post_init__(self)  # `super()` does not work in a dataclass with slots
        checks = {
            "negatives": self.negatives >= 1,
            "codebooks": self.codebooks >= 1,
            "codes": self.codes >= 2,
            "code_width": self.code_width >= 1 and self.code_width % max(self.codebooks, 1) == 0,
            "compared_width": self.compared_width >= 1,
            "logit_temperature": self.logit_temperature > 0,
            "gumbel_last": self.gumbel_last > 0,
            "gumbel_first": self.gumbel_first >= self.gumbel_last,
            "gumbel_decay": self.gumbel_decay is None or 0 < self.gumbel_decay <= 1,
            "diversity": self.diversity >= 0,
            "penalty": self.penalty >= 0,
            "target_dropout": 0 <= self.target_dropout < 1,
            # Two masked frames at least, so that each has a negative.
            "least_spans": self.span + self.least_spans > 2,
        }
        require_sensible(self, checks)

    def temperature(self, updates: int, steps: int) -> float:
        """Of the Gumbel softmax, after so many updates of a run of so many steps."""
        decay = self.gumbel_decay
        if decay is None:
            decay = float((self.gumbel_last / self.gumbel_first) ** (1 / max(_COOLED * steps, 1)))
        return gumbel_temperature(updates, first=self.gumbel_first, last=self.gumbel_last, decay=decay)


_BASE: Mapping[str, Any] = {
    "steps": 400_000,
    "data": {"longest": 15.6, "shortest": 2.0, "batch_seconds": 87.5},
    "optimizer": {"learning_rate": 5e-4, "warmup": 32_000, "weight_decay": 0.01, "batches_per_step": 64},
    "objective_options": {"preset": "wav2vec2-base", "gumbel_decay": 0.999995},
    "save_every": 1000,
}


def _large(preset: str, width: int) -> dict[str, Any]:
    """As Large was trained on Libri-Light; `width` is that of codes and of what is compared."""
    return {
        "steps": 600_000,
        "data": {"longest": 20.0, "shortest": 2.0, "batch_seconds": 75.0},
        "optimizer": {"learning_rate": 3e-4, "warmup": 48_000, "weight_decay": 0.01, "batches_per_step": 128},
        "objective_options": {
            "preset": preset,
            "code_width": width,
            "compared_width": width,
            "gumbel_last": 0.1,
            "gumbel_decay": 0.999995,
            "penalty": 0.0,
            "convolution_rate": 1.0,
            "target_dropout": 0.0,
        },
        "save_every": 1000,
    }


def _xls_r(preset: str, width: int) -> dict[str, Any]:
    """Sizes and sampling are those of XLS-R, with an exponent of .5; the other settings are those of Large."""
    large = _large(preset, width)
    return large | {
        "data": large["data"] | {"temperature": 2.0},
        "objective_options": large["objective_options"] | {"balance_corpora": True},
    }


#: What a few hours of audio and a CPU are enough for: with more codes, most of them would have too few frames.
_TINY: Mapping[str, Any] = {
    "steps": 1000,
    "data": {"longest": 4.0, "shortest": 2.0, "batch_seconds": 32.0},
    "optimizer": {"learning_rate": 1e-3, "warmup": 100, "weight_decay": 0.01},
    "objective_options": {
        "preset": "tiny", "codes": 32, "code_width": 64, "compared_width": 64, "negatives": 50, "target_dropout": 0.0,
    },
}  # fmt: skip

#: Recipes by name. The published ones have batches of 1.6 hours (Base) and 2.7 hours (Large) for each step, and do not
#: clip gradients, as all runs here do.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "tiny": _TINY,
    "wav2vec2-base": _BASE,
    "wav2vec2-large": _large("wav2vec2-large", 768),
    "xls-r-300m": _xls_r("xls-r-300m", 768),
    "xls-r-1b": _xls_r("xls-r-1b", 1024),
    "xls-r-2b": _xls_r("xls-r-2b", 1024),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastiveBatch(CropBatch):
    """`negatives` (B, M, N): for each masked frame of a crop, the numbers of others among its masked frames."""

    negatives: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """What the loss is made of: `logits` (B, M, 1 + N) with the true target first, `codes` of the masked frames
    (B * M, G) and their `probabilities` (B * M, G, V), and the mean `power` of what the convolutions put out.
    """

    logits: Tensor
    codes: Tensor
    probabilities: Tensor
    power: Tensor


class Wav2Vec2Network(nn.Module):
    """An encoder, a quantiser of its features, and projections of both to what is compared."""

    def __init__(self, encoder: WaveEncoder, options: Wav2Vec2Options) -> None:
        super().__init__()
        self.encoder, self.options = encoder, options
        self.quantiser = GumbelQuantiser(
            encoder.config.channels, codebooks=options.codebooks, codes=options.codes, code_width=options.code_width
        )
        self.of_codes = nn.Linear(options.code_width, options.compared_width)
        self.of_states = nn.Linear(encoder.width, options.compared_width)
        self.target_drop = nn.Dropout(options.target_dropout)

    def forward(self, audio: Tensor, mask: Tensor, negatives: Tensor, temperature: float) -> Contrast:
        """Audio (B, N), mask (B, S) with M true frames in each row, negatives (B, M, N)."""
        features = with_scaled_gradient(self.encoder.convolved(audio), self.options.convolution_rate)  # (B, S, C)
        rows = len(features)
        # Masks are of equal counts, so that the masked frames of all rows form one array.
        shown = self.target_drop(self.encoder.features_norm(features))[mask]  # (B * M, C)
        quantised = self.quantiser(shown, temperature)
        targets = self.of_codes(quantised.vectors).unflatten(0, (rows, -1))
        states = self.encoder.contextualised(features, mask)[-1]
        context = self.of_states(states[mask]).unflatten(0, (rows, -1))
        codes = quantised.codes.unflatten(0, (rows, -1))
        return Contrast(
            logits=contrastive_logits(context, targets, codes, negatives, temperature=self.options.logit_temperature),
            codes=quantised.codes,
            probabilities=quantised.probabilities,
            power=features.to(torch.promote_types(features.dtype, torch.float32)).square().mean(),
        )


def diversity_loss(probabilities: Tensor) -> Tensor:
    """Probabilities (N, G, V) -> the share of all codes that is not in use, 0 to 1, as a scalar."""
    _, codebooks, codes = probabilities.shape
    return 1 - perplexities(probabilities).sum() / (codebooks * codes)


class Wav2Vec2Objective(PretrainingObjective):
    """Targets are masked frames: the loss of telling their codes from those of others, and two terms of the batch.

    These two are multiplied by the number of masked frames. Checkpoints are compared by the share of masked frames
    whose own codes do not come first, since the loss of a model whose codes have become one is 0.
    """

    score = "error"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    def __init__(self, config: TrainConfig) -> None:
        self.options = config.options(Wav2Vec2Options)
        self.encoder = self.options.encoder(config.data)
        if self.options.balance_corpora and (config.data.temperature == 1 or config.data.weights):
            raise UsageError("objective_options.balance_corpora needs data.temperature above 1, and no data.weights")
        super().__init__(config)

    def weights(self, sources: Sequence[Sequence[RecordBlock]]) -> Sequence[float]:
        if self.options.balance_corpora:
            return corpus_weights(sources, self.config.data.temperature)
        return super().weights(sources)

    def network(self) -> Wav2Vec2Network:
        return Wav2Vec2Network(WaveEncoder(self.encoder, self.options.preset), self.options)

    def completed(self, crops: CropBatch, rng: np.random.Generator) -> ContrastiveBatch:
        rows, samples = crops.audio.shape
        options = self.options
        mask = options.mask(rows, self.encoder.frames(samples), rng)
        negatives = other_frames(rows, int(mask[0].sum()), options.negatives, rng)
        return crops.extended(ContrastiveBatch, mask=mask, targets=int(mask.sum()), negatives=negatives)

    def outputs(self, model: Wav2Vec2Network, batch: ContrastiveBatch) -> Contrast:
        assert batch.mask is not None  # noqa: S101 - for the type checker
        device = next(model.parameters()).device
        audio, mask, negatives = (
            torch.from_numpy(each).to(device) for each in (batch.audio, batch.mask, batch.negatives)
        )
        temperature = self.options.temperature(max(0, batch.step - 1), self.config.steps)
        found: Contrast = model(audio, mask, negatives, temperature)
        return found

    def loss_of(self, outputs: Contrast, batch: ContrastiveBatch) -> Tensor:
        extra = self.options.diversity * diversity_loss(outputs.probabilities) + self.options.penalty * outputs.power
        return contrastive_loss(outputs.logits) + batch.targets * extra

    def figures_of(self, outputs: Contrast, batch: ContrastiveBatch) -> dict[str, Tensor]:
        chosen = [torch.bincount(column, minlength=self.options.codes) for column in outputs.codes.T]
        return {
            "contrastive_loss": contrastive_loss(outputs.logits),
            "right": first_wins(outputs.logits).sum(),
            "chosen": torch.stack(chosen),
        }

    def conclusion(self, sums: Mapping[str, Tensor], targets: int) -> dict[str, float]:
        """The contrastive part of the loss, how often the own codes come first, and the perplexity of each codebook.

        The perplexity says as how many equally frequent codes the chosen ones are: near 1, they have become one.
        """
        accuracy = float(sums["right"]) / targets
        shares = sums["chosen"].double() / targets  # (G, V)
        perplexity = torch.special.entr(shares).sum(dim=1).exp()
        return {
            "contrastive_loss": float(sums["contrastive_loss"]) / targets,
            "accuracy": accuracy,
            "error": 1 - accuracy,
            **{f"code_perplexity_{book}": float(value) for book, value in enumerate(perplexity, start=1)},
        }

    def doubt(self, figures: Mapping[str, float]) -> str:
        chance = 1 / (1 + self.options.negatives)
        if figures["accuracy"] > chance:
            return ""
        return (
            f"the encoder has learned nothing: it finds {figures['accuracy']:.1%} of the hidden codes, and "
            f"{chance:.1%} would be found by chance"
        )
