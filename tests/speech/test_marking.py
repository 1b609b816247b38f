"""Marks: what is written into a container is read from it, and nothing else is taken for a mark."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fake_voice import FakeVoice

from mtasr.audio.ffmpeg import find_ffmpeg
from mtasr.audio.write import SPEECH_ENDINGS, write_sound
from mtasr.errors import FfmpegError, InputError, InputNotFoundError, OutputError, UsageError
from mtasr.speech.files import ANNOUNCEMENT, save_speech
from mtasr.speech.marking import Mark, new_mark, read_mark

_TONE = (0.3 * np.sin(np.arange(6_000) / 10)).astype(np.float32)
_MARK = new_mark(engine="text", voice="jm_kumo", source=b"hello", consent='Ann = "x"; ü #1 \\ [y]')


def test_a_mark_says_what_was_spoken() -> None:
    assert _MARK.source == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert _MARK.tool.startswith("mtasr ")
    assert json.loads(_MARK.dump())["synthetic"] is True
    assert "consent" not in json.loads(new_mark(engine="text", voice="x", source="00").dump())


@pytest.mark.parametrize("ending", SPEECH_ENDINGS)
def test_every_container_keeps_it(tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"speech{ending}"
    write_sound(_TONE, 24_000, target, ending, _MARK.tags)
    assert read_mark(target) == _MARK


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".mov"])
def test_the_track_of_a_video_keeps_it(tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"talk{ending}"
    tags = [part for name, value in _MARK.tags.items() for part in ("-metadata", f"{name}={value}")]
    inputs = ["-f", "lavfi", "-i", "color=size=64x64:rate=5:duration=1", "-f", "lavfi", "-i", "sine=duration=1"]
    subprocess.run([find_ffmpeg(), "-loglevel", "error", *inputs, *tags, target], check=True)
    assert read_mark(target) == _MARK


@pytest.mark.parametrize(
    "comment",
    ["hello", "{}", "[]", '{"synthetic": true}', '{"synthetic": 1, "tool": "x"}', "[" * 5_000, _MARK.dump()[:-1],
     _MARK.dump().replace('"jm_kumo"', "3"), _MARK.dump().replace("true", "false")],
)  # fmt: skip
def test_other_comments_are_no_marks(tmp_path: Path, comment: str) -> None:
    write_sound(_TONE, 24_000, tmp_path / "x.flac", ".flac", {"comment": comment})
    assert read_mark(tmp_path / "x.flac") is None


def test_files_without_sound(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such file"):
        read_mark(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(InputError, match=r"text\.wav: not a recording"):
        read_mark(tmp_path / "text.wav")


def test_speech_is_saved_with_its_mark(tmp_path: Path) -> None:
    voice, target = FakeVoice(), tmp_path / "hello.flac"
    speech = save_speech(voice, "hello", target, speed=2)
    assert voice.said == [("hello", 2)]
    assert speech.seconds == pytest.approx(0.125)
    mark = read_mark(target)
    assert mark == Mark(
        tool=_MARK.tool, engine="text", voice="fake", source=_MARK.source, created=mark.created if mark else ""
    )


def test_an_announcement_comes_first(tmp_path: Path) -> None:
    voice = FakeVoice()
    speech = save_speech(voice, "hello", tmp_path / "hello.wav", announce=True)
    letters = sum(each.isalnum() for each in ANNOUNCEMENT)
    assert speech.seconds == pytest.approx(0.05 * letters + 0.6 + 0.25)


def test_what_cannot_be_saved_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, name, error in (
        ("...", "x.wav", UsageError), ("hello", "x.doc", UsageError), ("hello", "no folder/x.wav", OutputError),
    ):  # fmt: skip
        with pytest.raises(error):
            save_speech(FakeVoice(), text, tmp_path / name)
    monkeypatch.setitem(SPEECH_ENDINGS, ".wav", ("-c:a", "no-such-encoder", "-f", "wav"))
    with pytest.raises(FfmpegError, match="cannot write WAV"):
        save_speech(FakeVoice(), "hello", tmp_path / "x.wav")
    assert list(tmp_path.iterdir()) == []
