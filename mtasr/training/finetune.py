"""Fine-tuning: a configuration for `train` that suits little data of one language or field."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mtasr.errors import UsageError
from mtasr.training.config import ADAPTER_METHODS, Method, TrainConfig, make_config, to_document
from mtasr.training.objectives import make_objective
from mtasr.training.parallel import accumulation, processes

#: Small, so that the model changes no more than its new data ask for. What begins at zero, or has few weights, needs
#: more (benchmarks/README.md).
_LEARNING_RATES: dict[Method, float] = {
    "full": 2e-5, "decoder": 5e-5, "lora": 5e-4, "houlsby": 1e-3, "prefix": 3e-2, "prompt": 5e-3,
}  # fmt: skip

#: After this many steps of training the whole model on excerpts with hardly any padding, decoding at any length gave no
#: loops (benchmarks/README.md). Fewer steps were not measured.
_ENOUGH_FOR_ANY_LENGTH = 90

#: To estimate the batches of an epoch, this many epochs are counted, or fewer that have this many batches.
_EPOCHS_COUNTED, _BATCHES_COUNTED = 20, 200


def finetune_config(
    model: str,
    train: Sequence[Path],
    output: Path,
    *,
    method: Method = "full",
    epochs: float = 8.0,
    rehearsal: Sequence[Path] = (),
    evaluation: Sequence[Path] = (),
    overrides: Iterable[str] = (),
) -> TrainConfig:
    """The recipe, with `key=value` overrides on top.

    Without rehearsal, a share of the initial weights stays in the result. It costs little of what the model learns and
    keeps its other languages. Rehearsal keeps them anyway; the share would then cost more than it gives
    (benchmarks/README.md). Raises `UsageError`, `InputError` for records that cannot be read, and `ModelError`.
    """
    is_adapter = method in ADAPTER_METHODS
    document: dict[str, Any] = {
        "model": model,
        "output": str(output),
        "steps": 1,
        "method": method,
        "data": {
            "train": [str(path) for path in train],
            "rehearsal": [str(path) for path in rehearsal],
            "evaluation": [str(path) for path in evaluation],
            "batch_seconds": 60.0,
            "timestamps": 0.7,
            "join": 0.8,
        },
        # Two batches, so that a step has excerpts of different lengths.
        # The vectors of prefixes and prompts have no reason to be small.
        "optimizer": {
            "learning_rate": _LEARNING_RATES[method],
            "weight_decay": 0.0 if is_adapter else 0.01,
            "accumulation": 2,
        },
        # No label smoothing: the published models were trained without it, and all their weights would have to change.
        "regularisation": {"initial_share": 0.0 if is_adapter else 0.2},
    }
    listed = list(overrides)
    named = {override.partition("=")[0].strip() for override in listed}
    if "optimizer.batches_per_step" in named:
        del document["optimizer"]["accumulation"]
    config = make_config(document, listed)
    if config.data.rehearsal:
        document["regularisation"]["initial_share"] = 0.0
        config = make_config(document, listed)
    fixed = to_document(config)
    if "steps" not in named:
        fixed["steps"] = steps_for(config, epochs)
    if "optimizer.warmup" not in named:
        fixed["optimizer"]["warmup"] = max(1, fixed["steps"] // 10)
    if "variable_length" not in named and config.method == "full" and fixed["steps"] >= _ENOUGH_FOR_ANY_LENGTH:
        fixed["variable_length"] = True
    if "save_every" not in named:
        fixed["save_every"] = max(1, fixed["steps"] // 5)
    if config.data.evaluation and "evaluate_every" not in named:
        fixed["evaluate_every"] = fixed["save_every"]
    return make_config(fixed)


def steps_for(config: TrainConfig, epochs: float) -> int:
    """The steps in which all processes together go through the data `epochs` times, with the rehearsal beside them."""
    objective = make_objective(config)
    counts: list[int] = []
    while len(counts) < _EPOCHS_COUNTED and sum(counts) < _BATCHES_COUNTED:
        counts.append(len(objective.epoch(len(counts))))
    if not any(counts):
        raise UsageError(f"there is nothing to learn in {', '.join(config.data.train)}")
    batches = sum(counts) / len(counts) / objective.passes_per_epoch
    return max(1, math.ceil(epochs * batches / (accumulation(config.optimizer, processes()) * processes())))
