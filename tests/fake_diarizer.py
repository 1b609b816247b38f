"""Replaces `mtasr.speakers.diarizer.Diarizer`: knows beforehand who speaks when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from mtasr.arrays import Float32Array
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.options import SpeakerOptions
from mtasr.speakers.voices import Heard
from mtasr.transcript import Turn


@dataclass
class FakeDiarizer:
    found: tuple[Turn, ...] = ()
    #: Samples of all recordings heard.
    samples: int = 0
    options: list[SpeakerOptions] = field(default_factory=list)

    def load(self, progress: object = None) -> Self:
        return self

    def listen(self) -> Self:
        return self

    @property
    def position(self) -> float:
        return self.samples / SAMPLE_RATE

    def add(self, samples: Float32Array) -> None:
        self.samples += len(samples)

    def heard(self, options: SpeakerOptions) -> Heard:
        self.options.append(options)
        return Heard(turns=self.found, voices={})
