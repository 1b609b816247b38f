"""Which weights of a Whisper model are trained, and how the trained model becomes a plain one.

Adapters (`houlsby`, `prefix`) and trained prompts are in `mtasr.networks.adapters`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from mtasr.networks.adapters import DEFAULT_SIZES, Adapters, PromptedEmbedding, adapt, adapters_of
from mtasr.networks.whisper import Whisper
from mtasr.training.config import TrainConfig


class LowRank(nn.Module):
    """Adds a change of low rank to a matrix (Hu et al. 2021, arXiv:2106.09685). The change begins as zero."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.empty(rank, columns, device=weight.device))
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down)


def prepare(model: Whisper, config: TrainConfig, heads: Iterable[str] = ()) -> None:
    """Make a model ready for the method of the configuration, in place; `heads` are its parts beside Whisper's own."""
    model.requires_grad_(config.method == "full")
    if config.method == "decoder":
        model.decoder.requires_grad_(True)
    if config.method in ("houlsby", "prefix"):
        size = config.adapter_size or DEFAULT_SIZES[config.method]
        adapt(model, Adapters(model, config.method, size).to(model.device))
    for name in heads:  # always trained whole: their weights are random, which a small change would not improve
        model.get_submodule(name).requires_grad_(True)
    if config.method == "lora":
        _add_low_rank_changes(model, config)
    for block in model.encoder.blocks:
        if config.regularisation.stochastic_depth:
            block.register_forward_hook(_StochasticDepth(config.regularisation.stochastic_depth))
    if config.activation_checkpointing:
        encoder_is_trained = config.method not in ("decoder", "prompt")
        for block in [*(model.encoder.blocks if encoder_is_trained else ()), *model.decoder.blocks]:
            recompute(block)


def _add_low_rank_changes(model: Whisper, config: TrainConfig) -> None:
    for module in [*model.encoder.modules(), *model.decoder.modules()]:
        if isinstance(module, nn.Linear):
            change = LowRank(module.weight, config.lora_rank, config.lora_alpha)
            parametrize.register_parametrization(module, "weight", change)


def add_prompt(model: Whisper, tokens: Sequence[int], words: Sequence[int]) -> None:
    """Train the vectors of the tokens of a prompt alone, in place. They begin as those of `words`, one for each."""
    embedding = model.decoder.embedding
    model.decoder.embedding = PromptedEmbedding(embedding, tokens, embedding.weight[list(words)])


class _StochasticDepth:
    """Skips a block for some examples and scales what it adds to the others, so that the mean stays the same."""

    def __init__(self, probability: float) -> None:
        self._probability = probability

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not module.training:
            return None
        x, kept = inputs[0], 1 - self._probability
        stays = (torch.rand(len(x), 1, 1, device=x.device) < kept).to(x.dtype)
        return x + (output - x) * stays / kept


def recompute(block: nn.Module) -> None:
    """Keep only the inputs of a block, and compute the block again for its gradients."""
    forward = block.forward

    def recomputed(*inputs: Tensor | None) -> Tensor:
        result: Tensor = checkpoint(forward, *inputs, use_reentrant=False)
        return result

    block.forward = recomputed


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that are trained, by name. They are not copies."""
    return {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}


def plain_copy(model: Whisper, average: Mapping[str, Tensor] | None = None) -> Whisper:
    """A Whisper model with these weights, or with the averages that replace them, on the CPU.

    Low-rank changes and trained prompts are merged, adapters are attached to the result, and what else was added for
    training is left out.
    """
    state = model.state_dict() | dict(average or {})
    state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
    for name in [name for name in state if name.endswith("parametrizations.weight.original")]:
        stem = name.removesuffix("original")
        module = stem.removesuffix("parametrizations.weight.")
        scale = _scale(model, module.rstrip("."))
        state[f"{module}weight"] = state[name] + scale * (state[f"{stem}0.up"] @ state[f"{stem}0.down"])
    embedding = model.decoder.embedding
    if isinstance(embedding, PromptedEmbedding):
        weight, vectors = state["decoder.embedding.weight"], state["decoder.embedding.vectors"]
        state["decoder.embedding.weight"] = weight.index_copy(0, torch.tensor(embedding.tokens), vectors)
    result = Whisper(model.dims)
    if (adapters := adapters_of(model)) is not None:
        adapt(result, Adapters(result, adapters.kind, adapters.size))
    result.eval()
    result.load_state_dict({name: state[name] for name in result.state_dict()})
    return result


def _scale(model: Whisper, name: str) -> float:
    module = model.get_submodule(f"{name}.parametrizations.weight.0")
    assert isinstance(module, LowRank)  # noqa: S101 - for the type checker
    return module.scale


def mixed(model: Whisper, others: Mapping[str, Tensor], share: float) -> Whisper:
    """A copy of the model in which other weights have this share of each weight (0 to 1)."""
    result = copy.deepcopy(model)
    with torch.no_grad():
        for name, weight in result.named_parameters():
            weight.lerp_(others[name].to(weight.device), share)
    return result
