"""`mtasr find` and `mtasr classify`: what they print, and what they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from speech import speak, write_wav
from tones import ffmpeg

from mtasr.cli import program
from mtasr.probing.heads import Head, HeadConfig, save_head
from mtasr.spans import SAMPLE_RATE

HEADS = Path(__file__).parent.parent / "golden" / "heads"


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(program, [str(arg) for arg in args], prog_name="mtasr")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `speech.wav`, and `other.wav` in a subfolder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more").mkdir()
    write_wav(tmp_path / "speech.wav", speak("The library closes at five."))
    write_wav(tmp_path / "more" / "other.wav", speak("A new computer for my daughter."))
    return tmp_path


# find, with an encoder that needs no weights


def test_a_word_is_found_where_it_is_said(here: Path) -> None:
    words = speak("He went to the library before the rain.")
    write_wav(here / "said.wav", words)
    result = run(
        "find", "--encoder", "log-mel", "speech.wav", "--start", "0.2", "--end", "0.8", ".", "--threshold", "0.5"
    )
    assert result.exit_code == 0, result.stderr
    file, start, end, score = result.stdout.splitlines()[0].split("\t")
    assert Path(file).name == "said.wav"
    assert 0.3 < float(start) < float(end) < 1.6
    assert float(score) > 0.5


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["speech.wav"], 2, "no recording is named"),
        ([], 2, "Missing argument 'EXAMPLE'"),
        (["missing.wav", "more"], 3, "missing.wav: no such file"),
        (["-", "-"], 2, "standard input (-) can be read only once"),
        (["speech.wav", "more", "--start", "1", "--end", "0.5"], 2, "from 1 to 0.5 s has no length"),
        (["speech.wav", "more", "--start", "0", "--end", "60"], 2, "too long: take a word or phrase"),
        (["speech.wav", "more", "--start", "9", "--end", "9.5"], 2, "s, and no example begins at 9 s"),
        (["speech.wav", "more", "--start", "0.2", "--end", "9.5"], 2, "s, and no example ends at 9.5 s"),
        (["speech.wav", "more", "--start", "0.5", "--end", "0.6"], 2, "lasts less than 0.2 s"),
        (["long.wav", "more"], 2, "long.wav: is too long for an example"),
        (["silence.wav", "more"], 3, "silence.wav: no speech was found in it"),
        (["speech.wav", "empty"], 3, "this folder has no recordings"),
        (["speech.wav", "more", "--top", "0"], 2, "0 is less than 1"),
    ],
)
def test_searches_that_cannot_be(here: Path, args: list[str], code: int, message: str) -> None:
    (here / "empty").mkdir()
    write_wav(here / "long.wav", np.tile(speak("The library closes at five."), 9))
    write_wav(here / "silence.wav", np.zeros(2 * SAMPLE_RATE, np.float32))
    result = run("find", "--encoder", "log-mel", *args)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
    assert result.stdout == ""


def test_nothing_is_printed_where_nothing_is_found(here: Path) -> None:
    result = run(
        "find", "--encoder", "log-mel", "speech.wav", "--start", "0.2", "--end", "0.8", "more", "--threshold", "0.99"
    )
    assert (result.exit_code, result.stdout) == (0, "")
    assert "not found: no place scores 0.99 or more; the nearest, more/other.wav" in result.stderr


def test_an_example_does_not_find_itself(here: Path) -> None:
    stretch = ("--start", "0.2", "--end", "0.8", "--threshold", "-1", "--json")
    result = run("find", "--encoder", "log-mel", "speech.wav", *stretch, "speech.wav", here / "speech.wav")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert found
    assert all(each["end"] <= 0.23 or each["start"] >= 0.77 for each in found)


@pytest.mark.usefixtures("here")
def test_an_example_that_is_missing_is_told_before_its_encoder_is_loaded() -> None:
    result = run("find", "--encoder", "nobody", "missing.wav", "more")
    assert (result.exit_code, "missing.wav: no such file" in result.stderr) == (3, True), result.stderr


def test_the_example_comes_from_the_track_that_is_searched(here: Path) -> None:
    words = speak("He went to the library before the rain.")
    write_wav(here / "silence.wav", np.zeros_like(words))
    write_wav(here / "said.wav", words)
    ffmpeg(
        "-i", here / "silence.wav", "-i", here / "said.wav", "-map", "0", "-map", "1", "-c:a", "flac", here / "a.mkv"
    )
    (here / "said.wav").unlink()
    stretch = ("--start", "0.2", "--end", "0.8", "--threshold", "-1", "--json", "--encoder", "log-mel")
    same = run("find", "a.mkv", "a.mkv", "--audio-stream", "1", *stretch)
    assert same.exit_code == 0, same.stderr
    places = [json.loads(line) for line in same.stdout.splitlines()]
    assert places
    assert all(each["end"] <= 0.23 or each["start"] >= 0.77 for each in places)  # the example is left out
    other = run("find", "speech.wav", "a.mkv", "--audio-stream", "1", "--example-stream", "0", *stretch)
    assert other.exit_code == 0, other.stderr
    absent = run("find", "speech.wav", "a.mkv", "--audio-stream", "1", *stretch)
    assert (absent.exit_code, "speech.wav" in absent.stderr) == (3, True), absent.stderr


# classify


@pytest.mark.usefixtures("here")
def test_labels_of_a_recording() -> None:
    result = run("classify", "speech.wav", "--head", HEADS / "hubert-emotion")
    assert result.exit_code == 0, result.stderr
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert len(rows) == 3
    assert {row[0] for row in rows} == {"speech.wav"}
    assert {row[1] for row in rows} == {"label"}
    assert {row[2] for row in rows} < {"neu", "hap", "ang", "sad"}
    assert [float(row[3]) for row in rows] == sorted((float(row[3]) for row in rows), reverse=True)
    intents = json.loads(
        run("classify", "speech.wav", "--head", HEADS / "wav2vec2-intents", "--json", "--top", "1").stdout
    )
    assert set(intents) == {"file", "action", "object", "location"}
    assert all(len(intents[each]) == 1 for each in ("action", "object", "location"))


@pytest.mark.usefixtures("here")
def test_voices_are_compared_two_by_two() -> None:
    head = ("--head", HEADS / "wavlm-voice")
    shutil.copy("speech.wav", "again.wav")
    result = run("classify", "speech.wav", "again.wav", "more", *head)
    assert result.exit_code == 0, result.stderr
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[:2] for row in rows] == [
        ["speech.wav", "again.wav"], ["speech.wav", "more/other.wav"], ["again.wav", "more/other.wav"]
    ]  # fmt: skip
    assert rows[0][2:] == ["1.000", "same voice"]
    (one,) = run("classify", "speech.wav", "again.wav", *head, "--json", "--threshold", "1").stdout.splitlines()
    assert json.loads(one)["threshold"] == 1
    alone = run("classify", "speech.wav", *head)
    assert (alone.exit_code, "name two recordings or more" in alone.stderr) == (2, True)


@pytest.mark.usefixtures("here")
def test_who_speaks_when_is_rttm() -> None:
    head = ("--head", HEADS / "wavlm-turns")
    quiet = run("classify", "speech.wav", *head, "--threshold", "1")
    assert (quiet.exit_code, quiet.stdout) == (0, ""), quiet.stderr
    result = run("classify", "speech.wav", *head, "--threshold", "0")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [["SPEAKER", "speech", "1"]] * 2
    assert [float(line.split()[3]) for line in lines] == pytest.approx([0, 0], abs=0.02)
    assert [line.split()[7] for line in lines] == ["Speaker_1", "Speaker_2"]


def test_a_head_of_ones_own_whose_encoder_was_moved(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = HeadConfig(
        task="test", kind="mean", encoder="./gone", width=160, states=1, frame_seconds=0.02, sizes=(4,),
        labels={"label": ("a", "b")},
    )  # fmt: skip
    save_head(Head(config), here / "head")
    lost = run("classify", "speech.wav", "--head", "head")
    assert lost.exit_code == 5
    assert "there is no encoder ./gone; if the head's encoder was moved, name it (--encoder)" in lost.stderr
    monkeypatch.setenv("HOME", str(here))
    found = run("classify", "speech.wav", "--head", "~/head", "--encoder", "log-mel")
    assert found.exit_code == 0, found.stderr
    assert {line.split("\t")[2] for line in found.stdout.splitlines()} == {"a", "b"}
    other = run("classify", "speech.wav", "--head", "head", "--encoder", "mfcc")
    assert (other.exit_code, "the head is for ./gone: its width is 160" in other.stderr) == (2, True), other.stderr
    public = run("classify", "speech.wav", "--head", HEADS / "hubert-emotion", "--encoder", "log-mel")
    assert (public.exit_code, "its encoder is in the same folder" in public.stderr) == (2, True), public.stderr


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["speech.wav"], 2, "Missing option '--head'"),
        (["speech.wav", "--head", "nobody"], 5, "there is no head nobody"),
        (["speech.wav", "--head", "more"], 5, "more"),
        (["speech.wav", "--head", "x" * 5_000], 5, "there is no head"),
        (["speech.wav", "--head", "~nobody/head"], 5, "there is no head"),
        (["speech.wav", "--head", str(HEADS / "hubert-emotion"), "--threshold", "0.5"], 2, "heads that compare voices"),
        (["speech.wav", "--head", str(HEADS / "wavlm-turns"), "--top", "1"], 2, "--top is for heads that tell"),
        (["speech.wav", "--head", str(HEADS / "wavlm-turns"), "--threshold", "-1"], 2, "a probability, from 0 to 1"),
        (["missing.wav", "--head", str(HEADS / "hubert-emotion")], 3, "missing.wav: no such file"),
    ],
)
def test_heads_that_cannot_be(args: list[str], code: int, message: str) -> None:
    result = run("classify", *args)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("fails", "subject"), [("load_classifier", ""), ("classified", "speech.wav: ")])
def test_hints_about_memory_name_options_that_the_command_has(
    fails: str, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def filled(*args: object, **kwargs: object) -> None:
        raise MemoryError

    monkeypatch.setattr(f"mtasr.probing.classifying.{fails}", filled)
    result = run("classify", "speech.wav", "--head", HEADS / "hubert-emotion", "--quiet")
    assert result.stderr == f"mtasr: error: {subject}there is not enough memory for it\n"
