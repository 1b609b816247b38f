"""The filter that lets a model listen to records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEngine
from speech import speak, write_wav
from training_data import record

from mtasr.arrays import Float32Array
from mtasr.data import listening
from mtasr.data.filtering import UNREADABLE, Report, judged, kept
from mtasr.data.listening import ModelHears
from mtasr.data.records import Record
from mtasr.engines.engine import EngineLimits, Hypothesis, LanguageGuess, Likelihood
from mtasr.errors import AudioDecodeError, FfmpegNotFoundError
from mtasr.options import DecodingOptions
from mtasr.transcribe import load_model


@dataclass
class Listening(FakeEngine):
    """Finds all texts probable but those with "wrong" in them, in whatever language it is told."""

    limits: EngineLimits = EngineLimits(batch_size=4)  # noqa: RUF009 - it is frozen
    heard: str = "en"
    sizes: list[int] = field(default_factory=list)

    def detect_language(self, encoded: int) -> list[LanguageGuess]:
        return [LanguageGuess(self.heard, 0.9)]

    def answer(self, encoded: int, prompt: Sequence[int], options: DecodingOptions, temperature: float) -> Hypothesis:
        return self.hypothesis(" the water")

    def score(
        self, encoded: Sequence[int], prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]
    ) -> list[Likelihood]:
        assert len({len(prompt) for prompt in prompts}) == 1
        self.sizes.append(len(encoded))
        return [self._likelihood(text) for text in texts]

    def _likelihood(self, text: Sequence[int]) -> Likelihood:
        each = -9.0 if "wrong" in self.tokenizer.decode(text) else -0.2
        logprobs, ends = np.full(len(text) + 1, each), np.full(len(text) + 1, -20.0)
        logprobs[-1] = ends[-1] = -0.1
        return Likelihood(logprobs=logprobs, end_logprobs=ends)


@pytest.fixture(autouse=True)
def silence(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.node.get_closest_marker("weights"):
        samples = np.zeros(100 * 16_000, np.float32)
        monkeypatch.setattr("mtasr.data.listening.read_samples", lambda path: samples)


def test_excerpts_of_several_records_are_scored_together() -> None:
    engine = Listening()
    texts = ["the water", "wrong", "people", "wrong", "number", "the day"]
    records = [record(text, audio=f"/{place}.wav") for place, text in enumerate(texts)]
    report = Report()
    found = [each.text for each in kept(judged(records, [ModelHears(engine)]), report)]
    assert found == ["the water", "people", "number", "the day"]
    assert engine.sizes == [4, 2]
    assert report.dropped["the model hears something else", "radio"].records == 2


def test_records_that_another_filter_drops_are_not_listened_to() -> None:
    engine = Listening()
    records = [record("the water"), record("people")]
    verdicts = judged(records, [lambda each: "no" if each == records[0] else None, ModelHears(engine)])
    assert [each for each, reason in verdicts if reason is None] == records[1:]
    assert engine.sizes == [1]


def test_a_recording_that_cannot_be_read_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = listening.read_samples("/any.wav")

    def read(path: str) -> Float32Array:
        if path == "/1.wav":
            raise AudioDecodeError(f"{path}: is damaged")
        if path == "/none.wav":
            raise FfmpegNotFoundError("no ffmpeg found")
        return samples

    monkeypatch.setattr(listening, "read_samples", read)
    records = [record(text, audio=f"/{place}.wav") for place, text in enumerate(["the water", "people", "wrong"])]
    reasons = [reason for _, reason in judged(records, [ModelHears(Listening())])]
    assert reasons == [None, UNREADABLE, "the model hears something else"]
    with pytest.raises(AudioDecodeError, match="is damaged"):
        ModelHears(Listening())(records[1])
    with pytest.raises(FfmpegNotFoundError):
        list(judged([record("the water", audio="/none.wav")], [ModelHears(Listening())]))


def test_a_record_goes_if_much_of_it_is_wrong() -> None:
    listen = ModelHears(Listening())
    assert listen(record("the water", "wrong", "people", seconds=13.0)) is None
    assert listen(record("wrong", "the water", "wrong", seconds=13.0)) == "the model hears something else"


def test_descriptions_are_not_scored() -> None:
    assert ModelHears(Listening())(record("(wrong) the water")) is None


def test_of_translations_the_language_alone_is_judged() -> None:
    engine = Listening(heard="fr")
    translation = record("wrong", language="fr", task="translate")
    assert ModelHears(engine)(translation) is None
    assert ModelHears(engine)(replace(translation, language="it")) == "spoken is fr"
    assert engine.sizes == []


@pytest.mark.parametrize(
    "unfit",
    [
        record("wrong", seconds=40.0),
        replace(record("wrong", seconds=40.0), timed=False),
        record("wrong " * 300, seconds=20.0),
        record("wrong", language=None),
        record("..."),
    ],
)
def test_what_no_model_learns_is_not_judged(unfit: Record) -> None:
    assert ModelHears(Listening())(unfit) is None


def test_an_english_model_judges_english_alone() -> None:
    listen = ModelHears(Listening(kind="english"))
    assert listen(record("wrong")) == "the model hears something else"
    assert listen(record("wrong", language="fr")) is None


@pytest.fixture(scope="module")
def base() -> ModelHears:
    return ModelHears(load_model("base").engine)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("said", "text", "reason"),
    [
        ("fifteen", "fifteen", None),
        ("fifteen", "15", None),
        ("Thursday", "thursday", None),
        ("Thursday", "fifteen", "the model hears something else"),
        ("Thursday", "Thursday. Thursday.", "text goes on after the speech"),
        ("Please bring the letters to the office.", "Please bring the letters to the office", None),
        ("Please bring the letters to the office.", "Please bring the", "text ends before the speech"),
        ("Please bring the letters to the office.", "She came late.", "the model hears something else"),
        ("Please bring the letters to the office.", "Bringen Sie die Briefe.", "the model hears something else"),
    ],
)
def test_a_real_model(said: str, text: str, reason: str | None, base: ModelHears, tmp_path: Path) -> None:
    samples = speak(said)
    write_wav(tmp_path / "said.wav", samples)
    spoken = replace(record(text, audio=str(tmp_path / "said.wav"), duration=len(samples) / 16_000), timed=False)
    assert base(spoken) == reason
