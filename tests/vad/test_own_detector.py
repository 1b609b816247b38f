"""Voice activity models that a program brings along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import HearingEngine, LoudIsSpeech

import mtasr
from mtasr.errors import UsageError
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import Model
from mtasr.vad import DEFAULT_DETECTOR, DETECTORS, FRAME, SileroDetector, SpeechDetector

#: The only frames that hold speech, to these detectors: about 3.2 to 6.4 s.
SPEECH = range(100, 200)


class ByTheClock:
    """Finds speech at a fixed time, whatever it hears."""

    def __init__(self) -> None:
        self.samples = self.frames = 0
        self.has_ended = False

    def probabilities(self, samples: np.ndarray, *, last: bool = False) -> np.ndarray:
        assert samples.dtype == np.float32
        assert not self.has_ended
        self.has_ended = last
        self.samples += len(samples)
        end = -(-self.samples // FRAME) if last else self.samples // FRAME
        found = [0.75 if frame in SPEECH else 0.1 for frame in range(self.frames, end)]
        self.frames = end
        return np.array(found, np.float32)


class Made(list[ByTheClock]):
    """Makes a detector for each recording, and keeps them."""

    def __call__(self) -> SpeechDetector:
        self.append(ByTheClock())
        return self[-1]


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


EXPECTED = ((SPEECH.start * FRAME / SAMPLE_RATE, SPEECH.stop * FRAME / SAMPLE_RATE),)


@pytest.mark.parametrize("previous_text", [False, True])
def test_a_model_finds_speech_with_the_detector_passed_to_it(previous_text: bool) -> None:
    made = Made()
    model = Model(HearingEngine(), detector=made)
    options = {"condition_on_previous_text": previous_text, "language": "en"}
    with model.stream_all([noise(10), noise(8.01)], **options) as streams:
        found = [stream.transcript() for stream in streams]
    assert [each.speech for each in found] == [EXPECTED, EXPECTED]
    if not previous_text:
        ((segment,), (other,)) = (each.segments for each in found)
        assert (segment.start, segment.end) == (other.start, other.end)
        assert 2.5 < segment.start < 3.3
        assert 6.3 < segment.end < 7
    # One for each recording, which has heard all of it.
    assert [(each.samples, each.has_ended) for each in made] == [(160_000, True), (128_160, True)]


def test_the_threshold_is_the_options_own() -> None:
    model = Model(HearingEngine(), detector=ByTheClock)
    assert model.transcribe(noise(10), vad_threshold=0.76).speech == ()
    assert model.transcribe(noise(10), vad_threshold=0.76).segments == ()
    assert model.transcribe(noise(10), vad_threshold=0.75).speech == EXPECTED


def test_a_language_is_detected_where_the_detector_finds_speech() -> None:
    heard = []
    for detector in (ByTheClock, LoudIsSpeech):
        engine, other = HearingEngine(), HearingEngine()
        guesses = Model(engine, detector=detector).detect_language(noise(10))
        transcript = Model(other, detector=detector).transcribe(noise(10))
        assert (guesses[0].code, guesses[0].probability) == (transcript.language, transcript.language_probability)
        assert engine.detected == other.detected
        heard.append(engine.detected)
    assert heard[0] != heard[1]


def load(folder: Path, **settings: object) -> mtasr.Model:
    return mtasr.load_model(folder, device="cpu", threads=1, **settings)  # type: ignore[arg-type]


def test_a_detector_is_passed_to_load_model(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"language": "en", "temperature": (0.0,), "beam_size": 1}
    made = Made()
    monkeypatch.setitem(DETECTORS, "by the clock", made)
    for count, detector in enumerate((made, "by the clock"), start=1):
        model = load(tiny_models["multilingual"], detector=detector)
        assert model.transcribe(noise(8), **options).speech == EXPECTED
        assert len(made) == count


def test_silero_is_the_detector_without_a_name(tiny_models: dict[str, Path]) -> None:
    assert DETECTORS[DEFAULT_DETECTOR] is SileroDetector
    options = {"language": "en", "temperature": (0.0,), "beam_size": 1}
    assert load(tiny_models["multilingual"]).transcribe(noise(8), **options).speech == ()


@pytest.mark.parametrize("name", ["webrtc", "Silero", ""])
def test_an_unknown_name_is_refused_before_anything_is_loaded(name: str) -> None:
    with pytest.raises(UsageError, match=f"detector must be silero, not {name!r}"):
        mtasr.load_model("no such model", detector=name)
