"""The optimiser and its learning rate."""

from __future__ import annotations

import torch
from torch import nn

from mtasr.training.config import OptimizerConfig


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """That of a step, counted from 1 to `steps`: up in a line for `warmup` steps, then down in a line towards 0."""
    if step <= config.warmup:
        return config.learning_rate * step / config.warmup
    return config.learning_rate * (steps + 1 - step) / (steps + 1 - min(config.warmup, steps))


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over what is trained. Only matrices decay: biases, norms and positions have no reason to be small."""
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    decaying = [weight for name, weight in trained if weight.ndim > 1 and not name.endswith("positions")]
    others = [weight for name, weight in trained if weight.ndim <= 1 or name.endswith("positions")]
    groups = [{"params": decaying, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,  # all of it in one pass over the weights, on processors and GPUs alike
    )
