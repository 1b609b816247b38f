"""Recordings whose speakers are told apart while they are decoded."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import HearingEngine, LoudIsSpeech
from loudness_diarizer import LOUD_SOUND, LoudnessDiarizer, dialogue, noise
from speech import write_wav

import mtasr
from mtasr.arrays import Float32Array
from mtasr.batch import BatchRun, gather, plan
from mtasr.engines.engine import EngineLimits
from mtasr.errors import AudioDecodeError, InputError, UsageError
from mtasr.formats.rttm import Rttm
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.diarized import SpeakerListener
from mtasr.speakers.options import SpeakerOptions
from mtasr.speakers.voices import enrol
from mtasr.transcribe import Model
from mtasr.transcript import Segment, Turn


def model(diarizer: LoudnessDiarizer | None = None, **limits: int) -> Model:
    diarizer = diarizer or LoudnessDiarizer()
    engine = HearingEngine(limits=EngineLimits(**limits))  # type: ignore[arg-type]
    return Model(engine, detector=LoudIsSpeech, diarizer=lambda: diarizer)


@pytest.mark.parametrize("previous_text", [False, True])
def test_every_segment_and_word_has_a_speaker(previous_text: bool) -> None:
    found = model().transcribe(dialogue(), diarize=True, condition_on_previous_text=previous_text)
    assert found.turns is not None
    assert [(turn.start, turn.speaker) for turn in found.turns] == [
        (1.0, "Speaker 1"), (6.0, "Speaker 2"), (13.0, "Speaker 2"), (16.0, "Speaker 1"),
    ]  # fmt: skip
    assert {each.speaker for each in found} == {"Speaker 1", "Speaker 2"}
    assert [each.id for each in found] == list(range(len(found.segments)))
    assert all(a.end <= b.start for a, b in itertools.pairwise(found.segments))
    for each in found:
        assert each.words
        assert {word.speaker for word in each.words} == {each.speaker}
    plain = model().transcribe(dialogue(), condition_on_previous_text=previous_text)
    assert found.text == plain.text
    assert plain.turns is None
    assert {each.speaker for each in plain} == {None}


def test_segments_come_at_the_end_and_progress_before() -> None:
    seen: list[float] = []
    with model(workers=2, batch_size=1).stream(dialogue(), diarize=True) as stream:
        stream.on_progress = lambda seconds, total: seen.append(seconds)
        next(stream)
        assert seen == sorted(seen)
        assert len(seen) >= 3
        assert seen[-1] == stream.position == pytest.approx(20, abs=1)


def test_names_and_numbers() -> None:
    diarizer = LoudnessDiarizer()
    found = model(diarizer).transcribe(dialogue(), diarize=True, speakers=["Anna", ""], max_speakers=3)
    assert [each.speaker for each in found.turns or ()] == ["Anna", "Speaker 2", "Speaker 2", "Anna"]
    assert diarizer.asked == [SpeakerOptions(speakers=("Anna", ""), max_speakers=3)]
    options = SpeakerOptions(num_speakers=2)
    model(diarizer).transcribe(dialogue(), diarize=options)
    assert diarizer.asked[1:] == [options]


def test_clips_alone_have_turns() -> None:
    found = model().transcribe(dialogue(), diarize=True, clip_timestamps=(6.5, 8))
    assert found.turns == (Turn(start=6.5, end=8.0, speaker="Speaker 1"),)
    assert {each.speaker for each in found} == {"Speaker 1"}


def test_without_voice_activity_too() -> None:
    found = model().transcribe(dialogue(), diarize=True, vad_filter=False)
    assert {word.speaker for each in found for word in each.words or ()} == {"Speaker 1", "Speaker 2"}


def test_silence_has_no_speaker() -> None:
    found = model().transcribe(np.zeros(5 * SAMPLE_RATE, np.float32), diarize=True)
    assert (found.turns, found.segments) == ((), ())
    empty = model().transcribe(np.zeros(0, np.float32), diarize=True)
    assert (empty.turns, empty.segments) == ((), ())


def test_translations_and_readings_have_speakers() -> None:
    found = model().transcribe(dialogue(), diarize=True, language="fr", also_translate=True, n_best=2)
    assert found.translation is not None
    assert found.alternatives is not None
    for each in (*found.translation, *found.alternatives):
        seconds = {
            name: sum(
                max(0, min(turn.end, each.end) - max(turn.start, each.start))
                for turn in found.turns or ()
                if turn.speaker == name
            )
            for name in ("Speaker 1", "Speaker 2")
        }
        assert each.speaker is not None
        assert seconds[each.speaker] == max(seconds.values())
    assert found.translation.turns == found.turns


def test_neither_order_nor_workers_change_anything() -> None:
    sounds = [dialogue(), dialogue()[5 * SAMPLE_RATE :], noise(4, LOUD_SOUND)]
    alone = [model().transcribe(each, diarize=True) for each in sounds]
    with model(workers=3, batch_size=2).stream_all(sounds[::-1], diarize=True) as streams:
        assert [stream.transcript() for stream in streams][::-1] == alone


def test_split_channels_have_their_speakers() -> None:
    with pytest.raises(UsageError, match="diarize cannot be used with channels split"):
        model().transcribe(dialogue(), diarize=True, channels="split")


@pytest.mark.parametrize("keyword", ["num_speakers", "min_speakers", "max_speakers"])
def test_numbers_need_diarize(keyword: str) -> None:
    with pytest.raises(UsageError, match=f"{keyword} needs diarize"):
        model().transcribe(dialogue(), **{keyword: 2})  # type: ignore[arg-type]


@pytest.mark.parametrize("previous_text", [False, True])
def test_a_diarizer_that_fails_fails_the_recording_alone(previous_text: bool) -> None:
    options: Any = {"diarize": True, "condition_on_previous_text": previous_text}
    with model(LoudnessDiarizer(fails_at=5)).stream_all([dialogue(), noise(4, LOUD_SOUND)], **options) as streams:
        with pytest.raises(RuntimeError, match="the diarizer stopped"):
            streams[0].transcript()
        assert streams[1].transcript().turns == (Turn(start=0.0, end=4.0, speaker="Speaker 1"),)


def test_leaving_early_ends_all_threads() -> None:
    before = set(threading.enumerate())
    recogniser = model(workers=2, batch_size=1)
    with recogniser.stream(np.concatenate([dialogue()] * 20), diarize=True) as stream:
        stream.on_progress = lambda seconds, total: stream.close()
        with pytest.raises(ValueError, match="closed before its end"):
            stream.transcript()
    recogniser.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()


def test_a_recording_that_cannot_be_opened_is_not_listened_to(tmp_path: Path) -> None:
    diarizer = LoudnessDiarizer()
    with pytest.raises(InputError):
        model(diarizer).transcribe(tmp_path / "missing.wav", diarize=True)
    assert diarizer.listening == 0


@pytest.mark.parametrize("stops_after", [1, 2])
def test_a_resumed_batch_writes_the_same_bytes(tmp_path: Path, stops_after: int) -> None:
    source = tmp_path / "talk.wav"
    write_wav(source, np.concatenate([dialogue()] * 2))
    formats = ["json", "srt", "rttm"]

    def files(folder: str) -> dict[str, bytes]:
        return {each.suffix: each.read_bytes() for each in (tmp_path / folder).iterdir() if each.is_file()}

    def run(recogniser: Model, folder: str, **settings: Any) -> None:
        jobs = plan(gather([str(source)]), tmp_path / folder, formats)
        batch = BatchRun(jobs, recogniser, DecodingOptions(language="en"), diarize=True, **settings)
        assert [each.result for each in batch.run()] == ["done"]

    whole = model()
    run(whole, "whole")
    assert isinstance(whole.engine, HearingEngine)
    count = itertools.count()

    def fails(heard: object) -> bool:
        return next(count) >= stops_after

    stopping = Model(
        HearingEngine(limits=EngineLimits(batch_size=1), fails=fails), detector=LoudIsSpeech, diarizer=LoudnessDiarizer
    )
    jobs = plan(gather([str(source)]), tmp_path / "resumed", formats)
    stopped = BatchRun(jobs, stopping, DecodingOptions(language="en"), diarize=True)
    assert [each.result for each in stopped.run()] == ["failed"]
    resumed = model()
    run(resumed, "resumed", existing="resume")
    assert isinstance(resumed.engine, HearingEngine)
    assert len(resumed.engine.encoded) == len(whole.engine.encoded) - stops_after
    assert files("resumed") == files("whole")
    assert set(files("whole")) == {".json", ".srt", ".rttm"}


@pytest.mark.parametrize("options", [{"num_speakers": 5}, {"min_speakers": 5}])
def test_fewer_speakers_than_asked_for_are_told(options: dict[str, Any]) -> None:
    told = "only 2 of 5 speakers could be told apart"
    assert mtasr.diarize(dialogue(), diarizer=LoudnessDiarizer(), **options).warnings == (told,)
    with model().stream(dialogue(), diarize=True, **options) as stream:
        assert stream.warnings == ()
        stream.transcript()
        assert stream.warnings == (told,)
    for fewer in ({"num_speakers": 2}, {"max_speakers": 5}):
        assert mtasr.diarize(dialogue(), diarizer=LoudnessDiarizer(), **fewer).warnings == ()
    assert mtasr.diarize(np.zeros(SAMPLE_RATE, np.float32), diarizer=LoudnessDiarizer(), **options).warnings == ()


def test_clips_of_no_use_are_told() -> None:
    clips = {"Anna": [noise(1, 0.0)], "Ben": [noise(2, LOUD_SOUND)]}
    known = enrol(clips, LoudnessDiarizer(), digest="")
    with model().stream(dialogue(), diarize=True, voices=known) as stream:
        assert {turn.speaker for turn in stream.transcript().turns or ()} == {"Speaker 1", "Ben"}
        assert stream.warnings == ("nobody speaks in a clip of Anna, so it is no voice of Anna",)


@pytest.mark.parametrize("previous_text", [False, True])
def test_what_was_read_before_an_error_is_told_apart(previous_text: bool) -> None:
    def damaged() -> Iterator[Float32Array]:
        yield np.concatenate([dialogue()] * 3)
        raise AudioDecodeError("the rest is damaged")

    seen: list[Segment] = []
    options: dict[str, Any] = {"diarize": True, "condition_on_previous_text": previous_text}
    with model().stream(damaged(), **options) as stream, pytest.raises(AudioDecodeError, match="the rest is damaged"):
        seen.extend(stream)
    assert {segment.speaker for segment in seen} == {"Speaker 1", "Speaker 2"}


def test_a_recording_closed_while_its_listener_begins_is_not_heard() -> None:
    class Closed(LoudnessDiarizer):
        def listen(self) -> Any:
            listener.leave()
            return super().listen()

    listener = SpeakerListener(Closed(), SpeakerOptions())
    listener.add(noise(1, LOUD_SOUND))
    assert listener.turns() == ()


def test_voices_are_heard_once_for_a_batch(tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    write_wav(tmp_path / "voices" / "Ben.wav", noise(2, LOUD_SOUND))
    for name in ("a", "b"):
        write_wav(tmp_path / f"{name}.wav", dialogue())
    diarizer = LoudnessDiarizer()
    jobs = plan(gather([str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]), tmp_path, ["rttm"])
    options = SpeakerOptions(voices=tmp_path / "voices")
    batch = BatchRun(jobs, model(diarizer), DecodingOptions(language="en"), diarize=lambda: options)
    assert [each.result for each in batch.run()] == ["done", "done"]
    assert diarizer.listening == 3
    assert " Ben " in (tmp_path / "b.rttm").read_text()


def test_a_batch_of_another_speaker_model_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        write_wav(tmp_path / f"{name}.wav", dialogue())
    (tmp_path / "c.wav").write_bytes(b"no sound")

    def results(**settings: Any) -> list[str]:
        jobs = plan(gather([str(tmp_path / f"{name}.wav") for name in "abc"]), tmp_path / "out", ["rttm"])
        batch = BatchRun(jobs, model(), DecodingOptions(language="en"), diarize=True, **settings)
        return [each.result for each in batch.run()]

    assert results() == ["done", "done", "failed"]
    assert results(existing="resume") == ["skipped", "skipped", "failed"]
    monkeypatch.setenv("MTASR_SPEAKER_MODEL", "speakers-campplus")
    assert results(existing="resume") == ["done", "done", "failed"]


def test_corrected_turns_decode_nothing_again(tmp_path: Path) -> None:
    for name in "ab":
        write_wav(tmp_path / f"{name}.wav", dialogue())
    (tmp_path / "c.wav").write_bytes(b"no sound")
    jobs = plan(gather([str(tmp_path / f"{name}.wav") for name in "abc"]), tmp_path / "out", ["json"])

    def decoded(changed: str) -> tuple[list[str], int]:
        """How the recordings ended with these turns of the first, and how many windows were decoded."""
        turns = {name: (Turn(start=0.0, end=20.0, speaker=name),) for name in "abc"} | {
            "a": (Turn(start=0.0, end=10.0, speaker="Ann"), Turn(start=10.0, end=20.0, speaker=changed))
        }
        recogniser, options = model(), DecodingOptions(language="en", word_timestamps=True)
        rttm = Rttm(tmp_path / "turns.rttm", turns)
        endings = [each.result for each in BatchRun(jobs, recogniser, options, turns=rttm, existing="resume").run()]
        assert isinstance(recogniser.engine, HearingEngine)
        return endings, len(recogniser.engine.encoded)

    endings, windows = decoded("Bob")
    assert (endings, windows > 0) == (["done", "done", "failed"], True)
    assert decoded("Bob") == (["skipped", "skipped", "failed"], 0)
    assert decoded("Bea") == (["skipped", "done", "failed"], 0)
    assert '"Bea"' in (tmp_path / "out" / "a.json").read_text()
    assert decoded("Bea") == (["skipped", "skipped", "failed"], 0)
