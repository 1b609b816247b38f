"""The sizes of networks that read the waveform, apart from the networks, so that they need no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

from mtasr.spans import SAMPLE_RATE

ConvolutionNorm = Literal["group", "layer"]
Activation = Literal["gelu", "relu"]
Recurrence = Literal["", "gru", "lstm"]


class Convolution(NamedTuple):
    """One convolution over time; `padding` zeros are added at each end."""

    channels: int
    kernel: int
    stride: int
    padding: int = 0


def convolutions(channels: int) -> tuple[Convolution, ...]:
    """Those of wav2vec 2.0 (Baevski et al. 2020, section 4.2): a frame every 20 ms, made from 25 ms."""
    return (
        Convolution(channels, 10, 5),
        *(Convolution(channels, 3, 2) for _ in range(4)),
        *(Convolution(channels, 2, 2) for _ in range(2)),
    )


def cpc_convolutions(channels: int) -> tuple[Convolution, ...]:
    """Those of CPC (van den Oord et al. 2018, section 3.1): a frame every 10 ms, made from 29 ms."""
    return (
        Convolution(channels, 10, 5, 3),
        Convolution(channels, 8, 4, 2),
        *(Convolution(channels, 4, 2, 1) for _ in range(3)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveConfig:
    """The numbers and choices that determine a `WaveEncoder`. The defaults are those of wav2vec 2.0 Base."""

    convolutions: tuple[Convolution, ...] = convolutions(512)
    #: What is normalised after a convolution: each channel over time, after the first one only ("group"); each frame
    #: over its channels, after every one ("layer"). "group" lets every frame depend on the whole audio.
    convolution_norm: ConvolutionNorm = "group"
    convolution_bias: bool = False
    #: Of all convolutions, that of positions too.
    activation: Activation = "gelu"
    #: D, the size of every state.
    width: int = 768
    #: L: blocks of the transformer, or recurrent layers.
    layers: int = 12
    #: This member and those up to `relative_distance` are the transformer's.
    heads: int = 12
    feed_forward: int = 3072
    #: Whether blocks normalise their inputs, and the whole its output; otherwise blocks normalise their outputs.
    pre_norm: bool = False
    #: The convolution whose output is added as position: frames it sees, and groups of its channels.
    position_kernel: int = 128
    position_groups: int = 16
    #: WavLM's relative position bias: how many distances it tells apart, in both directions together, and from how
    #: many frames on all are the same. 0 buckets: no such bias.
    relative_buckets: int = 0
    relative_distance: int = 800
    #: Whether audio is brought to mean 0 and variance 1 first, row by row.
    normalises: bool = False
    #: What follows the convolutions: a transformer, or that many recurrent layers, which see no later frame (CPC).
    recurrent: Recurrence = ""
    #: Of states and attention weights, in training only.
    dropout: float = 0.0
    #: The probability that a block is left out, in training only (LayerDrop: Fan et al. 2019).
    layerdrop: float = 0.0

    @property
    def channels(self) -> int:
        """C, what the last convolution puts out."""
        return self.convolutions[-1].channels

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(each.stride for each in self.convolutions)

    @property
    def field(self) -> int:
        """Samples that one frame is made from."""
        field, hop = 1, 1
        for each in self.convolutions:
            field += (each.kernel - 1) * hop
            hop *= each.stride
        return field

    @property
    def centre(self) -> float:
        """The middle of the samples that frame 0 is made from; less than half of `field` if zeros are among them."""
        before, hop = 0, 1
        for each in self.convolutions:
            before += each.padding * hop
            hop *= each.stride
        return self.field / 2 - before

    @property
    def frame_seconds(self) -> float:
        return self.hop / SAMPLE_RATE

    def frames(self, samples: int) -> int:
        """How many frames that many samples give; 0 if they are too few for one."""
        for each in self.convolutions:
            samples = (samples + 2 * each.padding - each.kernel) // each.stride + 1
            if samples < 1:
                return 0
        return samples

    def problems(self) -> list[str]:
        """The reasons why no network can have these values."""
        if not self.convolutions:
            return ["there are no convolutions"]
        found = [
            f"convolution {index} is {tuple(each)}"
            for index, each in enumerate(self.convolutions)
            if min(each.channels, each.kernel, each.stride) < 1 or each.padding < 0
        ]
        found += [f"{name} is {getattr(self, name)}" for name in ("width", "layers") if getattr(self, name) < 1]
        for name, kind in (
            ("convolution_norm", ConvolutionNorm),
            ("activation", Activation),
            ("recurrent", Recurrence),
        ):
            if getattr(self, name) not in get_args(kind):
                found.append(f"{name} is {getattr(self, name)!r}")
        for name in ("dropout", "layerdrop"):
            if not 0 <= getattr(self, name) < 1:
                found.append(f"{name} is {getattr(self, name)}")
        return found or (self._recurrent_problems() if self.recurrent else self._transformer_problems())

    def _recurrent_problems(self) -> list[str]:
        found = []
        if self.convolution_norm == "group" or self.normalises:
            found.append("norms over time tell recurrent layers what comes later")
        if self.channels != self.width:
            found.append(f"recurrent layers of width {self.width} follow {self.channels} channels")
        if self.relative_buckets:
            found.append("recurrent layers have no relative positions")
        if self.layerdrop:
            found.append("recurrent layers cannot be left out")
        return found

    def _transformer_problems(self) -> list[str]:
        names = ("heads", "feed_forward", "position_kernel", "position_groups")
        if found := [f"{name} is {getattr(self, name)}" for name in names if getattr(self, name) < 1]:
            return found
        if any(each.padding for each in self.convolutions):
            found.append("zeros around the audio tell a transformer where it ends")
        for name in ("heads", "position_groups"):
            if self.width % getattr(self, name):
                found.append(f"width {self.width} is not divisible by {name} {getattr(self, name)}")
        if self.relative_buckets < 0 or self.relative_buckets % 4:
            found.append(f"relative_buckets is {self.relative_buckets}, which is not divisible by 4")
        # Half of the buckets of a direction stand for one distance each, the others for ranges up to the last one.
        if self.relative_buckets and self.relative_distance <= self.relative_buckets // 4:
            found.append(
                f"relative_distance is {self.relative_distance}, below what {self.relative_buckets} buckets hold"
            )
        return found


_BASE = WaveConfig(dropout=0.1, layerdrop=0.05)
_LARGE = WaveConfig(
    convolution_norm="layer",
    width=1024,
    layers=24,
    heads=16,
    feed_forward=4096,
    pre_norm=True,
    normalises=True,
)
_XLARGE = replace(_LARGE, width=1280, layers=48, feed_forward=5120)
_TINY = WaveConfig(
    convolutions=convolutions(64),
    convolution_norm="layer",
    width=128,
    layers=4,
    heads=4,
    feed_forward=512,
    pre_norm=True,
    normalises=True,
    dropout=0.1,
)
_CPC = WaveConfig(
    convolutions=cpc_convolutions(256),
    convolution_norm="layer",
    convolution_bias=True,
    activation="relu",
    width=256,
    layers=1,
    recurrent="lstm",
)

#: The published sizes with the dropout they were trained with, and small ones of the same kinds. Baevski et al. 2020
#: (wav2vec 2.0; Large as trained on Libri-Light), Babu et al. 2021 (XLS-R), Hsu et al. 2021 (HuBERT), Chen et al. 2021
#: (WavLM). "cpc" is that of CPC_audio (Rivière et al. 2020), "cpc-2018" that of van den Oord et al. but for two things:
#: frames are normalised instead of batches, and the recurrent layer is as wide as the convolutions instead of half.
WAVE_PRESETS: dict[str, WaveConfig] = {
    "wav2vec2-base": _BASE,
    "wav2vec2-large": replace(_LARGE, convolution_bias=True),
    "xls-r-300m": replace(_LARGE, convolution_bias=True),
    "xls-r-1b": replace(_XLARGE, convolution_bias=True),
    "xls-r-2b": replace(_XLARGE, convolution_bias=True, width=1920, feed_forward=7680),
    "hubert-base": _BASE,
    "hubert-large": _LARGE,
    "hubert-xlarge": _XLARGE,
    "wavlm-base": replace(_BASE, relative_buckets=320),
    "wavlm-large": replace(_LARGE, relative_buckets=320),
    "cpc": _CPC,
    "cpc-2018": replace(_CPC, convolutions=cpc_convolutions(512), width=512, recurrent="gru"),
    "tiny": _TINY,
    "tiny-wavlm": replace(_TINY, relative_buckets=320),
    "tiny-cpc": replace(_CPC, convolutions=cpc_convolutions(64), width=64),
}
