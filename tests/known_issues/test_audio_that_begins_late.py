"""A recording whose first timestamp is not 0 was said to end too early, by as much as it begins late."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tones import ffmpeg, make_tone, read

from mtasr.audio.read import open_audio
from mtasr.spans import SAMPLE_RATE

CODECS = {
    "mkv": "flac", "mka": "libvorbis", "webm": "libopus", "nut": "pcm_s16le", "wma": "wmav2", "avi": "libmp3lame",
    "mp4": "aac", "m4a": "alac", "ts": "aac", "flv": "aac", "ogg": "libvorbis", "mpg": "mp2",
}  # fmt: skip


def late(folder: Path, form: str, *more: str) -> Path:
    tone = make_tone(folder / "tone.wav", seconds=10)
    ffmpeg("-itsoffset", "7", "-i", tone, "-c:a", CODECS[form], *more, folder / f"late.{form}")
    return folder / f"late.{form}"


@pytest.mark.parametrize("form", CODECS)
@pytest.mark.parametrize("offset", ["0", "30"])
def test_all_of_it_is_there_and_nothing_is_said(tmp_path: Path, form: str, offset: str) -> None:
    with open_audio(late(tmp_path, form, "-output_ts_offset", offset)) as stream:
        assert sum(map(len, stream)) / SAMPLE_RATE == pytest.approx(10, abs=0.15)
    assert (stream.warnings, stream.repairs) == ((), ())


@pytest.mark.parametrize("form", ["mkv", "mka", "webm", "nut", "wma"])
def test_what_is_missing_is_still_told(tmp_path: Path, form: str) -> None:
    path = late(tmp_path, form)
    os.truncate(path, path.stat().st_size * 7 // 10)
    assert len(read(path)) / SAMPLE_RATE < 8
    with open_audio(path) as stream:
        list(stream)
    assert stream.warnings
