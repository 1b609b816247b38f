"""`mtasr speak-translation`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_model import FakeModel
from fake_voice import FakeVoice

from mtasr.cli import program
from mtasr.speech import voice as voice_module

_EXAMPLE = Path(__file__).parents[2] / "examples" / "entrevista.flac"


@pytest.fixture
def voice(monkeypatch: pytest.MonkeyPatch) -> FakeVoice:
    fake = FakeVoice()
    fake.name = "jm_kumo"
    monkeypatch.setattr(voice_module, "load_voice", lambda name, **_: fake)
    return fake


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(_EXAMPLE, tmp_path / "talk.flac")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def dubbing(monkeypatch: pytest.MonkeyPatch, voice: FakeVoice) -> FakeModel:
    """The fake model, whose `stream` is the first of its `stream_all`."""
    model = FakeModel()

    def stream(source: str, options: object) -> object:
        with model.stream_all([source], options) as streams:  # type: ignore[arg-type]
            return streams[0]

    model.stream = stream  # type: ignore[attr-defined]
    monkeypatch.setattr("mtasr.transcribe.load_model", model.load)
    return model


def run(*args: object) -> Result:
    return CliRunner().invoke(program, [str(each) for each in args])


def test_a_recording_is_dubbed_and_its_words_written(folder: Path, dubbing: FakeModel, voice: FakeVoice) -> None:
    done = run("speak-translation", "talk.flac", "-o", "out", "-f", "srt", "--model", "base")
    assert (done.exit_code, done.stderr) == (0, "talk.flac: wrote out/talk.en.flac\n")
    assert dubbing.calls[0][1].task == "translate"
    assert [text for text, _ in voice.said] == ["Hello there.", "How are you?"]
    assert (folder / "out" / "talk.en.srt").read_text().splitlines()[1:3] == [
        "00:00:00,000 --> 00:00:00,834",
        "Hello there.",
    ]
    assert "translation read by jm_kumo" in run("check-mark", "out/talk.en.flac").stdout


def test_resume_skips_what_is_there(folder: Path, dubbing: FakeModel) -> None:
    args = ("speak-translation", "talk.flac", "--resume", "--model", "base")
    assert run(*args).exit_code == 0
    made = (folder / "talk.en.flac").stat().st_mtime_ns
    done = run(*args)
    assert (done.exit_code, done.stderr) == (0, "talk.flac: talk.en.flac is there already\n")
    assert (folder / "talk.en.flac").stat().st_mtime_ns == made
    (folder / "talk.flac").write_bytes((folder / "talk.flac").read_bytes() + b"\0")
    assert "wrote" in run(*args).stderr


def test_resume_makes_up_for_a_text_that_is_missing(folder: Path, dubbing: FakeModel) -> None:
    args = ("speak-translation", "talk.flac", "--resume", "--model", "base", "-f", "srt")
    assert run(*args).exit_code == 0
    (folder / "talk.en.srt").unlink()
    assert "wrote" in run(*args).stderr
    assert (folder / "talk.en.srt").exists()


def test_two_recordings_do_not_become_one_file(folder: Path, dubbing: FakeModel) -> None:
    (folder / "more").mkdir()
    shutil.copy(folder / "talk.flac", folder / "more")
    done = run("speak-translation", "talk.flac", "more/talk.flac", "-o", "out", "--model", "base")
    assert done.exit_code != 0
    assert "would both be written to out/talk.en.flac" in done.stderr
    assert len(dubbing.calls) == 1


def test_one_that_fails_does_not_stop_the_others(folder: Path, dubbing: FakeModel) -> None:
    (folder / "text.wav").write_text("hello")
    done = run("speak-translation", "text.wav", "none.wav", "talk.flac", "--model", "base")
    assert done.exit_code == 6
    assert "none.wav: no such file" in done.stderr
    assert "text.wav: is damaged, or not a recording" in done.stderr
    assert (folder / "talk.en.flac").exists()
    assert not (folder / "text.en.wav").exists()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["talk.flac", "--voice", "nobody"], 2, "there is no voice 'nobody'"),
        (["talk.flac", "--keep-original", "3"], 2, "--keep-original"),
        (["talk.flac", "--max-speed", "3"], 2, "--max-speed"),
        (["-"], 3, "only files can be dubbed"),
    ],
)
def test_mistakes(folder: Path, dubbing: FakeModel, args: list[str], code: int, message: str) -> None:
    done = run("speak-translation", *args)
    assert done.exit_code == code
    assert message in done.stderr
    assert not dubbing.loads
