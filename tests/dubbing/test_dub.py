"""A recording with an English voice: times, loudness, tracks, marks, and what is left as it was."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_model import segment
from fake_voice import FakeVoice

from mtasr.audio.dubbed import has_picture, loudness
from mtasr.audio.ffmpeg import find_ffmpeg
from mtasr.audio.read import open_audio
from mtasr.dubbing import dub as dub_module
from mtasr.dubbing.dub import Dub, check_settings, dub, dub_transcript, dubbed_name, is_dubbed
from mtasr.errors import FfmpegError, InputError, OutputError, UsageError
from mtasr.options import DecodingOptions
from mtasr.speech.marking import read_mark
from mtasr.transcript import Coverage, Segment, Transcript

_OPTIONS = DecodingOptions(task="translate")
_RATE = 16_000


def recording(path: Path, *, picture: bool = False, volume: float = 0.1) -> Path:
    """Eight seconds of a tone, with a picture if wanted."""
    inputs = ["-f", "lavfi", "-i", f"sine=frequency=600:duration=8:sample_rate=16000,volume={volume}"]
    if picture:
        inputs += ["-f", "lavfi", "-i", "color=size=64x48:rate=5:duration=8", "-pix_fmt", "yuv420p"]
    subprocess.run([find_ffmpeg(), "-loglevel", "error", *inputs, path], check=True)
    return path


def transcript(*segments: Segment, language: str = "es", coverage: Coverage | None = None) -> Transcript:
    return Transcript(language=language, language_probability=1, duration=8, segments=segments, coverage=coverage)


_HELLO = replace(segment(0, " Hello there"), start=1.0, end=2.0)
_BYE = replace(segment(1, " Good bye"), start=5.0, end=6.0)


def _dub(path: Path, target: Path, *segments: Segment, **settings: object) -> Dub:
    said = transcript(*(segments or (_HELLO, _BYE)))
    return dub_transcript(path, said, FakeVoice(), target, options=_OPTIONS, **settings)  # type: ignore[arg-type]


def _samples(path: Path, track: int = 0) -> np.ndarray:
    with open_audio(str(path), track=track) as audio:
        return np.concatenate(list(audio))


def _sounds(path: Path, frequency: float, track: int = 0) -> np.ndarray:
    """For each tenth of a second, whether there is a tone of this frequency."""
    samples = _samples(path, track)
    pieces = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)
    tone = np.exp(-2j * np.pi * frequency * np.arange(1600) / _RATE)
    return np.abs(pieces @ tone) / 800 > 0.01


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".mov"])
def test_a_video_gets_a_track(tmp_path: Path, ending: str) -> None:
    video = recording(tmp_path / f"talk{ending}", picture=True)
    target = tmp_path / dubbed_name(video)
    assert target.name == f"talk.en{ending}"
    _dub(video, target)
    said = subprocess.run([find_ffmpeg(), "-i", target], capture_output=True, text=True, check=False).stderr
    assert said.count(": Video:") == 1
    assert said.count(": Audio:") == 2
    assert "(eng): Audio:" in said
    assert "Synthetic speech" in said
    mark = read_mark(target)
    assert mark is not None
    assert (mark.engine, mark.voice) == ("translation", "fake")
    voice = _sounds(target, 220)
    assert voice[11:15].all()  # 10 letters, .5 s, from 1.0 s on
    assert not voice[:9].any()
    assert not voice[17:49].any()
    assert _sounds(target, 600, track=1)[5:75].all()


@pytest.mark.parametrize("ending", [".wav", ".mp3", ".ogg", ".m4a", ".flac"])
def test_other_recordings_become_speech(tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"talk.en{ending}"
    source = recording(tmp_path / f"talk{ending}")
    _dub(source, target)
    assert read_mark(target) is not None
    assert not _sounds(target, 600).any()
    assert len(_samples(target)) / _RATE == pytest.approx(8, abs=0.1)
    assert is_dubbed(target, source, "fake")
    assert not is_dubbed(target, source, "another")
    assert not is_dubbed(source, source, "fake")


def test_the_original_can_stay_underneath(tmp_path: Path) -> None:
    source = recording(tmp_path / "talk.wav", volume=1)
    _dub(source, tmp_path / "talk.en.wav", keep_original=-6)
    assert _sounds(tmp_path / "talk.en.wav", 600)[2:78].all()
    assert _sounds(tmp_path / "talk.en.wav", 220)[11:15].all()


def test_a_track_that_begins_late_does_not_delay_the_voice(tmp_path: Path) -> None:
    source = recording(tmp_path / "whole.mkv", picture=True)
    late = ["-i", source, "-itsoffset", "3", "-i", source, "-map", "0:v", "-map", "1:a", "-c", "copy", "-t", "8"]
    subprocess.run([find_ffmpeg(), "-loglevel", "error", *late, tmp_path / "talk.mkv"], check=True)
    _dub(tmp_path / "talk.mkv", tmp_path / "talk.en.mkv", keep_original=-6)
    assert not _sounds(tmp_path / "talk.en.mkv", 600)[:29].any()
    voice = _sounds(tmp_path / "talk.en.mkv", 220)
    assert voice[11:15].all()
    assert not voice[17:49].any()


def test_a_video_without_timestamps_gets_a_track(tmp_path: Path) -> None:
    source = tmp_path / "talk.mpg"
    inputs = ["-f", "lavfi", "-i", "sine=600:duration=8", "-f", "lavfi", "-i", "color=size=64x48:rate=25:duration=8"]
    subprocess.run([find_ffmpeg(), "-loglevel", "error", *inputs, source], check=True)
    assert _dub(source, tmp_path / dubbed_name(source)).path.name == "talk.en.mkv"
    assert _sounds(tmp_path / "talk.en.mkv", 220)[11:15].all()


@pytest.mark.parametrize("volume", [0.05, 0.5, 4])
def test_the_voice_is_as_loud_as_the_recording(tmp_path: Path, volume: float) -> None:
    source = recording(tmp_path / "talk.wav", volume=volume)
    _dub(source, tmp_path / "talk.en.wav", replace(_HELLO, text=" Hello" * 10))
    wanted, have = loudness(source), loudness(tmp_path / "talk.en.wav")
    assert wanted is not None
    assert have == pytest.approx(wanted, abs=2)


def test_silence_has_no_loudness(tmp_path: Path) -> None:
    assert loudness(recording(tmp_path / "talk.wav", volume=0)) is None
    assert _dub(tmp_path / "talk.wav", tmp_path / "talk.en.wav").lines


def test_what_is_not_reliable_is_left_out(tmp_path: Path) -> None:
    loop = replace(_HELLO, id=1, start=2.5, end=3, compression_ratio=3.0)
    unsure = replace(_HELLO, id=2, start=3, end=3.5, avg_logprob=-1.5)
    nobody = replace(_HELLO, id=3, start=3.5, end=4.5)
    mute = replace(_HELLO, id=4, start=4.6, end=4.8, text=" ...")
    source, voice = recording(tmp_path / "talk.wav"), FakeVoice()
    said = transcript(
        _HELLO, loop, unsure, nobody, mute, _BYE, coverage=Coverage(speech=4, text_without_speech=((3.6, 4.6),))
    )
    found = dub_transcript(source, said, voice, tmp_path / "talk.en.wav", options=_OPTIONS)
    assert {text for text, _ in voice.said} == {"Hello there", "...", "Good bye"}
    assert found.left_out == (loop, unsure, nobody, mute)
    assert [each.text for each in found.transcript] == [" Hello there", " Good bye"]
    assert [(each.id, each.start, round(each.end, 3)) for each in found.transcript] == [(0, 1, 1.5), (1, 5, 5.35)]


def test_late_lines_are_told(tmp_path: Path) -> None:
    source = recording(tmp_path / "talk.wav")
    first = replace(_HELLO, text="x" * 40, end=1.5)
    second = replace(_BYE, start=1.6, end=2.0)
    found = _dub(source, tmp_path / "talk.en.wav", first, second)
    assert [each.line.text for each in found.late] == ["Good bye"]
    assert found.lines[0].speed == 1.3
    assert found.beyond == 0
    last = _dub(source, tmp_path / "talk.en.wav", replace(_BYE, text="x" * 100))
    assert last.lines[0].speed == 1.3
    assert last.beyond == pytest.approx(5 + 5 / 1.3 - 8, abs=0.01)


def test_what_cannot_be_dubbed(tmp_path: Path) -> None:
    source = recording(tmp_path / "talk.wav")
    voice, target = FakeVoice(), tmp_path / "talk.en.wav"
    for said, reason in (
        (transcript(_HELLO, language="en"), "in English already"),
        (transcript(), "no speech that could be translated"),
        (transcript(replace(_HELLO, text=" ...")), "no words"),
    ):
        with pytest.raises(InputError, match=reason):
            dub_transcript(source, said, voice, target, options=_OPTIONS)
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(InputError, match=r"text\.wav: is damaged"):
        has_picture(tmp_path / "text.wav")
    assert not target.exists()


def test_settings_and_results_are_checked_first(tmp_path: Path) -> None:
    source = recording(tmp_path / "talk.wav")
    for keep_original, max_speed in ((1, 1.3), (-61, 1.3), (None, 0.9), (None, 2.1)):
        with pytest.raises(UsageError, match="must be from"):
            check_settings(keep_original, max_speed)
    with pytest.raises(UsageError, match="is the recording itself"):
        dub(source, output=source)
    with pytest.raises(UsageError, match="must end with"):
        dub(source, output=tmp_path / "talk.doc")
    with pytest.raises(OutputError, match="no such folder"):
        dub(source, output=tmp_path / "none" / "talk.wav")


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = recording(tmp_path / "talk.wav"), tmp_path / "talk.en.wav"
    target.write_bytes(b"before")

    def fail(*_: object, **__: object) -> None:
        raise FfmpegError("ffmpeg: the disk is full")

    monkeypatch.setattr(dub_module, "write_dubbed", fail)
    with pytest.raises(FfmpegError):
        _dub(source, target)
    assert target.read_bytes() == b"before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["talk.en.wav", "talk.wav"]
