"""WavLM: HuBERT's task for audio in which others talk or something is noisy (Chen et al. 2021, arXiv:2110.13900).

The units to predict are those of the clean audio, so that the network has to tell the first speaker from the rest. Its
encoder has a relative position bias with gates (`mtasr.networks.wave_blocks`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.errors import InputError, UsageError
from mtasr.pretraining.audio.crops import AudioPiece
from mtasr.pretraining.audio.mixing import Mixing
from mtasr.pretraining.hubert import (
    TINY,
    HubertObjective,
    HubertOptions,
    UnitBatch,
    published_large_recipe,
    published_recipe,
)
from mtasr.pretraining.objective import CropBatch, require_sensible
from mtasr.spans import SAMPLE_RATE
from mtasr.training.config import TrainConfig

#: Probability that the other sound is noise, if there is noise.
_NOISE_SHARE = 0.1
#: Seconds of a recording of noise at least: what is shorter would be heard as a hum, many times over.
_LEAST_NOISE = 0.1
#: Recordings of noise that are tried for one crop.
_TRIED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class WavlmOptions(HubertOptions):
    """The settings in `objective_options`: HuBERT's, and what is mixed into the audio."""

    preset: str = "tiny-wavlm"
    #: Probability that a crop gets another sound over at most half of it.
    mixed: float = 0.2
    #: Recordings of noise: files, folders, records or shards, as data.train has them.
    noise: tuple[str, ...] = ()
    #: Probability that the other sound is noise and not another crop, if there is noise.
    noise_share: float = _NOISE_SHARE

    def __post_init__(self) -> None:
        HubertOptions.__post_init__(self)  # `super()` does not work in a dataclass with slots
        require_sensible(self, {"mixed": 0 <= self.mixed <= 1, "noise_share": 0 <= self.noise_share <= 1})
        if self.noise and not (self.mixed and self.noise_share):
            raise UsageError("objective_options.noise would never be heard: mixed or noise_share is 0")
        if self.noise_share != _NOISE_SHARE and not self.noise:
            raise UsageError("objective_options.noise_share has no effect without objective_options.noise")


#: Recipes by name: rates, batches and teachers are HuBERT's.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "tiny-wavlm": TINY | {"objective_options": TINY["objective_options"] | {"preset": "tiny-wavlm"}},
    "wavlm-base": published_recipe("wavlm-base", layer=6, units=500),
    "wavlm-large": published_large_recipe("wavlm-large", 1.5e-3, 128),
}


class WavlmObjective(HubertObjective):
    """HuBERT's loss, for audio with something mixed into some crops and the units of what was there before."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    family = "wavlm"
    options_kind = WavlmOptions

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        options = config.options(WavlmOptions)
        blocks = [block for path in options.noise for block in self.recordings(path, _LEAST_NOISE)]
        self.data = hashlib.sha256(repr((self.data, blocks)).encode()).hexdigest()
        self._noises = [record for block in blocks for record in block.read() if record.duration >= _LEAST_NOISE]
        if options.noise and not self._noises:
            raise UsageError("objective_options.noise names no recording")
        self.mixing = Mixing(
            share=options.mixed,
            noise_share=options.noise_share,
            noise=self._noise if self._noises else None,
        )

    def completed(self, crops: CropBatch, rng: np.random.Generator) -> UnitBatch:
        made = super().completed(crops, rng)
        return replace(made, audio=self.mixing.mixed(made.audio, rng))

    def _noise(self, samples: int, rng: np.random.Generator) -> Float32Array:
        """A random stretch (N,) of a random recording of noise, which is repeated if it is too short."""
        for _ in range(_TRIED):
            record = self._noises[int(rng.integers(len(self._noises)))]
            total = int(record.duration * SAMPLE_RATE)
            first = int(rng.integers(max(1, total - samples + 1)))
            _, found = self.reader.read([AudioPiece(audio=record.audio, first=first, samples=min(samples, total))])
            if found:
                return np.resize(found[0], samples)
        raise InputError(f"hardly any noise can be heard; {self.left_out.path} has the reasons")
