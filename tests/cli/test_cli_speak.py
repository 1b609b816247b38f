"""`mtasr speak` and `mtasr check-mark`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_voice import FakeVoice

from mtasr.cli import program
from mtasr.speech import voice as voice_module


@pytest.fixture
def voice(monkeypatch: pytest.MonkeyPatch) -> FakeVoice:
    fake = FakeVoice()
    monkeypatch.setattr(voice_module, "load_voice", lambda name, **_: fake)
    return fake


def run(*args: object, given: bytes | None = None) -> Result:
    return CliRunner().invoke(program, [str(each) for each in args], input=given)


def test_text_is_spoken_and_marked(tmp_path: Path, voice: FakeVoice) -> None:
    target = tmp_path / "hello.wav"
    done = run("speak", "Good morning.", "-o", target, "--speed", "1.25")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"0.4 s of speech in {target}\n"
    assert voice.said == [("Good morning.", 1.25)]
    marked = run("check-mark", target)
    assert marked.exit_code == 0
    assert marked.stdout.startswith(f"{target}: synthetic speech, text read by fake, mtasr ")
    document = json.loads(run("check-mark", "--json", target).stdout)
    assert (document["synthetic"], document["voice"], document["consent"]) == (True, "fake", None)


def test_text_comes_from_a_file_or_standard_input(tmp_path: Path, voice: FakeVoice) -> None:
    (tmp_path / "text.txt").write_bytes("\ufeffÜber uns".encode())
    assert run("speak", "--text-file", tmp_path / "text.txt", "-o", tmp_path / "a.mp3", "-q").output == ""
    assert run("speak", "-", "-o", tmp_path / "b.ogg", given=b"Good day").exit_code == 0
    assert [text for text, _ in voice.said] == ["Über uns", "Good day"]


def test_what_is_not_marked(tmp_path: Path, voice: FakeVoice) -> None:
    example = Path(__file__).parents[2] / "examples" / "interview.flac"
    run("speak", "Hello", "-o", tmp_path / "a.flac")
    done = run("check-mark", tmp_path / "a.flac", example)
    assert done.exit_code == 6
    assert done.stdout.endswith(f"{example}: no mark\n")
    assert json.loads(run("check-mark", "--json", example).stdout) == {"file": str(example), "synthetic": False}
    missing = run("check-mark", tmp_path / "none.wav")
    assert (missing.exit_code, missing.stderr) == (3, f"mtasr: error: {tmp_path}/none.wav: no such file\n")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["Hello"], 2, "where to? Name a file with --output"),
        (["Hello", "-o", "x.doc"], 2, "x.doc: its name must end with one of .wav, .flac"),
        (["-o", "x.wav"], 2, "give either TEXT or --text-file"),
        (["Hello", "--text-file", "x", "-o", "x.wav"], 2, "not both"),
        (["--text-file", "none.txt", "-o", "x.wav"], 3, "none.txt: No such file or directory"),
        (["...", "-o", "x.wav"], 2, "there is nothing to say"),
        (["Hello", "-o", "no folder/x.wav"], 4, "no folder"),
        (["Hello", "-o", "x.wav", "--speed", "3"], 2, "--speed"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, voice: FakeVoice, args: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("speak", *args)
    assert done.exit_code == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1 or code == 2
    assert list(tmp_path.iterdir()) == []


def test_text_in_another_encoding(tmp_path: Path, voice: FakeVoice) -> None:
    (tmp_path / "text.txt").write_bytes(b"\xff\xfe\x00")
    done = run("speak", "--text-file", tmp_path / "text.txt", "-o", tmp_path / "x.wav")
    assert (done.exit_code, done.stderr) == (3, f"mtasr: error: {tmp_path}/text.txt: is not text in UTF-8\n")


def test_voices_are_listed_with_their_licence() -> None:
    lines = run("speak", "--list-voices").stdout.splitlines()
    assert lines[0].startswith("jm_kumo\tkokoro\tApache 2.0")


def test_unknown_voice() -> None:
    done = run("speak", "Hello", "-o", "x.wav", "--voice", "jm_kumu")
    assert done.exit_code == 5
    assert done.stderr.startswith("mtasr: error: there is no voice 'jm_kumu'; did you mean jm_kumo?")
