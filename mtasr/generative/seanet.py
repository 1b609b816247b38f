"""SEANet's encoder and decoder as in EnCodec (Tagliasacchi et al. 2020; Défossez et al. 2022, section 3.1).

Letters in shapes: B items, N samples, S frames, D dimensions. The numbers of layers are those of EnCodec's files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from mtasr.generative.conv import CausalConv, CausalUpsampling, Padding


@dataclass(frozen=True, slots=True, kw_only=True)
class SeanetConfig:
    """Sizes of both. The defaults are those of EnCodec at 24 kHz."""

    #: Channels next to the waveform; each stride doubles them.
    filters: int = 32
    #: Of the decoder, from frames to samples; the encoder has them the other way round.
    strides: tuple[int, ...] = (8, 5, 4, 2)
    #: Of the vectors between encoder and decoder.
    dimension: int = 128
    #: Of the first and the last convolution, and of those in residual blocks.
    kernel: int = 7
    residual_kernel: int = 3
    #: Layers of the recurrent part; 0 for none.
    recurrent_layers: int = 2
    padding: Padding = "reflect"

    @property
    def hop(self) -> int:
        """Samples of a frame."""
        return math.prod(self.strides)


class Recurrent(nn.Module):
    """LSTM layers with a shortcut around them: (B, C, S) -> (B, C, S)."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.lstm(x.transpose(1, 2))[0].transpose(1, 2)  # type: ignore[no-any-return]


class ResidualUnit(nn.Module):
    """Two convolutions, through half of the channels, beside one of a single frame."""

    def __init__(self, channels: int, config: SeanetConfig) -> None:
        super().__init__()
        inner, kernel, padding = channels // 2, config.residual_kernel, config.padding
        self.block = nn.Sequential(
            nn.ELU(),
            CausalConv(channels, inner, kernel, padding=padding),
            nn.ELU(),
            CausalConv(inner, channels, 1, padding=padding),
        )
        self.shortcut = CausalConv(channels, channels, 1, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.block(x)  # type: ignore[no-any-return]


class SeanetEncoder(nn.Module):
    """Samples (B, 1, N) -> vectors (B, D, S), S = N / hop, rounded up."""

    def __init__(self, config: SeanetConfig) -> None:
        super().__init__()
        channels, padding = config.filters, config.padding
        layers: list[nn.Module] = [CausalConv(1, channels, config.kernel, padding=padding)]
        for stride in reversed(config.strides):
            layers += [
                ResidualUnit(channels, config),
                nn.ELU(),
                CausalConv(channels, 2 * channels, 2 * stride, stride=stride, padding=padding),
            ]
            channels *= 2
        layers += _recurrent(channels, config)
        layers += [nn.ELU(), CausalConv(channels, config.dimension, config.kernel, padding=padding)]
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return _through(self.layers, x)


class SeanetDecoder(nn.Module):
    """Vectors (B, D, S) -> samples (B, 1, S x hop)."""

    def __init__(self, config: SeanetConfig) -> None:
        super().__init__()
        channels, padding = config.filters * 2 ** len(config.strides), config.padding
        layers: list[nn.Module] = [CausalConv(config.dimension, channels, config.kernel, padding=padding)]
        layers += _recurrent(channels, config)
        for stride in config.strides:
            layers += [nn.ELU(), CausalUpsampling(channels, channels // 2, stride)]
            channels //= 2
            layers.append(ResidualUnit(channels, config))
        layers += [nn.ELU(), CausalConv(channels, 1, config.kernel, padding=padding)]
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return _through(self.layers, x)


def _recurrent(channels: int, config: SeanetConfig) -> Sequence[nn.Module]:
    return [Recurrent(channels, config.recurrent_layers)] if config.recurrent_layers else []


def _through(layers: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x
