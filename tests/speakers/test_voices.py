"""Known voices: speakers who are called by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from loudness_diarizer import LOUD_SOUND, QUIET_SOUND, LoudnessDiarizer, dialogue, noise
from speech import write_wav

import mtasr
from mtasr.arrays import Float32Array
from mtasr.errors import InputNotFoundError, UsageError, VoiceError
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.voices import Heard, KnownVoices, enrol, known_voices
from mtasr.transcript import Turn


def silence(seconds: float) -> Float32Array:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def folder(path: Path, **clips: Float32Array) -> Path:
    for name, samples in clips.items():
        file = path / f"{name.replace('__', '/')}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_wav(file, samples)
    return path


def speakers(voices: Path | KnownVoices) -> list[str]:
    found = mtasr.diarize(dialogue(), voices=voices, diarizer=LoudnessDiarizer())
    return [turn.speaker for turn in found.turns]


def test_a_voice_is_called_by_the_name_of_its_file(tmp_path: Path) -> None:
    assert speakers(folder(tmp_path / "both", Ben=noise(2, LOUD_SOUND), Anna=noise(2, QUIET_SOUND))) == [
        "Anna", "Ben", "Ben", "Anna",
    ]  # fmt: skip
    assert speakers(folder(tmp_path / "one", Ben=noise(2, LOUD_SOUND))) == ["Speaker 1", "Ben", "Ben", "Speaker 1"]


def test_a_person_may_have_several_clips(tmp_path: Path) -> None:
    path = folder(tmp_path, Ben__1=noise(2, LOUD_SOUND), Ben__2=noise(3, LOUD_SOUND))
    assert list(known_voices(path, LoudnessDiarizer()).voices) == ["Ben"]
    assert speakers(path) == ["Speaker 1", "Ben", "Ben", "Speaker 1"]


def test_a_clip_without_speech_is_told_and_of_no_use(tmp_path: Path) -> None:
    path = folder(tmp_path, Anna=silence(2), Ben=noise(2, LOUD_SOUND))
    known = known_voices(path, LoudnessDiarizer())
    assert list(known.voices) == ["Ben"]
    assert known.warnings == ("nobody speaks in Anna.wav, so it is no voice of Anna",)
    found = mtasr.diarize(dialogue(), voices=path, diarizer=LoudnessDiarizer())
    assert found.warnings == known.warnings


@pytest.mark.parametrize(
    ("clips", "problem"),
    [
        ({"Anna": silence(2)}, "nobody speaks in the recordings of Anna"),
        ({"Anna": np.concatenate([noise(2, LOUD_SOUND), noise(2, QUIET_SOUND)])}, r"Anna\.wav: two people talk in it"),
        ({"Anna": silence(0)}, "Anna"),
    ],
)
def test_clips_that_are_no_voice_are_refused(tmp_path: Path, clips: dict[str, Float32Array], problem: str) -> None:
    with pytest.raises(VoiceError, match=problem):
        known_voices(folder(tmp_path, **clips), LoudnessDiarizer())


def test_somebody_else_for_a_moment_is_no_second_voice(tmp_path: Path) -> None:
    path = folder(tmp_path, Ben=np.concatenate([noise(4, LOUD_SOUND), noise(0.5, QUIET_SOUND)]))
    assert speakers(path) == ["Speaker 1", "Ben", "Ben", "Speaker 1"]


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / "Anna").mkdir()
    with pytest.raises(InputNotFoundError, match=r"has no recordings of voices, such as Anna\.wav"):
        known_voices(tmp_path, LoudnessDiarizer())
    with pytest.raises(InputNotFoundError, match="cannot be read"):
        known_voices(tmp_path / "missing", LoudnessDiarizer())


def test_a_folder_is_heard_once_while_it_stays_the_same(tmp_path: Path) -> None:
    path, diarizer = folder(tmp_path, Ben=noise(2.5, LOUD_SOUND)), LoudnessDiarizer()
    first = known_voices(path, diarizer)
    assert known_voices(path, diarizer) is first
    assert diarizer.listening == 1
    folder(path, Ben=noise(2.6, LOUD_SOUND))
    assert known_voices(path, diarizer).digest != first.digest


def test_voices_may_be_samples() -> None:
    known = enrol({"Ben": [noise(2, LOUD_SOUND)]}, LoudnessDiarizer(), digest="ben")
    assert speakers(known) == ["Speaker 1", "Ben", "Ben", "Speaker 1"]
    with pytest.raises(VoiceError, match="the clip: two people talk in it"):
        enrol({"Ben": [dialogue()]}, LoudnessDiarizer(), digest="")
    with pytest.raises(UsageError, match="two speakers are called 'Ben'"):
        enrol({"Ben": [noise(1, LOUD_SOUND)], "Ben ": [noise(1, LOUD_SOUND)]}, LoudnessDiarizer(), digest="")


def voices(**vectors: tuple[float, ...]) -> dict[str, Float32Array]:
    return {name: np.array(each, np.float32) / np.float32(np.linalg.norm(each)) for name, each in vectors.items()}


def test_the_most_similar_pairs_count() -> None:
    known = KnownVoices(voices=voices(Anna=(1, 0, 0), Ben=(0.8, 0.6, 0)), digest="")
    assert known.names(voices(a=(0.9, 0.2, 0), b=(0.9, 0.5, 0), c=(0, 0, 1))) == {
        "a": "Anna", "b": "Ben", "c": "Speaker 3",
    }  # fmt: skip
    assert known.names({"a": None}) == {"a": "Speaker 1"}
    assert known.names({}) == {}


def test_a_number_is_nobodys_name() -> None:
    known = KnownVoices(voices=voices(**{"Speaker 1": (1, 0)}), digest="")
    assert known.names(voices(a=(0, 1), b=(1, 0))) == {"a": "Speaker 3", "b": "Speaker 1"}


def test_another_diarizer_hears_the_voices_for_itself(tmp_path: Path) -> None:
    path = folder(tmp_path, Ben=noise(2, LOUD_SOUND))
    one, other = LoudnessDiarizer(), LoudnessDiarizer()
    assert known_voices(path, one) is not known_voices(path, other)
    assert (one.listening, other.listening) == (1, 1)


def test_warnings_are_those_of_the_folder(tmp_path: Path) -> None:
    diarizer = LoudnessDiarizer()
    one = folder(tmp_path / "one", Anna=silence(2), Ben=noise(2, LOUD_SOUND))
    other = folder(tmp_path / "other", Anna__1=silence(2), Ben=noise(2, LOUD_SOUND))
    assert known_voices(one, diarizer).warnings == ("nobody speaks in Anna.wav, so it is no voice of Anna",)
    assert known_voices(other, diarizer).warnings == ("nobody speaks in Anna/1.wav, so it is no voice of Anna",)


def test_a_known_voice_may_be_called_like_a_speaker_without_a_name(tmp_path: Path) -> None:
    path = folder(tmp_path, **{"Speaker 2": noise(2, LOUD_SOUND), "Speaker 3": noise(2, QUIET_SOUND)})
    assert speakers(path) == ["Speaker 3", "Speaker 2", "Speaker 2", "Speaker 3"]


def test_one_name_composed_and_decomposed_is_one_person(tmp_path: Path) -> None:
    path = folder(tmp_path, Zoé=noise(2, LOUD_SOUND), Zoé__1=noise(3, LOUD_SOUND))
    diarizer = LoudnessDiarizer()
    assert list(known_voices(path, diarizer).voices) == ["Zo\u00e9"]
    assert diarizer.listening == 2


def test_only_names_are_names() -> None:
    with pytest.raises(UsageError, match="a known voice has no name"):
        enrol({" ": [noise(1, LOUD_SOUND)]}, LoudnessDiarizer(), digest="")


def test_how_alike_a_person_must_be_is_said_by_what_heard_them() -> None:
    known = KnownVoices(voices=voices(Anna=(1, 0)), digest="")
    turns = (Turn(start=0.0, end=1.0, speaker="Speaker 1"),)
    sounds = {"Speaker 1": voices(a=(1, 1))["a"]}
    assert known.named(Heard(turns=turns, voices=sounds))[0].speaker == "Anna"
    assert known.named(Heard(turns=turns, voices=sounds, same_person=0.8)) == turns
