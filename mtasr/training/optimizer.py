"""AdamW: which weights decay, and at which rate each of them learns, from step to step and from layer to layer."""

from __future__ import annotations

import re

import torch
from torch import nn

from mtasr.errors import UsageError
from mtasr.training.config import OptimizerConfig, TrainConfig

#: The layers of an encoder are the members of its `ModuleList` named `blocks`.
_LAYER = re.compile(r"encoder\.(?:\w+\.)?blocks\.(\d+)\.")
_ENCODER = "encoder."
#: The norm beside the layers learns as the last of them does.
_NORM = re.compile(r"encoder\.(?:\w+\.)?norm\.")


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """The rate of a step, counted from 1 to `steps`: it rises linearly for `warmup` steps, then falls (`schedule`)."""
    if step <= config.warmup:
        return config.learning_rate * step / config.warmup
    if config.schedule == "tri_stage":
        held = config.warmup + round(config.hold * steps)
        return float(config.learning_rate * config.final ** (max(0, step - held) / max(1, steps - held)))
    return config.learning_rate * (steps + 1 - step) / (steps + 1 - min(config.warmup, steps))


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the trained weights. Only matrices decay: biases, norms and positions have no reason to be small.

    Raises `UsageError` for settings of an encoder that the model does not have.
    """
    layers = _layers(model, config)
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            decays = weight.ndim > 1 and not name.endswith("positions")
            frozen = bool(config.frozen_encoder_steps) and name.startswith(_ENCODER)
            groups.setdefault((decays, frozen, _share(name, layers, config)), []).append(weight)
    return torch.optim.AdamW(
        [
            {
                "params": groups[key],
                "weight_decay": config.weight_decay if key[0] else 0.0,
                "thaws": config.frozen_encoder_steps if key[1] else 0,
                "share": key[2],
            }
            for key in sorted(groups, key=lambda key: (not key[0], key[1], -key[2]))
        ],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,  # one pass over all weights
    )


def set_rates(optimizer: torch.optim.Optimizer, step: int, rate: float) -> None:
    """Give each group of weights its share of the rate of a step: 0 as long as it is frozen."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"] if step > group["thaws"] else 0.0


def freeze_encoder(model: nn.Module, config: TrainConfig) -> None:
    """Exclude the encoder from training if no step trains it, so that it needs no memory for gradients."""
    if config.optimizer.frozen_encoder_steps >= config.steps:
        _layers(model, config.optimizer)
        model.get_submodule(_ENCODER.rstrip(".")).requires_grad_(False)


def _layers(model: nn.Module, config: OptimizerConfig) -> int:
    """The number of layers of the encoder. Raises `UsageError` if settings need an encoder that the model lacks."""
    numbers = [int(found[1]) for name, _ in model.named_parameters() if (found := _LAYER.match(name))]
    if not numbers and (config.layer_decay != 1 or config.frozen_encoder_steps):
        raise UsageError("this objective has no encoder for optimizer.layer_decay and optimizer.frozen_encoder_steps")
    return max(numbers, default=-1) + 1


def _share(name: str, layers: int, config: OptimizerConfig) -> float:
    """The rate of a weight as a share of that of weights outside of the encoder."""
    if not name.startswith(_ENCODER):
        return 1.0
    layer = _LAYER.match(name)
    place = int(layer[1]) if layer else layers - 1 if _NORM.match(name) else -1
    return float(config.layer_decay ** (layers - place))
