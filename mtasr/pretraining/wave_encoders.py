"""The encoders that read the waveform and are trained from nothing, and settings of objectives that train them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np

from mtasr.arrays import BoolArray
from mtasr.errors import UsageError
from mtasr.networks.wave_config import WAVE_PRESETS, WaveConfig
from mtasr.pretraining.audio.masking import span_mask
from mtasr.pretraining.objective import limits, require_sensible
from mtasr.training.config import DataConfig

#: Members of `WaveConfig` that are sizes.
_SIZES = frozenset(each.name for each in fields(WaveConfig) if each.type == "int")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanOptions:
    """Settings of all objectives that hide spans of frames from a transformer over the waveform."""

    #: The encoder: a name in `WAVE_PRESETS` whose context is a transformer.
    preset: str = "tiny"
    #: Other sizes of the encoder than the preset has, by their names in `WaveConfig`.
    sizes: Mapping[str, int] = field(default_factory=dict)
    #: Gradients of the convolutions are multiplied by this.
    convolution_rate: float = 0.1
    #: What is masked (`mtasr.pretraining.audio.masking`): the share, were there no overlaps, the frames of a span, and
    #: the spans of a crop at least.
    masked: float = 0.65
    span: int = 10
    least_spans: int = 2

    def __post_init__(self) -> None:
        checks = {
            "convolution_rate": self.convolution_rate > 0,
            "masked": 0 < self.masked <= 1,
            "span": self.span >= 1,
            "least_spans": self.least_spans >= 1,
        }
        require_sensible(self, checks)

    def encoder(self, data: DataConfig) -> WaveConfig:
        """Raises `UsageError` if there is no such encoder, or if a span does not fit into the shortest crops."""
        return fitting_encoder(self.preset, self.sizes, data, self.span, f"a mask of {self.span}", recurrent=False)

    def mask(self, rows: int, frames: int, rng: np.random.Generator) -> BoolArray:
        """(B, S), with equally many masked frames in each row."""
        return span_mask(rows, frames, self.masked, self.span, self.least_spans, rng)


def encoder_config(preset: str, sizes: Mapping[str, int], *, recurrent: bool) -> WaveConfig:
    """That of a preset with other sizes; `recurrent` says whether its states must depend on no later frame.

    Raises `UsageError` for a preset that does not exist or is of the other kind, and for sizes that do not fit.
    """
    known = [name for name, config in WAVE_PRESETS.items() if bool(config.recurrent) == recurrent]
    if preset not in known:
        raise UsageError(f"objective_options.preset must be one of {', '.join(known)}, not {preset!r}")
    for name in sizes:
        if name not in _SIZES:
            raise UsageError(f"objective_options.sizes cannot set {name!r}, but {', '.join(sorted(_SIZES))}")
    config = replace(WAVE_PRESETS[preset], **sizes)  # type: ignore[arg-type]
    if problems := config.problems():
        raise UsageError(f"objective_options.sizes: {'; '.join(problems)}")
    return config


def fitting_encoder(
    preset: str, sizes: Mapping[str, int], data: DataConfig, least: int, purpose: str, *, recurrent: bool
) -> WaveConfig:
    """As `encoder_config`; raises `UsageError` also if the shortest crops have less than the `least` frames.

    `purpose` is what the message says that these are for.
    """
    config = encoder_config(preset, sizes, recurrent=recurrent)
    shortest, _ = limits(data)
    if (frames := config.frames(shortest)) < least:
        raise UsageError(f"data.shortest={data.shortest:g} s gives {frames} frames, too few for {purpose}")
    return config
