"""The network that reads the waveform: wav2vec 2.0, XLS-R, HuBERT, WavLM and CPC, which differ in their configuration.

    audio (B, N) -> convolutions -> features (B, S, C) -> norm, projection -> (B, S, D)
                 -> position convolution, added -> transformer blocks -> states, L + 1 times (B, S, D)

CPC has recurrent layers after the convolutions, without norm, projection and positions (van den Oord et al. 2018).

Letters in shapes:

    B  rows of a batch       N  samples at 16 kHz
    S  frames                C  channels of the convolutions
    D  width                 L  layers
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtasr.errors import ModelError
from mtasr.networks.depths import depths_around
from mtasr.networks.wave_blocks import PositionConvolution, RelativeBias, WaveBlock, convolution_blocks
from mtasr.networks.wave_config import WAVE_PRESETS, WaveConfig
from mtasr.networks.whisper import LayerNorm
from mtasr.spans import SAMPLE_RATE

__all__ = ["WAVE_PRESETS", "WaveConfig", "WaveEncoder"]

#: Added to the variance of audio, as transformers does.
_LEAST_VARIANCE = 1e-7


class WaveTransformer(nn.Module):
    """From projected features to states, which see the whole audio."""

    def __init__(self, config: WaveConfig) -> None:
        super().__init__()
        self.pre_norm, self.layerdrop = config.pre_norm, config.layerdrop
        self.positions = PositionConvolution(config)
        self.relative = RelativeBias(config) if config.relative_buckets else None
        self.norm = LayerNorm(config.width)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(WaveBlock(config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, S, D) -> L + 1 states (B, S, D)"""
        x = x + self.positions(x)
        x = self.drop(x if self.pre_norm else self.norm(x))
        bias = self.relative(x.shape[1]) if self.relative is not None else None
        states = [x]
        for block in self.blocks:
            x = self._unless_dropped(block(x, bias), x)
            states.append(x)
        if self.pre_norm:
            states[-1] = self.norm(x)
        return states

    def _unless_dropped(self, after: Tensor, before: Tensor) -> Tensor:
        """The state after a block, or in training sometimes the one before it.

        The block is computed either way: where processes share its weights (FSDP), all must call it.
        """
        if not self.training or not self.layerdrop:
            return after
        return torch.where(torch.rand((), device=after.device) < self.layerdrop, before.to(after.dtype), after)


class WaveGru(nn.GRU):
    """In the precision of its weights: under any autocast, cuDNN would compute in float16, whose gradients underflow.

    (B, S, D) -> (B, S, D)
    """

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = super().forward(x.to(self.get_parameter("weight_ih_l0").dtype))[0]
        return out


class WaveLstm(nn.LSTM):
    """As `WaveGru`."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = super().forward(x.to(self.get_parameter("weight_ih_l0").dtype))[0]
        return out


class WaveRecurrence(nn.Module):
    """From features to states, which see no later frame."""

    def __init__(self, config: WaveConfig) -> None:
        super().__init__()
        kind = {"gru": WaveGru, "lstm": WaveLstm}[config.recurrent]
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(kind(config.width, config.width, batch_first=True) for _ in range(config.layers))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, S, D) -> L + 1 states (B, S, D)"""
        states = [x]
        for block in self.blocks:
            states.append(block(self.drop(states[-1])))
        return states


class WaveEncoder(nn.Module):
    """The whole network, a `SpeechEncoder`. New weights are drawn as the papers' code draws them.

    Raises `ModelError` for an impossible configuration, and for audio that is too short for one frame.
    """

    def __init__(self, config: WaveConfig, name: str = "wave") -> None:
        super().__init__()
        if problems := config.problems():
            raise ModelError(f"no encoder can have this configuration: {'; '.join(problems)}")
        self.config, self.name = config, name
        self.width, self.layers = config.width, config.layers
        self.frame_seconds, self.offset_seconds = config.frame_seconds, config.centre / SAMPLE_RATE
        self.convolutions = convolution_blocks(config)
        self.features_norm: nn.Module = nn.Identity()
        self.projection: nn.Module = nn.Identity()
        #: (D,) What replaces masked frames before positions are added; None with recurrent layers.
        self.masked: nn.Parameter | None = None
        self.context: WaveTransformer | WaveRecurrence
        if config.recurrent:
            self.context = WaveRecurrence(config)
        else:
            self.features_norm = LayerNorm(config.channels)
            self.projection = nn.Linear(config.channels, config.width)
            self.masked = nn.Parameter(torch.rand(config.width))
            self.context = WaveTransformer(config)
        self.drop = nn.Dropout(config.dropout)

    def frames(self, samples: int) -> int:
        """S for N samples; 0 if they are too few for a frame."""
        return self.config.frames(samples)

    def depths(self) -> dict[nn.Parameter, int]:
        """As `mtasr.networks.depths` has them. With post-norm blocks, the norm beside them comes before the first."""
        context = self.context
        after = context.norm if isinstance(context, WaveTransformer) and context.pre_norm else None
        return depths_around(self, context.blocks, after)

    def convolved(self, audio: Tensor) -> Tensor:
        """Audio (B, N) -> (B, S, C), what the convolutions make of it; normalised first if the configuration says so.

        Raises `ModelError` if N is too small for one frame.
        """
        if audio.ndim != 2 or not self.frames(audio.shape[1]):
            raise ModelError(f"audio of the shape {tuple(audio.shape)} gives no frames; wanted (batch, samples)")
        if self.config.normalises:
            variance, mean = torch.var_mean(audio, dim=1, correction=0, keepdim=True)
            audio = (audio - mean) * (variance + _LEAST_VARIANCE).rsqrt()
        x = audio[:, None]
        for block in self.convolutions:
            x = block(x)
        return x.transpose(1, 2)

    def contextualised(
        self, features: Tensor, mask: Tensor | None = None, channels: Tensor | None = None
    ) -> list[Tensor]:
        """(B, S, C) from `convolved` -> L + 1 states (B, S, D): the input of each layer, then the final output.

        `mask`: (B, S) bool, true for the frames that `masked` replaces. Raises `ModelError` with recurrent layers.
        `channels`: (B, D) bool, true for the channels that are set to 0 before the first layer.
        """
        x = self.drop(self.projection(self.features_norm(features)))
        if mask is not None:
            if self.masked is None:
                raise ModelError("an encoder with recurrent layers masks no frames")
            x = torch.where(mask[:, :, None], self.masked.to(x.dtype), x)
        if channels is not None:
            x = x.masked_fill(channels[:, None], 0.0)
        states: list[Tensor] = self.context(x)
        return states

    def states(self, audio: Tensor) -> list[Tensor]:
        """Audio (B, N) in -1..1, all rows of one length -> L + 1 states (B, S, D), as `SpeechEncoder` says."""
        return self.contextualised(self.convolved(audio))

    def forward(self, audio: Tensor) -> list[Tensor]:
        """`states`, so that hooks and wrappers of modules work."""
        return self.states(audio)
