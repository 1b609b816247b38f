"""The parts of networks that read the waveform: convolutions, positions, and the blocks of the transformer.

Letters in shapes:

    B  rows of a batch       N  samples at 16 kHz
    S  frames                C  channels of the convolutions
    D  width                 H  heads
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor, nn

from mtasr.networks.wave_config import Activation, Convolution, ConvolutionNorm, WaveConfig
from mtasr.networks.whisper import LayerNorm

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


class _ChannelNorm(nn.GroupNorm):
    """Normalises each channel over time, in the precision of its input, as `LayerNorm` does each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class ConvolutionBlock(nn.Module):
    """A convolution over time, a norm if it has one, and an activation."""

    def __init__(self, inputs: int, size: Convolution, norm: ConvolutionNorm | None, config: WaveConfig) -> None:
        super().__init__()
        self.conv = nn.Conv1d(
            inputs, size.channels, size.kernel, size.stride, size.padding, bias=config.convolution_bias
        )
        nn.init.kaiming_normal_(self.conv.weight)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
        self.norm: nn.Module | None = None
        if norm is not None:
            self.norm = LayerNorm(size.channels) if norm == "layer" else _ChannelNorm(size.channels)
        self.activation = _ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C', frames before) -> (B, C, frames)"""
        x = self.conv(x)
        if isinstance(self.norm, LayerNorm):
            x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        elif self.norm is not None:
            x = self.norm(x)
        return self.activation(x)


def convolution_blocks(config: WaveConfig) -> nn.ModuleList:
    """From the waveform (B, 1, N) to features (B, C, S), block after block."""
    blocks: list[ConvolutionBlock] = []
    inputs = 1
    for index, size in enumerate(config.convolutions):
        norm = None if config.convolution_norm == "group" and index else config.convolution_norm
        blocks.append(ConvolutionBlock(inputs, size, norm, config))
        inputs = size.channels
    return nn.ModuleList(blocks)


class PositionConvolution(nn.Module):
    """Positions from the frames around each frame: a wide convolution in groups (Baevski et al. 2020, section 2).

    Its weight is normalised for each tap: `gain` (1, 1, taps) times `direction` (D, D / groups, taps), whose taps are
    divided by their norms (Salimans and Kingma 2016).
    """

    def __init__(self, config: WaveConfig) -> None:
        super().__init__()
        width, taps, self.groups = config.width, config.position_kernel, config.position_groups
        self.direction = nn.Parameter(torch.empty(width, width // self.groups, taps))
        nn.init.normal_(self.direction, std=math.sqrt(4 / (taps * width)))
        self.gain = nn.Parameter(self.direction.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(width))
        self.activation = _ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, D) -> what to add to it (B, S, D)"""
        taps = self.direction.shape[2]
        weight = self.direction * (self.gain / self.direction.norm(dim=(0, 1), keepdim=True))
        positions = F.conv1d(x.transpose(1, 2), weight, self.bias, padding=taps // 2, groups=self.groups)
        # With an even number of taps there is one frame too many.
        return self.activation(positions[:, :, : x.shape[1]]).transpose(1, 2)


class RelativeBias(nn.Module):
    """What a head adds to its attention scores for the distance of two frames (Raffel et al. 2020, section 2.1).

    Half of the buckets are for later frames. In each direction, half stand for one distance each, and the others for
    ranges that grow by a constant factor up to `relative_distance`.
    """

    def __init__(self, config: WaveConfig) -> None:
        super().__init__()
        self.farthest = config.relative_distance
        self.table = nn.Embedding(config.relative_buckets, config.heads)
        nn.init.normal_(self.table.weight, std=0.02)

    def buckets(self, frames: int) -> Tensor:
        """(S, S) integers: the bucket for each query (row) and key (column)."""
        place = torch.arange(frames, device=self.table.weight.device)
        ahead = place[None, :] - place[:, None]
        a_side = self.table.num_embeddings // 2
        exact = a_side // 2
        distance = ahead.abs()
        # As in the published code, in float32: rounding decides the bucket at the edges of the ranges.
        growth = torch.log(distance.float() / exact) / math.log(self.farthest / exact) * (a_side - exact)
        ranges = (exact + growth.clamp(min=0).long()).clamp(max=a_side - 1)
        return torch.where(distance < exact, distance, ranges) + a_side * (ahead > 0)

    def forward(self, frames: int) -> Tensor:
        """(H, S, S)"""
        bias: Tensor = self.table(self.buckets(frames))
        return bias.permute(2, 0, 1)


class BiasGate(nn.Module):
    """How much of the relative bias each query takes (Chen et al. 2021, WavLM, section III-B)."""

    def __init__(self, config: WaveConfig) -> None:
        super().__init__()
        self.gates = nn.Linear(config.width // config.heads, 8)
        self.scale = nn.Parameter(torch.ones(1, config.heads, 1, 1))

    def forward(self, split: Tensor, bias: Tensor) -> Tensor:
        """The input of attention by heads (B, H, S, D/H), and the bias (H, S, S) -> (B, H, S, S)"""
        outputs: Tensor = self.gates(split)  # (B, H, S, 8)
        gates = outputs.view(*outputs.shape[:3], 2, 4).sum(dim=4).sigmoid()
        update, reset = gates.chunk(2, dim=3)  # (B, H, S, 1)
        scale: Tensor = self.scale
        return (update * (reset * scale - 1) + 2) * bias


class WaveAttention(nn.Module):
    """Multi-head attention of all frames to each other, with a relative bias if the configuration has one."""

    def __init__(self, config: WaveConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.query, self.key, self.value, self.out = (nn.Linear(config.width, config.width) for _ in range(4))
        self.gate = BiasGate(config) if config.relative_buckets else None

    def split(self, x: Tensor) -> Tensor:
        """(B, S, D) -> (B, H, S, D/H)"""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """(B, S, D), `bias` (H, S, S) -> (B, S, D)"""
        queries, keys, values = (self.split(project(x)) for project in (self.query, self.key, self.value))
        if bias is not None and self.gate is not None:
            bias = self.gate(self.split(x), bias).to(queries.dtype)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, dropout_p=dropout)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class WaveFeedForward(nn.Module):
    def __init__(self, config: WaveConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.feed_forward)
        self.down = nn.Linear(config.feed_forward, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, D) -> (B, S, D)"""
        out: Tensor = self.down(F.gelu(self.up(x)))
        return out


class WaveBlock(nn.Module):
    """A block of the transformer, which normalises the inputs of its parts (pre-norm) or the sums after them."""

    def __init__(self, config: WaveConfig) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.attention_norm = LayerNorm(config.width)
        self.attention = WaveAttention(config)
        self.mlp_norm = LayerNorm(config.width)
        self.mlp = WaveFeedForward(config)
        self.drop = nn.Dropout(config.dropout)
        for module in (self.attention, self.mlp):
            for part in module.modules():
                if isinstance(part, nn.Linear):
                    nn.init.normal_(part.weight, std=0.02)
                    nn.init.zeros_(part.bias)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """(B, S, D), `bias` (H, S, S) of relative positions -> (B, S, D)"""
        if self.pre_norm:
            x = x + self.drop(self.attention(self.attention_norm(x), bias))
            x = x + self.drop(self.mlp(self.mlp_norm(x)))
        else:
            x = self.attention_norm(x + self.drop(self.attention(x, bias)))
            x = self.mlp_norm(x + self.drop(self.mlp(x)))
        return x
