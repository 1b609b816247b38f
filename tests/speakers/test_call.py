"""The published networks on a call of two synthetic voices: transcript, turns and a known voice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mtasr
from mtasr.speakers.diarizer import Diarizer
from mtasr.speakers.networks.embedding import Embedding
from mtasr.speakers.networks.segmentation import Segmentation
from mtasr.transcript import Turn

pytestmark = pytest.mark.weights

EXAMPLES = Path(__file__).parents[2] / "examples"
CALL = EXAMPLES / "call.flac"


@pytest.fixture(scope="module")
def diarizer(speaker_models: tuple[Segmentation, Embedding]) -> Diarizer:
    return Diarizer(*speaker_models)


def seconds_of(turns: tuple[Turn, ...], speaker: str) -> float:
    return sum(turn.end - turn.start for turn in turns if turn.speaker == speaker)


def test_each_sentence_has_its_speaker(diarizer: Diarizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.speakers.diarize._loaded", [diarizer])
    model = mtasr.load_model("base", threads=1, workers=1)
    found = model.transcribe(CALL, diarize=True, speakers=["Library", "Anna"], language="en")
    said: dict[str | None, str] = {}
    for segment in found:
        said[segment.speaker] = said.get(segment.speaker, "") + segment.text.lower()
        assert {word.speaker for word in segment.words or ()} == {segment.speaker}
    assert list(said) == ["Library", "Anna"]
    assert "how can i help you" in said["Library"]
    assert "friday" in said["Library"]
    assert "i would like to keep" in said["Anna"]
    document = json.loads(found.to_json())
    assert [turn["speaker"] for turn in document["turns"]][2] == "Anna"


def test_turns_last_as_long_as_the_channels_speak(diarizer: Diarizer) -> None:
    found = mtasr.diarize(CALL, diarizer=diarizer)
    assert found.speakers == ("Speaker 1", "Speaker 2")
    assert seconds_of(found.turns, "Speaker 1") == pytest.approx(5.9, abs=0.7)
    assert seconds_of(found.turns, "Speaker 2") == pytest.approx(2.7, abs=0.4)


def test_a_known_voice_has_its_name(diarizer: Diarizer) -> None:
    found = mtasr.diarize(CALL, voices=EXAMPLES / "voices", diarizer=diarizer)
    assert found.speakers == ("Speaker 1", "Anna")
    assert seconds_of(found.turns, "Anna") == pytest.approx(2.7, abs=0.4)
