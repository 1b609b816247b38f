"""Contrastive predictive coding: which frame comes k steps later? (van den Oord et al. 2018, arXiv:1807.03748)

The defaults are those of Rivière et al. 2020 (arXiv:2002.02848), whose code is CPC_audio: each step has a causal
transformer as its predictor, and scores are means over channels. In two things ours differs. Negatives are drawn apart
from the target of each step, so that the target is never among them. And no window begins with the state at the end
of another.

Letters in shapes: B windows, N samples, S frames, K steps ahead, W = S - K frames from which all steps are predicted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mtasr.arrays import IntArray
from mtasr.networks.wave import WaveEncoder
from mtasr.pretraining.heads.contrastive import contrastive_loss, first_wins
from mtasr.pretraining.heads.prediction import NegativesFrom, Predictor, draw_elsewhere, make_predictors, step_logits
from mtasr.pretraining.objective import CropBatch, PretrainingObjective, require_sensible
from mtasr.pretraining.wave_encoders import fitting_encoder
from mtasr.training.config import TrainConfig

#: Frames that are fewer steps apart share samples, so that their steps are easy to predict: a frame is made from 465
#: samples, and the next begins 160 later.
FIRST_APART = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CpcOptions:
    """The settings in `objective_options`. The defaults are those of CPC_audio, but for the encoder."""

    #: The encoder: a name in `WAVE_PRESETS` whose context is recurrent.
    preset: str = "tiny-cpc"
    #: Other sizes of the encoder than the preset has, by their names in `WaveConfig`.
    sizes: Mapping[str, int] = field(default_factory=dict)
    #: Steps of 10 ms that are predicted: 1 to this.
    steps_ahead: int = 12
    #: Wrong answers for each frame and step, and where they come from: all windows of a batch, or the own one. In the
    #: own window they have the same speaker, so that voices alone give no answer.
    negatives: int = 128
    negatives_from: NegativesFrom = "batch"
    predictors: Predictor = "transformer"
    #: Whether the score of a frame is the mean or the sum of products over channels.
    scores: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        checks = {
            "steps_ahead": self.steps_ahead >= FIRST_APART,
            "negatives": self.negatives >= 1,
        }
        require_sensible(self, checks)


def _recipe(preset: str, **options: Any) -> dict[str, Any]:
    """Windows of 20,480 samples, eight for each of eight processes (van den Oord et al. 2018, section 3.1)."""
    return {
        "steps": 300_000,
        "data": {"longest": 1.28, "shortest": 1.28, "batch_seconds": 10.24},
        "optimizer": {"learning_rate": 2e-4, "weight_decay": 0.0, "batches_per_step": 8},
        "objective_options": {"preset": preset, **options},
        "save_every": 1000,
    }


#: What a few hours of audio and a CPU are enough for.
_TINY: Mapping[str, Any] = {
    "steps": 2000,
    "data": {"longest": 1.28, "shortest": 1.28, "batch_seconds": 20.48},
    "optimizer": {"learning_rate": 1e-3, "warmup": 100, "weight_decay": 0.0},
    "objective_options": {"preset": "tiny-cpc", "negatives": 64},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowBatch(CropBatch):
    """Where the negatives are: `windows` and `distances` (B, W, negatives), as `NegativePlaces` has them."""

    windows: IntArray
    distances: IntArray


class CpcNetwork(nn.Module):
    """An encoder and a predictor for each step."""

    def __init__(self, encoder: WaveEncoder, options: CpcOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictors = make_predictors(options.predictors, options.steps_ahead, encoder.width)
        self.scale = 1 / encoder.width if options.scores == "mean" else 1.0

    def forward(self, audio: Tensor, windows: Tensor, distances: Tensor) -> list[Tensor]:
        """Audio (B, N) -> for each step ahead the logits (B, W, 1 + negatives), the right answer first."""
        features = self.encoder.convolved(audio)  # (B, S, D)
        context = self.encoder.contextualised(features)[-1][:, : windows.shape[1]]  # (B, W, D)
        return [
            step_logits(predictor(context), features, windows, distances, step, scale=self.scale)
            for step, predictor in enumerate(self.predictors, start=1)
        ]


class CpcObjective(PretrainingObjective):
    """Targets are frames times steps: the loss of telling the frame that comes k steps later from others.

    Checkpoints are compared by the steps from `FIRST_APART` on. Figures of evaluation: the accuracy of each step, and
    loss and accuracy of those.
    """

    score = f"loss_from_{FIRST_APART}"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny-cpc": _TINY,
        "cpc": _recipe("cpc"),
        "cpc-2018": _recipe("cpc-2018", predictors="linear", scores="sum"),
    }

    def __init__(self, config: TrainConfig) -> None:
        self.options = config.options(CpcOptions)
        options, steps = self.options, self.options.steps_ahead
        purpose = f"objective_options.steps_ahead={steps}"
        self.encoder = fitting_encoder(options.preset, options.sizes, config.data, steps + 1, purpose, recurrent=True)
        super().__init__(config)

    def network(self) -> CpcNetwork:
        return CpcNetwork(WaveEncoder(self.encoder, self.options.preset), self.options)

    def completed(self, crops: CropBatch, rng: np.random.Generator) -> WindowBatch:
        rows, samples = crops.audio.shape
        options, frames = self.options, self.encoder.frames(samples)
        where = draw_elsewhere(rows, frames, options.steps_ahead, options.negatives, options.negatives_from, rng)
        targets = rows * (frames - options.steps_ahead) * options.steps_ahead
        return crops.extended(WindowBatch, targets=targets, windows=where.windows, distances=where.distances)

    def outputs(self, model: CpcNetwork, batch: WindowBatch) -> list[Tensor]:
        """For each step ahead the logits (B, W, 1 + negatives), the right answer first."""
        device = next(model.parameters()).device
        arrays = (batch.audio, batch.windows, batch.distances)
        found: list[Tensor] = model(*(torch.from_numpy(each).to(device) for each in arrays))
        return found

    def loss_of(self, outputs: list[Tensor], batch: WindowBatch) -> Tensor:
        return torch.stack([contrastive_loss(each) for each in outputs]).sum()

    def figures_of(self, outputs: list[Tensor], batch: WindowBatch) -> dict[str, Tensor]:
        return {
            "losses": torch.stack([contrastive_loss(each) for each in outputs]),
            "right": torch.stack([first_wins(each).sum() for each in outputs]),
        }

    def conclusion(self, sums: Mapping[str, Tensor], targets: int) -> dict[str, float]:
        frames = targets / self.options.steps_ahead
        losses, accuracies = ((sums[name].double() / frames).tolist() for name in ("losses", "right"))
        apart = slice(FIRST_APART - 1, None)
        return {
            self.score: float(np.mean(losses[apart])),
            f"accuracy_from_{FIRST_APART}": float(np.mean(accuracies[apart])),
            **{f"accuracy_{step}": value for step, value in enumerate(accuracies, start=1)},
        }

    def doubt(self, figures: Mapping[str, float]) -> str:
        accuracy, chance = figures[f"accuracy_from_{FIRST_APART}"], 1 / (1 + self.options.negatives)
        if accuracy > chance:
            return ""
        return (
            f"the encoder has learned nothing: it finds {accuracy:.1%} of the later frames, and "
            f"{chance:.1%} would be found by chance"
        )
