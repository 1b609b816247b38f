"""`mtasr subtitle` with a fake model and a real video."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from fake_diarizer import FakeDiarizer
from fake_model import FakeModel, Run, segment

from mtasr.audio.ffmpeg import find_ffmpeg
from mtasr.transcript import Turn, Word

TEXT = " Hello there, how are you?"
WORDS = tuple(
    Word(word=f" {word}", start=n * 0.5, end=n * 0.5 + 0.5, probability=0.9) for n, word in enumerate(TEXT.split())
)
spoken = replace(segment(0, TEXT), end=3.0, words=WORDS)


@pytest.fixture
def video(folder: Path) -> Path:
    make = ["-f", "lavfi", "-i", "testsrc=size=96x64:rate=5:duration=4", "-f", "lavfi", "-i", "sine=duration=4"]
    subprocess.run([find_ffmpeg(), "-loglevel", "error", *make, folder / "talk.mp4"], check=True)
    return folder / "talk.mp4"


def text_in(video: Path, number: int = 0) -> str:
    command = [find_ffmpeg(), "-loglevel", "error", "-i", video, "-map", f"0:s:{number}", "-f", "srt", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_embedding_what_is_said(run: Run, model: FakeModel, video: Path) -> None:
    result = run("subtitle", "talk.mp4", "--embed")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith("talk.mp4: wrote talk.subtitled.mp4\n")
    ((source, options),) = model.calls
    assert (source, options.word_timestamps) == ("talk.mp4", True)
    said = " ".join(text_in(video.with_name("talk.subtitled.mp4")).split())
    assert "Hello there." in said
    assert "How are you?" in said
    assert not list(video.parent.glob(".mtasr*"))


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--no-word-timestamps",), False),
        (("--subtitle-style", "raw"), False),
        (("--subtitle-style", "raw", "--word-timestamps", "--highlight-words"), True),
        (("--task", "translate"), False),
        (("--task", "translate", "--word-timestamps"), True),
    ],
    ids=str,
)
def test_word_times_as_asked_for(
    run: Run, model: FakeModel, video: Path, args: tuple[str, ...], expected: bool
) -> None:
    assert run("subtitle", "talk.mp4", "--embed", *args).exit_code == 0
    assert [options.word_timestamps for _, options in model.calls] == [expected]
    assert "Hello there." in " ".join(text_in(video.with_name("talk.subtitled.mp4")).split())


def test_both_languages(run: Run, video: Path) -> None:
    result = run("subtitle", "talk.mp4", "--embed", "--also-translate", "-o", "both.mkv", "-q")
    assert (result.exit_code, result.output) == (0, "")
    assert "English:" not in text_in(video.with_name("both.mkv"), 0)
    assert "English: Hello there." in text_in(video.with_name("both.mkv"), 1).replace("\n", " ")


def test_subtitles_that_are_there_need_no_model(run: Run, model: FakeModel, video: Path) -> None:
    (video.parent / "a.json").write_text(json.dumps({"segments": [{"start": 1, "end": 3, "text": "Written before"}]}))
    assert run("subtitle", "talk.mp4", "--embed", "--subtitles", "a.json", "-o", "a.mkv").exit_code == 0
    assert text_in(video.with_name("a.mkv")).splitlines()[2] == "Written before"
    (video.parent / "a.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\nWritten before\n")
    assert run("subtitle", "talk.mp4", "--embed", "--subtitles", "a.srt").exit_code == 0
    assert text_in(video.with_name("talk.subtitled.mp4")).splitlines()[2] == "Written before"
    assert model.loads == []


def test_subtitles_that_are_there_get_speakers(
    run: Run, model: FakeModel, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = (Turn(start=0.0, end=1.5, speaker="Speaker 1"), Turn(start=2.0, end=3.0, speaker="Speaker 2"))
    monkeypatch.setattr("mtasr.speakers.diarize.load_diarizer", FakeDiarizer(turns).load)
    segments = [{"start": 0, "end": 1, "text": "Good morning."}, {"start": 2, "end": 3, "text": "Hello."}]
    (video.parent / "a.json").write_text(json.dumps({"segments": segments}))
    result = run("subtitle", "talk.mp4", "--embed", "--subtitles", "a.json", "-o", "a.mkv", "--diarize")
    assert (result.exit_code, model.loads) == (0, []), result.stderr
    assert text_in(video.with_name("a.mkv")).splitlines()[2::4] == ["Speaker 1: Good morning.", "Speaker 2: Hello."]


def test_a_folder_for_the_video(run: Run, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (video.parent / "a.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\nWritten before\n")
    embed = ("subtitle", "talk.mp4", "--embed", "--subtitles", "a.srt")
    result = run(*embed, "--output-dir", "new/out")
    assert (result.exit_code, result.stderr) == (0, "talk.mp4: wrote new/out/talk.subtitled.mp4\n")
    assert (video.parent / "new" / "out" / "talk.subtitled.mp4").exists()
    monkeypatch.setenv("MTASR_OUTPUT_DIR", "set")
    assert run(*embed).exit_code == 0
    assert (video.parent / "set" / "talk.subtitled.mp4").exists()
    assert run(*embed, "-o", "it.mp4").stderr == "talk.mp4: wrote it.mp4\n"
    refused = run(*embed, "-o", "it.mp4", "--output-dir", "out")
    assert (refused.exit_code, "--output and --output-dir exclude each other" in refused.stderr) == (2, True)


def test_burning_draws_what_is_laid_out(
    run: Run, model: FakeModel, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def burn(video: Path, subtitles: Path, result: Path, *more: object) -> tuple[str, ...]:
        drawn.append(subtitles.read_text("utf-8"))
        result.write_bytes(b"video")
        return ("中",)

    monkeypatch.setattr("mtasr.audio.video.burn", burn)
    model.segments = [spoken]
    result = run("subtitle", "talk.mp4", "--burn", "--max-line-width", "12")
    assert result.exit_code == 0
    assert "no font on this machine has the letters 中; they are drawn as boxes" in result.stderr
    run("subtitle", "talk.mp4", "--burn", "--highlight-words")
    assert [r"Hello there,\Nhow are you?" in text for text in drawn] == [True, False]
    assert [r"{\k" in text for text in drawn] == [False, True]
    assert video.with_name("talk.subtitled.mp4").read_bytes() == b"video"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ((), 2, "choose how to put the subtitles into the video"),
        (("--embed", "--burn"), 2, "choose how to put the subtitles into the video"),
        (("--burn", "--also-translate"), 2, "--burn draws one text"),
        (("--embed", "-o", "talk.mp4"), 2, "talk.mp4: would be overwritten"),
        (("--embed", "-o", "talk.avi"), 2, "talk.avi: subtitles can be put into"),
        (("--embed", "--highlight-words", "--no-word-timestamps"), 2, "--highlight-words needs the times of words"),
        (("--embed", "--subtitles", "no.srt"), 3, "no.srt: no such file"),
        (("--embed", "--subtitles", "no.json"), 3, "no.json: no such file"),
        (("--embed", "--subtitles", "a.srt", "--diarize"), 2, "--diarize needs a transcript in JSON"),
        (("--embed", "--subtitles", "a.wav"), 2, "a.wav: subtitles must be"),
        (("--embed", "-o", "/proc/none/a.mp4"), 4, "/proc/none: cannot write here"),
    ],
)
def test_errors(run: Run, model: FakeModel, video: Path, args: tuple[str, ...], code: int, message: str) -> None:
    before = sorted(video.parent.iterdir())
    result = run("subtitle", "talk.mp4", *args)
    assert (result.exit_code, model.loads) == (code, [])
    assert result.stderr.startswith(f"mtasr: error: {message}")
    assert sorted(video.parent.iterdir()) == before


def test_a_picture_that_does_not_fit_is_refused_before_any_work(run: Run, model: FakeModel, video: Path) -> None:
    before = sorted(video.parent.iterdir())
    result = run("subtitle", "talk.mp4", "--embed", "-o", "talk.webm")
    assert (result.exit_code, model.loads, sorted(video.parent.iterdir())) == (4, [], before)
    assert result.stderr.startswith("mtasr: error: talk.mp4: cannot be copied into .webm unchanged (ffmpeg: ")


def test_nothing_is_left_of_a_video_that_fails(run: Run, folder: Path) -> None:
    (folder / "a.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\nWritten before\n")
    before = sorted(folder.iterdir())
    result = run("subtitle", "a.wav", "--embed", "--subtitles", "a.srt")
    assert (result.exit_code, sorted(folder.iterdir())) == (3, before)
    assert result.stderr == "mtasr: error: a.wav: is damaged or not what its name says\n"
