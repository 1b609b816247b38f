"""WavLM: HuBERT's task for audio in which others talk or something is noisy (Chen et al. 2021, arXiv:2110.13900).

The units to predict are those of the clean audio, so that the network has to tell the first speaker from the rest. Its
encoder has a relative position bias with gates (`mtasr.networks.wave_blocks`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.errors import UsageError
from mtasr.pretraining.audio import AudioPiece, audio_of, recordings_in
from mtasr.pretraining.hubert import (
    TINY,
    HubertObjective,
    HubertOptions,
    UnitBatch,
    published_large_recipe,
    published_recipe,
)
from mtasr.pretraining.mixing import Mixing
from mtasr.pretraining.objective import CropBatch
from mtasr.spans import SAMPLE_RATE
from mtasr.training.config import TrainConfig
from mtasr.training.state import checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class WavlmOptions(HubertOptions):
    """The settings in `objective_options`: HuBERT's, and what is mixed into the audio."""

    preset: str = "tiny-wavlm"
    #: Probability that a crop gets another sound over at most half of it.
    mixed: float = 0.2
    #: Recordings of noise: files, folders, records or shards, as data.train has them.
    noise: tuple[str, ...] = ()
    #: Probability that the other sound is noise and not another crop, if there is noise.
    noise_share: float = 0.1

    def __post_init__(self) -> None:
        HubertOptions.__post_init__(self)  # `super()` does not work in a dataclass with slots
        for name in ("mixed", "noise_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"objective_options.{name} cannot be {getattr(self, name)!r}")


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
        run = Path(config.output)
        blocks = [
            block
            for path in options.noise
            for block in recordings_in(
                Path(path), run / "recordings", again=not checkpoints(run), check=lambda record: None
            )
        ]
        self.data = hashlib.sha256(repr((self.data, blocks)).encode()).hexdigest()
        self._noises = [record for block in blocks for record in block.read()]
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
        record = self._noises[int(rng.integers(len(self._noises)))]
        total = int(record.duration * SAMPLE_RATE)
        first = int(rng.integers(max(1, total - samples + 1)))
        found = audio_of([AudioPiece(audio=record.audio, first=first, samples=min(samples, total))], self.store)[0]
        return np.resize(found, samples)
