"""Which weights are trained, and how a trained model becomes a plain one again."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from mtasr.networks.whisper import EncoderBlock, Whisper
from mtasr.training.config import TrainConfig
from mtasr.training.objectives import ctc


class LowRank(nn.Module):
    """A matrix and a change to it of low rank (Hu et al. 2021, arXiv:2106.09685); none at the start."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.empty(rank, columns, device=weight.device))
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down)


def prepare(model: Whisper, config: TrainConfig) -> None:
    """Make a model ready to be trained by the method of the configuration, in place."""
    model.requires_grad_(config.method == "full")
    if config.method == "decoder":
        model.decoder.requires_grad_(True)
    if config.regularisation.ctc:  # whose weights are random, so a small change to them would not do
        model.get_submodule(ctc.NAME).requires_grad_(True)
    if config.method == "lora":
        parts = (model.encoder, model.decoder)
        for module in [each for part in parts for each in part.modules() if isinstance(each, nn.Linear)]:
            change = LowRank(module.weight, config.lora_rank, config.lora_alpha)
            parametrize.register_parametrization(module, "weight", change)
    for block in model.encoder.blocks:
        assert isinstance(block, EncoderBlock)  # noqa: S101 - ModuleList forgets the type
        if config.regularisation.stochastic_depth:
            block.register_forward_hook(_PassOver(config.regularisation.stochastic_depth))
        if config.activation_checkpointing and config.method != "decoder":
            _compute_again(block)


class _PassOver:
    """Takes what a block adds away for some examples; the others get more of it, so that the mean stays."""

    def __init__(self, probability: float) -> None:
        self._probability = probability

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not module.training:
            return None
        x, kept = inputs[0], 1 - self._probability
        stays = (torch.rand(len(x), 1, 1, device=x.device) < kept).to(x.dtype)
        return x + (output - x) * stays / kept


def _compute_again(block: EncoderBlock) -> None:
    """Keep only the input of a block, and compute it a second time when gradients are needed."""
    forward = block.forward

    def recomputed(x: Tensor) -> Tensor:
        result: Tensor = checkpoint(forward, x, use_reentrant=False)
        return result

    block.forward = recomputed  # type: ignore[method-assign]


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that change, by name; not copies."""
    return {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}


def plain_copy(model: Whisper, average: Mapping[str, Tensor] | None = None) -> Whisper:
    """A model of the same weights, or of their average where there is one, without what was added for training."""
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    state |= {name: tensor.detach().cpu().clone() for name, tensor in (average or {}).items()}
    merged = {
        name: tensor
        for name, tensor in state.items()
        if ".parametrizations." not in name and not name.startswith(f"{ctc.NAME}.")
    }
    for name in [name for name in state if name.endswith("parametrizations.weight.original")]:
        stem = name.removesuffix("original")
        module = stem.removesuffix("parametrizations.weight.")
        scale = _scale(model, module.rstrip("."))
        merged[f"{module}weight"] = state[name] + scale * (state[f"{stem}0.up"] @ state[f"{stem}0.down"])
    result = Whisper(model.dims).eval()
    result.load_state_dict(merged)
    return result


def _scale(model: Whisper, name: str) -> float:
    module = model.get_submodule(f"{name}.parametrizations.weight.0")
    assert isinstance(module, LowRank)  # noqa: S101 - for the type checker
    return module.scale


def mixed(model: Whisper, others: Mapping[str, Tensor], share: float) -> Whisper:
    """A model with so large a share of other weights in each of its own."""
    result = copy.deepcopy(model)
    with torch.no_grad():
        for name, weight in result.named_parameters():
            weight.lerp_(others[name].to(weight.device), share)
    return result
