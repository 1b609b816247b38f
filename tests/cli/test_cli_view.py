"""`mtasr view` with a fake model and real sound."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from fake_model import FakeModel, Run
from speech import speak, write_wav

from mtasr.audio.ffmpeg import find_ffmpeg


@pytest.fixture
def spoken(folder: Path) -> Path:
    write_wav(folder / "talk.wav", speak("Hello there. How are you?"))
    return folder


def test_a_page_of_a_recording(run: Run, model: FakeModel, spoken: Path) -> None:
    result = run("view", "talk.wav", "--language", "fr")
    assert (result.exit_code, result.stdout) == (0, "")
    size = (spoken / "talk.html").stat().st_size
    assert result.stderr.endswith(f"talk.wav: wrote talk.html ({size / 1e6:.1f} MB)\n")
    ((_, options),) = model.calls
    assert (options.word_timestamps, options.language) == (True, "fr")
    page = (spoken / "talk.html").read_text("utf-8")
    assert "Hello there." in page
    assert 'id="sound"' in page
    assert not (spoken / "talk.sound.mp3").exists()
    assert not list(spoken.glob(".mtasr*"))


def test_a_page_without_word_times(run: Run, model: FakeModel, spoken: Path) -> None:
    assert run("view", "talk.wav", "--no-word-timestamps").exit_code == 0
    assert not model.calls[0][1].word_timestamps
    assert "Hello there." in (spoken / "talk.html").read_text("utf-8")


def test_a_transcript_that_is_there_needs_no_model(run: Run, model: FakeModel, spoken: Path) -> None:
    (spoken / "talk.json").write_text(json.dumps({"segments": [{"start": 0, "end": 1, "text": "Written before"}]}))
    result = run("view", "talk.wav", "--transcript", "talk.json", "--sound", "beside", "-o", "pages/it.html", "-q")
    assert (result.exit_code, result.output, model.loads) == (0, "", [])
    assert "Written before" in (spoken / "pages" / "it.html").read_text("utf-8")
    assert (spoken / "pages" / "it.sound.mp3").stat().st_size > 1000


def test_a_transcript_of_something_longer(run: Run, spoken: Path) -> None:
    (spoken / "talk.json").write_text(json.dumps({"segments": [{"start": 0, "end": 60, "text": "Other"}]}))
    result = run("view", "talk.wav", "--transcript", "talk.json")
    assert result.exit_code == 0
    assert "but the transcript goes on to 60.0 s; it may be that of another recording" in result.stderr


@pytest.mark.parametrize(
    ("text", "code"), [('{"segments": [{"start": 0, "end": 60, "text": "Other"}]}', 2), ('{"text": 1}', 3), ("no", 3)]
)
def test_a_page_is_not_replaced_by_one_with_a_transcript_of_something_else(
    run: Run, spoken: Path, text: str, code: int
) -> None:
    (spoken / "talk.json").write_text(text)
    for name in ("talk.html", "talk.sound.mp3"):
        (spoken / name).write_text("from before")
    result = run("view", "talk.wav", "--transcript", "talk.json", "--sound", "beside")
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1)
    for name in ("talk.html", "talk.sound.mp3"):
        assert (spoken / name).read_text() == "from before"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("no.wav",), 3, "no.wav: no such file"),
        (("-",), 2, "view reads the recording twice"),
        (("talk.wav", "-o", "talk.wav"), 2, "talk.wav: would be overwritten"),
        (("talk.wav", "--transcript", "t.json", "-o", "t.json"), 2, "t.json: would be overwritten"),
        (("talk.wav", "--transcript", "no.json"), 3, "no.json: no such file"),
        (("talk.wav", "--sound", "nowhere"), 2, "Invalid value for '--sound'"),
        (("talk.wav", "-o", "."), 2, "Invalid value for '--output' / '-o': File '.' is a directory"),
        (("talk.wav", "-o", ""), 4, ".: is a folder"),
        (("talk.wav", "-o", "/proc/none/a.html"), 4, "/proc/none: cannot write here"),
    ],
)
def test_errors(run: Run, model: FakeModel, spoken: Path, args: tuple[str, ...], code: int, message: str) -> None:
    (spoken / "t.json").write_text('{"segments": []}')
    result = run("view", *args)
    assert (result.exit_code, model.loads) == (code, [])
    assert result.stderr.startswith(f"mtasr: error: {message}")
    assert not list(spoken.glob("*.html"))


@pytest.mark.parametrize("sound", ["embed", "beside"])
def test_an_mp3_is_not_replaced_by_its_own_sound(run: Run, spoken: Path, sound: str) -> None:
    subprocess.run([find_ffmpeg(), "-loglevel", "error", "-i", "talk.wav", "talk.mp3"], cwd=spoken, check=True)
    before = (spoken / "talk.mp3").read_bytes()
    assert run("view", "talk.mp3", "--sound", sound).exit_code == 0
    assert (spoken / "talk.mp3").read_bytes() == before
    assert (spoken / "talk.sound.mp3").exists() == (sound == "beside")
