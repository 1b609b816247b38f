"""HuBERT: to which unit does a hidden frame belong? (Hsu et al. 2021, arXiv:2106.07447)

Units are groups of frames that are alike. Those of the first iteration come from cepstra; those of the second from a
layer of the network that the first one trained (`teacher=RUN`), and its network is new again.

Letters in shapes: B crops, N samples, S frames, K units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor, nn

from mtasr.arrays import IntArray
from mtasr.checkpoints.encoders import Family
from mtasr.data.records import Record
from mtasr.errors import UsageError
from mtasr.networks.wave import WaveEncoder
from mtasr.pretraining.heads.gradients import with_scaled_gradient
from mtasr.pretraining.objective import CropBatch, PretrainingObjective, limits, require_sensible
from mtasr.pretraining.units.kmeans import MOST_UNITS
from mtasr.pretraining.units.unit_labels import Teacher, UnitLabels
from mtasr.pretraining.wave_encoders import SpanOptions
from mtasr.spans import SAMPLE_RATE
from mtasr.training.config import TrainConfig
from mtasr.unit_measures import perplexity

#: The teacher that needs no run before.
_CEPSTRA = "mfcc"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubertOptions(SpanOptions):
    """The settings in `objective_options`. The defaults are those of HuBERT Base, but for the encoder."""

    #: Whose states are divided into units: mfcc, or an encoder: the folder of a run, or another name that
    #: `mtasr features` takes. HuBERT Base takes the layer 6 of its first iteration, HuBERT Large the layer 9 of Base.
    teacher: str = _CEPSTRA
    #: Which of the teacher's states; negative numbers count from the end. That of an encoder must be named: those in
    #: the middle tell phones apart best.
    layer: int | None = None
    #: How many units: 100 from cepstra and 500 later, as published.
    units: int = 100
    #: Hours of the training data from which the units are learned, a tenth of them at most from one recording.
    unit_hours: float = 10.0
    #: Weights of the losses of masked and of unmasked frames, and of the mean square of what the convolutions put out.
    masked_weight: float = 1.0
    unmasked_weight: float = 0.0
    penalty: float = 10.0
    #: The width in which frames and units are compared, and what their cosine is divided by.
    compared_width: int = 256
    logit_temperature: float = 0.1
    masked: float = 0.8

    def __post_init__(self) -> None:
        SpanOptions.__post_init__(self)  # `super()` does not work in a dataclass with slots
        checks = {
            "units": 2 <= self.units <= MOST_UNITS,
            "unit_hours": self.unit_hours > 0,
            "unmasked_weight": self.unmasked_weight >= 0,
            "masked_weight": self.masked_weight >= 0 and self.masked_weight + self.unmasked_weight > 0,
            "penalty": self.penalty >= 0,
            "compared_width": self.compared_width >= 1,
            "logit_temperature": self.logit_temperature > 0,
        }
        require_sensible(self, checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitBatch(CropBatch):
    """`labels` (B, S): the unit of each frame."""

    labels: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitScores:
    """Of a batch: `scores` (B, S, K), `labels` (B, S), `mask` (B, S), and the mean `power` of what the convolutions put
    out.
    """

    scores: Tensor
    labels: Tensor
    mask: Tensor
    power: Tensor


class HubertNetwork(nn.Module):
    """An encoder, a projection of its states to what is compared, and a vector for each unit."""

    def __init__(self, encoder: WaveEncoder, options: HubertOptions) -> None:
        super().__init__()
        self.encoder, self.options = encoder, options
        self.projection = nn.Linear(encoder.width, options.compared_width)
        self.codes = nn.Parameter(torch.rand(options.units, options.compared_width))

    def forward(self, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Audio (B, N), mask (B, S) -> the cosines of frames and units over the temperature, (B, S, K), and a scalar,
        the mean square of what the convolutions put out; both float32.
        """
        features = with_scaled_gradient(self.encoder.convolved(audio), self.options.convolution_rate)
        states = self.encoder.contextualised(features, mask)[-1]
        projected: Tensor = self.projection(states)
        with torch.autocast(audio.device.type, enabled=False):  # scores are up to 10, which bfloat16 rounds to .03
            cosines = F.normalize(projected.float(), dim=2) @ F.normalize(self.codes.float(), dim=1).T
            return cosines / self.options.logit_temperature, features.float().square().mean()


def published_recipe(name: str, **options: Any) -> dict[str, Any]:
    """That of HuBERT Base, which WavLM Base follows; `options` are those that differ."""
    return {
        "steps": 400_000,
        "data": {"longest": 15.6, "shortest": 2.0, "batch_seconds": 87.5},
        "optimizer": {
            "learning_rate": 5e-4, "warmup": 32_000, "weight_decay": 0.01, "clip": 10.0, "batches_per_step": 32,
        },
        "objective_options": {"preset": name, **options},
        "save_every": 1000,
    }  # fmt: skip


def published_large_recipe(name: str, rate: float, batches: int) -> dict[str, Any]:
    """Batches of 56.25 s. The units are those of the layer 9 of Base, as its second iteration left it."""
    base = published_recipe(name, layer=9, units=500, convolution_rate=1.0)
    optimizer = {"learning_rate": rate, "clip": 1.0, "batches_per_step": batches}
    return base | {"data": base["data"] | {"batch_seconds": 56.25}, "optimizer": base["optimizer"] | optimizer}


#: What a few hours of audio and a CPU are enough for.
TINY: dict[str, Any] = {
    "steps": 1000,
    "data": {"longest": 4.0, "shortest": 2.0, "batch_seconds": 32.0},
    "optimizer": {"learning_rate": 1e-3, "warmup": 100, "weight_decay": 0.01},
    "objective_options": {"preset": "tiny", "units": 50, "compared_width": 64},
}

#: Recipes by name. Both iterations of Base have one network, so the second is Base with other settings: teacher=RUN,
#: layer=6, units=500 and steps=400000.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "tiny": TINY,
    "hubert-base": published_recipe("hubert-base") | {"steps": 250_000},
    "hubert-large": published_large_recipe("hubert-large", 1.5e-3, 128),
    "hubert-xlarge": published_large_recipe("hubert-xlarge", 3e-3, 256),
}


class HubertObjective(PretrainingObjective):
    """Cross-entropy of the units of masked frames, and of the others if they have a weight, summed over frames.

    The penalty of the convolutions is multiplied by the number of targets.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    family: ClassVar[Family | None] = "hubert"
    #: The dataclass of `objective_options`.
    options_kind: ClassVar[type[HubertOptions]] = HubertOptions

    def __init__(self, config: TrainConfig) -> None:
        self.options = config.options(self.options_kind)
        self.encoder = self.options.encoder(config.data)
        _require_layer(self.options)
        super().__init__(config)
        teacher = Teacher(
            name=self.options.teacher,
            layer=self.options.layer or 0,
            units=self.options.units,
            hours=self.options.unit_hours,
            seed=config.seed,
        )
        self.labels = UnitLabels(Path(config.output) / "labels", teacher, self.left_out)
        self._labelled_data = self.data
        self._prepared = False

    def prepare(self, model: nn.Module, *, resumes: bool) -> None:
        """Compute the units, unless they are there."""
        if not self._prepared:
            device = str(next(model.parameters()).device)
            self.labels.prepare(self._labelled, self._taught, device, data=self._labelled_data, resumes=resumes)
            self._prepared = True

    def network(self) -> HubertNetwork:
        return HubertNetwork(WaveEncoder(self.encoder, self.options.preset), self.options)

    def completed(self, crops: CropBatch, rng: np.random.Generator) -> UnitBatch:
        rows, samples = crops.audio.shape
        options, frames = self.options, self.encoder.frames(samples)
        mask = options.mask(rows, frames, rng)
        masked = int(mask.sum())
        middles = self.encoder.centre + self.encoder.hop * np.arange(frames)
        return crops.extended(
            UnitBatch,
            mask=mask,
            labels=self.labels.units_at(crops.crops, middles),
            targets=masked * (options.masked_weight > 0) + (mask.size - masked) * (options.unmasked_weight > 0),
        )

    def outputs(self, model: HubertNetwork, batch: UnitBatch) -> UnitScores:
        assert batch.mask is not None  # noqa: S101 - for the type checker
        device = model.codes.device
        audio, mask, labels = (torch.from_numpy(each).to(device) for each in (batch.audio, batch.mask, batch.labels))
        scores, power = model(audio, mask)
        return UnitScores(scores=scores, labels=labels, mask=mask, power=power)

    def loss_of(self, outputs: UnitScores, batch: UnitBatch) -> Tensor:
        losses = F.cross_entropy(outputs.scores.flatten(0, 1), outputs.labels.flatten(), reduction="none")
        weights = torch.where(outputs.mask.flatten(), self.options.masked_weight, self.options.unmasked_weight)
        return (weights * losses).sum() + batch.targets * self.options.penalty * outputs.power

    def figures_of(self, outputs: UnitScores, batch: UnitBatch) -> dict[str, Tensor]:
        scores, labels, mask = outputs.scores, outputs.labels, outputs.mask
        chosen = scores.argmax(dim=2)
        right, units = chosen == labels, self.options.units
        return {
            "cross_entropy": F.cross_entropy(scores[mask], labels[mask], reduction="sum"),
            "masked": mask.sum(),
            "right": (right & mask).sum(),
            "unmasked": (~mask).sum(),
            "unmasked_right": (right & ~mask).sum(),
            "labels": torch.bincount(labels[mask], minlength=units),
            "chosen": torch.bincount(chosen[mask], minlength=units),
        }

    def conclusion(self, sums: Mapping[str, Tensor], targets: int) -> dict[str, float]:
        """Cross-entropy of masked frames in nats; how often the unit with the highest score is right, of masked frames
        and of the others.

        `majority` is how often the most frequent unit alone would be right. The perplexities say as how many equally
        frequent units the units of masked frames are, and those predicted; `units_used` is the share of all units that
        are predicted at all.
        """
        labels, chosen = (sums[name].cpu().numpy() for name in ("labels", "chosen"))
        masked = max(1, int(sums["masked"]))
        return {
            "cross_entropy": float(sums["cross_entropy"]) / masked,
            "accuracy": int(sums["right"]) / masked,
            "unmasked_accuracy": int(sums["unmasked_right"]) / max(1, int(sums["unmasked"])),
            "majority": int(labels.max()) / masked,
            "label_perplexity": perplexity(labels),
            "predicted_perplexity": perplexity(chosen),
            "units_used": np.count_nonzero(chosen) / self.options.units,
        }

    def doubt(self, figures: Mapping[str, float]) -> str:
        if figures["accuracy"] > figures["majority"]:
            return ""
        return (
            f"the encoder has hardly learned anything: it guesses {figures['accuracy']:.1%} of the hidden units, and "
            f"the most frequent unit alone would be right for {figures['majority']:.1%}"
        )

    def _labelled(self) -> Iterator[Record]:
        """The records that have crops, of the data to learn from and of that to evaluate with."""
        shortest, _ = limits(self.config.data)
        for block in self.blocks:
            for record in block.read():
                if record.duration * SAMPLE_RATE >= shortest:
                    yield record

    def _taught(self) -> Iterator[Record]:
        """All training data once, pool by pool, each in random order."""
        for number in range(math.ceil(1 / self.passes_per_epoch)):
            records = self.records.pool(number)
            rng = np.random.default_rng([self.config.seed, number])
            yield from (records[place] for place in rng.permutation(len(records)))


def _require_layer(options: HubertOptions) -> None:
    """Raise `UsageError` unless the layer fits the teacher."""
    if options.layer is None and options.teacher != _CEPSTRA:
        raise UsageError("objective_options.layer is not set: say which states of the teacher are divided into units")
    if options.layer not in {None, 0, -1} and options.teacher == _CEPSTRA:
        raise UsageError(
            f"objective_options.teacher=mfcc has no layer {options.layer}; name the run or the encoder to learn from"
        )
