"""A stand-in for the diarizer, to which loud and quiet sounds are two speakers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.options import SpeakerOptions
from mtasr.speakers.voices import Heard
from mtasr.transcript import Turn

#: Samples that are judged together.
STEP = SAMPLE_RATE // 10
#: The mean of what lies between -1 and 1 from which on somebody speaks, and from which on it is the loud one.
QUIET, LOUD = 0.001, 0.03


@dataclass(eq=False)
class LoudnessDiarizer:
    """Tells the loud from the quiet. `fails_at` is the second of a recording at which it fails."""

    fails_at: float = float("inf")
    #: The options of each recording whose turns were asked for.
    asked: list[SpeakerOptions] = field(default_factory=list)
    listening: int = 0

    def listen(self) -> Listening:
        self.listening += 1
        return Listening(self)


class Listening:
    def __init__(self, diarizer: LoudnessDiarizer) -> None:
        self._diarizer = diarizer
        self._samples: list[Float32Array] = []

    @property
    def position(self) -> float:
        return sum(map(len, self._samples)) / SAMPLE_RATE

    def add(self, samples: Float32Array) -> None:
        self._samples.append(samples)
        if sum(map(len, self._samples)) > self._diarizer.fails_at * SAMPLE_RATE:
            raise RuntimeError("the diarizer stopped")

    def heard(self, options: SpeakerOptions) -> Heard:
        """A voice is as loud as it is, and the vectors of the two are at right angles."""
        turns, samples = self.turns(options), np.concatenate([np.zeros(0, np.float32), *self._samples])
        voices = {}
        for turn in turns:
            part = samples[round(turn.start * SAMPLE_RATE) : round(turn.end * SAMPLE_RATE)]
            voices[turn.speaker] = np.eye(2, dtype=np.float32)[int(np.abs(part).mean() >= LOUD)]
        return Heard(turns=turns, voices=voices)

    def turns(self, options: SpeakerOptions) -> tuple[Turn, ...]:
        self._diarizer.asked.append(options)
        samples = np.concatenate([np.zeros(0, np.float32), *self._samples])
        levels = np.abs(samples[: len(samples) // STEP * STEP]).reshape(-1, STEP).mean(axis=1)
        voices = [0 if level < QUIET else 1 if level < LOUD else 2 for level in levels]
        edges = [place for place in range(len(voices)) if place == 0 or voices[place] != voices[place - 1]]
        if not voices:
            return ()
        heard: list[int] = []
        turns = []
        for start, end in zip(edges, [*edges[1:], len(voices)], strict=True):
            if (voice := voices[start]) == 0:
                continue
            if voice not in heard:
                heard.append(voice)
            name = options.name(heard.index(voice))
            turns.append(Turn(start=start * STEP / SAMPLE_RATE, end=end * STEP / SAMPLE_RATE, speaker=name))
        return tuple(turns)


#: Standard deviations of the sounds of the two.
QUIET_SOUND, LOUD_SOUND = 0.03, 0.3


def noise(seconds: float, level: float) -> Float32Array:
    return np.random.default_rng(round(seconds * 10)).normal(0, level, round(seconds * SAMPLE_RATE)).astype(np.float32)


def dialogue() -> Float32Array:
    """The quiet one from 1 to 4 s, the loud one from 6 to 9 s and from 13 to 16 s, the quiet one until 19 s."""
    parts = [
        (1, 0.0),
        (3, QUIET_SOUND),
        (2, 0.0),
        (3, LOUD_SOUND),
        (4, 0.0),
        (3, LOUD_SOUND),
        (3.2, QUIET_SOUND),
        (1, 0.0),
    ]
    return np.concatenate([noise(seconds, level) for seconds, level in parts])
