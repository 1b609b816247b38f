"""Replaces `mtasr.speakers.diarizer.Diarizer`: knows beforehand who speaks when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from mtasr.arrays import Float32Array
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcript import Turn


@dataclass
class FakeDiarizer:
    found: tuple[Turn, ...] = ()
    #: Samples of all recordings heard.
    heard: int = 0
    options: list[SpeakerOptions] = field(default_factory=list)

    def load(self, progress: object = None) -> Self:
        return self

    def listen(self) -> Self:
        return self

    def add(self, samples: Float32Array) -> None:
        self.heard += len(samples)

    def turns(self, options: SpeakerOptions) -> tuple[Turn, ...]:
        self.options.append(options)
        return self.found
