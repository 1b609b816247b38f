"""What a training run teaches: the seam between the loop and a task.

The loop (`mtasr.training.loop`) takes steps, writes checkpoints and resumes. It knows neither models nor data: these
belong to an `Objective`, which the setting `objective` chooses from `OBJECTIVES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from mtasr.errors import UsageError
from mtasr.training.batches import Batch
from mtasr.training.config import TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Where the result of a run is, and what the user should know about it: lines, or nothing."""

    path: Path
    remark: str = ""


class Objective(Protocol):
    """A model, its batches, its loss, and what becomes of it.

    An objective is made from the configuration alone (`OBJECTIVES`), when a run begins or resumes. It raises
    `UsageError` or `InputError` for settings and data that it cannot use. All of it must be a function of the
    configuration and the arguments: the loop seeds torch before `model` and before each `loss`.

    Extra lessons are losses beside the main one, such as CTC on the encoder of a sequence-to-sequence model. `model`
    adds their heads, `loss` adds their weighted sums, and `export` drops the heads
    (`mtasr.training.objectives.lessons` has those for Whisper's encoder).
    """

    #: The figure of `evaluate` by which checkpoints are compared, lower being better.
    score: str
    #: A short text, such as a digest, that is another one in a process that finds other data in the same files.
    data: str
    #: How much of the data an epoch has, for those who count passes through it: 1 for all.
    passes_per_epoch: float

    def model(self, device: torch.device) -> nn.Module:
        """The model to train, on the device, with its initial weights.

        The loop optimises the parameters that require a gradient, and stores all of the model's state in checkpoints.
        It compiles and shards the members of each `ModuleList`, which `loss` must call as modules.
        Weight decay spares vectors and every parameter whose name ends with `positions`.
        The settings `optimizer.layer_decay` and `optimizer.frozen_encoder_steps` are for a part named `encoder` that is
        `Layered` (`mtasr.networks.depths`); `loss` need not compute gradients for it while it is frozen.
        """
        ...

    def epoch(self, number: int) -> Sequence[Any]:
        """Plans of the batches of an epoch, counted from 0: small values, without arrays, in their order.

        Called again when a run resumes, so that the same number must give the same plans.
        """
        ...

    def batch(self, plan: Any, rng: np.random.Generator) -> Batch:
        """The arrays of one batch (B, ...), made in a thread beside the training. All its chance comes from `rng`."""
        ...

    def loss(self, model: Any, batch: Any) -> Tensor:
        """The loss of a batch as a scalar, float32: the SUM over its `targets`, extra lessons added with their weights.

        The loop divides by the targets of all batches of a step, in all processes, so that each target weighs the
        same. It calls this in training mode, and under autocast if `precision` is not float32. With `parallel=fsdp`,
        every trained weight must take part in the loss of every batch, if only times zero.
        """
        ...

    def evaluate(self, model: Any, average: Mapping[str, Tensor]) -> dict[str, float] | None:
        """Figures for the log, or None if there is nothing to evaluate with.

        `average` has the moving averages of the weights by name, which replace those of the model; it may be empty.
        With `parallel=fsdp`, `model` is another one that has the same weights.
        """
        ...

    def export(self, checkpoints: Iterable[Mapping[str, Any]], folder: Path) -> Exported:
        """Write the result, made of these checkpoints, to the folder of the run.

        A checkpoint has the model's state dictionary under `model` and the moving averages under `average`. There are
        `average_best` of them, the best first; an objective may average their weights. Raises `OutputError`.
        """
        ...


@runtime_checkable
class OwnSteps(Protocol):
    """What an objective has besides if a step is more than one loss: two networks that train against each other, say.

    The loop does all else as for any objective, and stores what belongs to the model and the optimiser.
    """

    def optimizer(self, model: Any) -> torch.optim.Optimizer:
        """The AdamW of all trained weights. Groups have their `share` of the rate, and as `thaws` the number of steps
        before they are first updated; afterwards, they are in each step.
        """
        ...

    def take_step(self, run: Any, state: Any, batches: Any) -> dict[str, Any]:
        """Take a step and return its entry for the log, with the arguments of `mtasr.training.loop.take_step`."""
        ...


#: Objectives of `mtasr pretrain`, which learn from audio or units alone, as `OBJECTIVES` has them. Each class has
#: `presets`: recipes by name, the default first.
PRETRAINING: dict[str, str | Callable[[TrainConfig], Objective]] = {
    "best-rq": "mtasr.pretraining.best_rq:BestRqObjective",
    "hubert": "mtasr.pretraining.hubert:HubertObjective",
    "wavlm": "mtasr.pretraining.wavlm:WavlmObjective",
    "cpc": "mtasr.pretraining.cpc:CpcObjective",
    "wav2vec2": "mtasr.pretraining.wav2vec2:Wav2Vec2Objective",
    "codec": "mtasr.generative.codec_objective:CodecObjective",
    "unit_lm": "mtasr.generative.unit_lm:UnitLmObjective",
}

#: Objectives by the name that the setting `objective` takes.
#:
#: To add one, write a class with the members of `Objective` in a file of its own (in this folder, or in any other
#: package) and add one line here: its name, and `module:Class`. The module is imported only when a run asks for it.
#: Settings of its own come from `objective_options`: `config.options(Kind)` checks them against the fields of a
#: dataclass. A program may also put a class into this dictionary before it calls `train`.
OBJECTIVES: dict[str, str | Callable[[TrainConfig], Objective]] = {
    "sequence": "mtasr.training.objectives.sequence:SequenceObjective",
    "ctc": "mtasr.training.objectives.ctc:CtcObjective",
    "wave-ctc": "mtasr.pretraining.wave_ctc:WaveCtcObjective",
    **PRETRAINING,
}


def make_objective(config: TrainConfig) -> Objective:
    """The objective that a configuration asks for. Raises `UsageError`, and what the objective raises."""
    found = OBJECTIVES.get(config.objective)
    if found is None:
        raise UsageError(f"objective must be one of {', '.join(OBJECTIVES)}, not {config.objective!r}")
    if isinstance(found, str):
        module, _, name = found.partition(":")
        found = getattr(import_module(module), name)
    objective: Objective = found(config)
    return objective
