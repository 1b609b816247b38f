"""Recordings that other machines decode, in parts or as a whole: the same results to the last digit."""

from __future__ import annotations

import contextlib
import copy
import itertools
import random
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elsewhere import AsAWhole, InParts
from fakes import Heard, HearingEngine, LoudIsSpeech
from hypothesis import given, settings
from hypothesis import strategies as st
from loudness_diarizer import LoudnessDiarizer

import mtasr
from mtasr.arrays import Float32Array
from mtasr.asked import asked
from mtasr.decoding.survey import is_divisible
from mtasr.decoding.windows import WindowOutline
from mtasr.engines.engine import EngineLimits, Hypothesis
from mtasr.errors import AudioDecodeError, UsageError
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.submissions import Elsewhere, received
from mtasr.transcribe import Model
from mtasr.transcript import Segment, Transcript

pytestmark = pytest.mark.timeout(60)


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


#: Segments; positions, with other numbers that are known at the end; the transcript or the error; warnings.
Ending = tuple[list[Segment], list[float], Transcript | str, tuple[str, ...]]


def ending(transcription: mtasr.Transcription) -> Ending:
    """All that a caller sees of a transcription."""
    segments: list[Segment] = []
    positions: list[float] = []
    transcription.on_progress = lambda seconds, total: positions.append(seconds)
    whole: Transcript | str
    with transcription:
        try:
            segments.extend(transcription)
            whole = transcription.transcript()
        except Exception as error:
            whole = f"{type(error).__name__}: {error}"
        else:
            assert whole.language == transcription.language
            assert whole.language_probability == transcription.language_probability
            positions += [guess.probability for guess in transcription.guesses]
            positions.append(transcription.total or 0.0)
        return segments, positions, whole, transcription.warnings


def here(source: Any, how: dict[str, Any]) -> Ending:
    with HERE.stream_all([source], **how) as streams:
        return ending(streams[0])


def there(elsewhere: Elsewhere, how: dict[str, Any]) -> Ending:
    changes = {key: value for key, value in how.items() if key != "most_seconds"}
    what = asked(HERE.engine.tokenizer, None, diarize=changes.pop("diarize", False), changes=changes)
    return ending(received(elsewhere, what.tracks, what.options))


def by_twos(outlines: Sequence[WindowOutline]) -> list[Sequence[WindowOutline]]:
    return [outlines[place : place + 2] for place in range(0, len(outlines), 2)]


def in_parts(source: Any, how: dict[str, Any]) -> Ending:
    return there(InParts(source, another, by_twos, how), how)


def as_a_whole(source: Any, how: dict[str, Any]) -> Ending:
    (decoded,) = another().decode_all([source], **how)
    return there(AsAWhole(decoded), how)


WAYS = [in_parts, as_a_whole]
Way = Callable[[Any, dict[str, Any]], Ending]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"multilingual": True, "clip_timestamps": (4.0, 21.5, 25.0)},
        {"clip_timestamps": (1000.0,)},
        {"word_timestamps": True, "n_best": 2},
        {"also_translate": True, "language": "fr"},
        {"prefix": "the water", "initial_prompt": "people", "languages": ("fr", "de")},
        {"vad_filter": False, "without_timestamps": True},
        {"seed": 7, "temperature": (0.0, 0.4)},
        {"temperature": (0.5,)},
        {"diarize": True, "num_speakers": 3},
        {"diarize": True, "also_translate": True, "n_best": 2},
        {"most_seconds": 20.0},
    ],
    ids=str,
)
def test_the_results_are_those_of_one_machine(way: Way, how: dict[str, Any]) -> None:
    assert way(TALK, how) == here(TALK, how)


def test_what_is_drawn_at_random_is_part_of_that() -> None:
    elsewhere = InParts(TALK, another, by_twos)
    _, _, found, _ = there(elsewhere, {})
    assert isinstance(found, Transcript)
    assert 2 <= len(elsewhere.drawn) < 7
    assert found.text.count("drawn") >= 2
    assert here(TALK, {"seed": 1})[2].text != found.text  # type: ignore[union-attr]


@settings(max_examples=10)
@given(
    st.lists(st.floats(0.3, 14), min_size=0, max_size=5),
    st.lists(st.integers(0, 6), max_size=3),
    st.sampled_from([None, "fr"]),
)
def test_parts_may_be_cut_anywhere(seconds: list[float], places: list[int], language: str | None) -> None:
    def parts(outlines: Sequence[WindowOutline]) -> list[Sequence[WindowOutline]]:
        edges = [0, *sorted(min(place, len(outlines)) for place in places), len(outlines)]
        return [outlines[start:end] for start, end in itertools.pairwise(edges)]

    talk, how = said(*seconds, seed=len(seconds)), {"language": language}
    assert there(InParts(talk, another, parts, how), how) == here(talk, how)


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """A file with two speakers, one on each channel; the second is silent for long."""
    path = tmp_path / "call.wav"
    first, second = said(3, 2, 5, seed=1), said(4, 1, seed=2)
    second = np.pad(second, (len(first) - len(second), 0))
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, SAMPLE_RATE, len(first), "NONE", ""))
        file.writeframes((np.stack([first, second], axis=1) * 32767).astype("<i2").tobytes())
    return path


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "how",
    [
        {"channels": "split"},
        {"channels": "split", "speakers": ("Anna", "Ben", "Cleo"), "multilingual": True},
        {"channels": "split", "language": "en", "n_best": 2},
        {"channels": "mix"},
    ],
    ids=str,
)
def test_channels(call: Path, way: Way, how: dict[str, Any]) -> None:
    assert way(call, how) == here(call, how)
    assert (len(here(call, how)[3]) == 1) is ("speakers" in how)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", [{}, {"diarize": True, "language": "en"}], ids=str)
@pytest.mark.parametrize("seconds", [0.0, 3.5, 12.0])
def test_recordings_that_break_off(way: Way, how: dict[str, Any], seconds: float) -> None:
    broken = Breaking(TALK, seconds, AudioDecodeError("a.mp3: broken", ("line 1", "line 2")))
    segments, positions, whole, warnings = here(broken, how)
    assert whole == "AudioDecodeError: a.mp3: broken"
    assert (len(segments) > 0) is (seconds > 3)
    assert way(broken, how) == (segments, positions, whole, warnings)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", [{}, {"diarize": True}, {"channels": "split"}], ids=str)
def test_recordings_that_cannot_be_opened(way: Way, how: dict[str, Any]) -> None:
    assert way("no such file.wav", how) == here("no such file.wav", how)


@pytest.mark.parametrize("how", [{}, {"language": "en"}, {"diarize": True}], ids=str)
def test_text_before_needs_the_whole(how: dict[str, Any]) -> None:
    how |= {"condition_on_previous_text": True}
    assert as_a_whole(TALK, how) == here(TALK, how)
    with pytest.raises(UsageError, match="only whole recordings"):
        HERE.survey(TALK, **how)
    with pytest.raises(UsageError, match="only whole recordings"):
        HERE.decode_windows(TALK, [], language="en", condition_on_previous_text=True)
    assert not is_divisible(DecodingOptions(condition_on_previous_text=True))
    assert not is_divisible(DecodingOptions(temperature=(0.5,)))
    assert is_divisible(DecodingOptions())
