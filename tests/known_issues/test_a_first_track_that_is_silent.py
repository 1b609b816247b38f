"""A file whose first audio track is silent gave an empty transcript, and nothing said that there are others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tones import ffmpeg, make_tone

from mtasr.audio.read import open_audio


def warnings_of(path: Path, **chosen: int) -> list[str]:
    with open_audio(path, **chosen) as stream:
        for _ in stream:
            pass
    return [line.partition(": ")[2] for line in stream.warnings]


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    return make_tone(tmp_path / "tone.wav", seconds=2)


@pytest.mark.parametrize(
    ("form", "others"), [("mkv", "1 (fra, default), 2"), ("mp4", "1 (fra, default), 2"), ("ts", "1 (fra), 2")]
)
def test_the_others_are_named(tmp_path: Path, tone: Path, form: str, others: str) -> None:
    silence = ["-f", "lavfi", "-t", "2", "-i", "anullsrc=r=44100:cl=mono"]
    maps = ["-map", "0", "-map", "1", "-map", "1", "-metadata:s:a:1", "language=fra"]
    path = tmp_path / f"a.{form}"
    ffmpeg(*silence, "-i", tone, *maps, "-disposition:a:0", "0", "-disposition:a:1", "default", "-c:a", "aac", path)
    assert warnings_of(path) == [f"audio track 0 is silent; --audio-stream chooses another: {others}"]
    assert warnings_of(path, track=1) == []


def test_tracks_with_sound_and_single_ones_need_no_word(tmp_path: Path, tone: Path) -> None:
    ffmpeg("-i", tone, "-map", "0", "-map", "0", tmp_path / "two.mkv")
    assert warnings_of(tmp_path / "two.mkv") == []
    ffmpeg("-f", "lavfi", "-t", "2", "-i", "anullsrc", tmp_path / "one.mkv")
    assert warnings_of(tmp_path / "one.mkv") == []


def test_a_silent_channel_is_no_silent_track(tmp_path: Path, tone: Path) -> None:
    ffmpeg("-i", tone, "-map", "0", "-map", "0", "-af", "pan=stereo|c1=c0", tmp_path / "a.mkv")
    with open_audio(tmp_path / "a.mkv", channel=0) as stream:
        assert np.abs(np.concatenate(list(stream))).max() < 1e-4
    assert stream.warnings == ()
    assert warnings_of(tmp_path / "a.mkv") == []
