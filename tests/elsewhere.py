"""Other machines that decode a recording, each with a model of its own; what they say travels pickled."""

from __future__ import annotations

import contextlib
import copy
import itertools
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from fakes import Heard, HearingEngine, LoudIsSpeech
from loudness_diarizer import LoudnessDiarizer

from mtasr.arrays import Float32Array
from mtasr.audio.sources import Source
from mtasr.decoding.submission import DecodedWindow, PlacedResult
from mtasr.decoding.survey import Survey
from mtasr.decoding.windows import Place, WindowOutline
from mtasr.engines.engine import EngineLimits, Hypothesis
from mtasr.options import DecodingOptions
from mtasr.recordings.decoded import DecodedRecording
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import Model

_T = TypeVar("_T")


def sent(value: _T) -> _T:
    """The value as another process gets it."""
    copy: _T = pickle.loads(pickle.dumps(value))
    return copy


@dataclass
class InParts:
    """A recording whose windows are shared out: `parts` divides the outlines of a channel. An `Elsewhere`."""

    source: Source
    #: Makes the model of another machine.
    machine: Callable[[], Model]
    parts: Callable[[Sequence[WindowOutline]], Sequence[Sequence[WindowOutline]]]
    #: Arguments of `Model.stream_all`.
    asked: dict[str, Any] = field(default_factory=dict)
    #: Places whose samples were drawn at random.
    drawn: list[Place] = field(default_factory=list)

    @cached_property
    def _survey(self) -> Survey:
        return sent(self.machine().survey(self.source, **self.asked))

    def survey(self) -> Survey:
        return self._survey

    def results(self, channel: int) -> Iterator[DecodedWindow]:
        outlines = self._survey.channels[channel].outlines
        results: dict[Place, DecodedWindow] = {}
        for part in reversed(self.parts(outlines)):
            placed = self._decoded(channel, part)
            assert [each.place for each in placed] == [each.place for each in part]
            results |= {each.place: each.result for each in placed if each.place and each.result}
        left = [each for each in outlines if each.place not in results]
        self.drawn += [each.place for each in left]
        if left:
            placed = self._decoded(channel, left, draws=True)
            assert not any(each.to_note for each in placed)
            results |= {each.place: each.result for each in placed if each.place and each.result}
        for each in outlines:
            yield results[each.place]

    def came(self) -> float:
        return 0.0

    def _decoded(self, channel: int, outlines: Sequence[WindowOutline], **how: bool) -> list[PlacedResult]:
        asked = {key: value for key, value in self.asked.items() if key not in ("language", "most_seconds")}
        asked |= {"language": self._survey.channels[channel].spoken, "version": self._survey.version}
        found = self.machine().decode_windows(self.source, sent(outlines), channel=channel, **asked, **how)
        return sent(list(found))

    def close(self) -> None:
        pass


class AsAWhole:
    """A recording that another machine has decoded as a whole. An `Elsewhere`."""

    def __init__(self, decoded: DecodedRecording) -> None:
        self.decoded = sent(decoded)

    def survey(self) -> Survey:
        return self.decoded.survey

    def results(self, channel: int) -> Iterator[DecodedWindow]:
        for each in self.decoded.results[channel]:
            assert each.result is not None
            yield each.result

    def came(self) -> float:
        return 0.0

    def close(self) -> None:
        pass


def by_twos(outlines: Sequence[WindowOutline]) -> list[Sequence[WindowOutline]]:
    return [outlines[place : place + 2] for place in range(0, len(outlines), 2)]


#: Seconds that the encoder takes: most of the time goes into features.
ENCODER = 12.0


class Drawing(HearingEngine):
    """Writes, above temperature 0, what it draws from a sequence that begins with a seed."""

    chance: random.Random | None = None

    @contextlib.contextmanager
    def sampler(self, seed: int) -> Iterator[Drawing]:
        engine = copy.copy(self)
        engine.chance = random.Random(seed)
        yield engine

    def generate(
        self, encoded: Sequence[Heard], prompts: Sequence[Sequence[int]], options: DecodingOptions, temperature: float
    ) -> list[Hypothesis]:
        found = super().generate(encoded, prompts, options, temperature)
        if temperature > 0:
            assert self.chance is not None
            drawn = self.tokenizer.encoding.encode(f" drawn {self.chance.randrange(1000)}")
            found = [replace(each, tokens=(each.tokens[0], *drawn, each.tokens[-1])) for each in found]
        if options.n_best == 1:
            return found
        return [replace(each, others=((each.tokens[:2] + each.tokens[3:], -1.0),)) for each in found]


def fails_in_part(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
    """Half of the windows fail at temperature 0 at any length, and some at the next."""
    if temperature < 0.1 * (heard.number % 4) and (heard.frames < 100 * ENCODER or heard.number % 2):
        return replace(hypothesis, avg_logprob=-3.0)
    return hypothesis


def machine(workers: int, batch_size: int) -> Model:
    limits = EngineLimits(workers=workers, batch_size=batch_size, audio_seconds=ENCODER)
    engine = Drawing(limits=limits, judge=fails_in_part, pause=0.0)
    return Model(engine, detector=LoudIsSpeech, diarizer=LoudnessDiarizer)


#: Making one takes longer than most tests. They do not influence each other.
HERE, *OTHERS = machine(1, 3), machine(1, 1), machine(2, 4)
MACHINES = itertools.cycle(OTHERS)


def another() -> Model:
    return next(MACHINES)


def said(*seconds: float, seed: int = 0) -> Float32Array:
    """Utterances of so many seconds, each a window."""
    rng = np.random.default_rng(seed)
    silence = np.zeros(round(2.1 * SAMPLE_RATE), np.float32)
    parts = [silence]
    for each in seconds:
        parts += [rng.normal(0, 0.1, round(each * SAMPLE_RATE)).astype(np.float32), silence]
    return np.concatenate(parts)


TALK = said(3, 0.9, 7, 2, 4, 1, 2.2, seed=3)


class Breaking:
    """A recording that can be read up to some second, as often as one likes."""

    def __init__(self, samples: Float32Array, seconds: float, error: Exception) -> None:
        self._samples, self._seconds, self._error = samples, seconds, error

    def __iter__(self) -> Iterator[Float32Array]:
        for start in range(0, round(self._seconds * SAMPLE_RATE), 4000):
            yield self._samples[start : start + 4000]
        raise self._error
