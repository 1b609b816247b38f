"""AdamW: which weights decay, and at which rate each of them learns, from step to step and from layer to layer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import nn

from mtasr.errors import UsageError
from mtasr.networks.depths import depths_of
from mtasr.training.config import OptimizerConfig, TrainConfig

#: The part of a model that is its encoder.
_ENCODER = "encoder"


def require_end(config: TrainConfig) -> None:
    """Raise `UsageError` if all steps pass before the rate has risen, or before the rate of three stages falls.

    In runs of fewer steps than `warmup` has by default, such as trials, that default is no mistake.
    """
    optimizer, steps = config.optimizer, config.steps
    if steps < optimizer.warmup != OptimizerConfig().warmup:
        raise UsageError(
            f"optimizer.warmup={optimizer.warmup} does not end within steps={steps}, so that "
            "optimizer.learning_rate is never reached; lower it, or take more steps"
        )
    if optimizer.schedule == "tri_stage" and _held(steps, optimizer) >= steps:
        raise UsageError(
            f"optimizer.schedule=tri_stage never falls: optimizer.warmup={optimizer.warmup} and "
            f"optimizer.hold={optimizer.hold:g} of the steps leave none of steps={steps}"
        )


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """The rate of a step, counted from 1 to `steps`: it rises linearly for `warmup` steps, then falls (`schedule`)."""
    if step <= config.warmup:
        return config.learning_rate * step / config.warmup
    if config.schedule == "tri_stage":
        held = _held(steps, config)
        return float(config.learning_rate * config.final ** (max(0, step - held) / max(1, steps - held)))
    if config.schedule == "inverse_sqrt":
        return config.learning_rate * math.sqrt(max(1, config.warmup) / step)
    return config.learning_rate * (steps + 1 - step) / (steps + 1 - min(config.warmup, steps))


def _held(steps: int, config: OptimizerConfig) -> int:
    """The last step of three stages that has the whole rate."""
    return config.warmup + round(config.hold * steps)


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the trained weights. Only matrices decay: biases, norms and positions have no reason to be small.

    Raises `UsageError` for settings of an encoder that the model does not have.
    """
    depths = _depths(model, config)
    last = max(depths.values(), default=0)
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            decays = weight.ndim > 1 and not name.endswith("positions")
            inside = weight in depths
            share = float(config.layer_decay ** (last + 1 - depths[weight])) if inside else 1.0
            groups.setdefault((decays, inside and bool(config.frozen_encoder_steps), share), []).append(weight)
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


def set_rates(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group of weights its share of the rate of a step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


@contextlib.contextmanager
def without_frozen(optimizer: torch.optim.Optimizer, step: int) -> Iterator[None]:
    """Within the block, weights that are frozen in this step have no gradients, and get them back afterwards.

    So they count neither for the norm of the gradients nor for AdamW, which begins with them when they thaw: had it
    counted steps with gradients of zero, its first updates of them would be up to three times too large.
    """
    frozen = [
        (weight, weight.grad)
        for group in optimizer.param_groups
        for weight in group["params"]
        if step <= group["thaws"]
    ]
    for weight, _ in frozen:
        weight.grad = None
    try:
        yield
    finally:
        for weight, gradient in frozen:
            weight.grad = gradient


def freeze_encoder(model: nn.Module, config: TrainConfig) -> None:
    """Exclude the encoder from training if no step trains it, so that it needs no memory for gradients."""
    if config.optimizer.frozen_encoder_steps >= config.steps:
        for weight in _depths(model, config.optimizer):
            weight.requires_grad_(False)


def _depths(model: nn.Module, config: OptimizerConfig) -> dict[nn.Parameter, int]:
    """How deep in the encoder its weights are (`mtasr.networks.depths`); none if no setting asks for it.

    Raises `UsageError` if settings need an encoder that the model lacks.
    """
    if config.layer_decay == 1 and not config.frozen_encoder_steps:
        return {}
    encoder = model._modules.get(_ENCODER)
    depths = depths_of(encoder) if encoder is not None else None
    if depths is None:
        raise UsageError("this objective has no encoder for optimizer.layer_decay and optimizer.frozen_encoder_steps")
    return depths
