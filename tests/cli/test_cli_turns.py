"""`--turns`: the speakers of an RTTM file."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from fake_model import FakeModel, Run

import mtasr.batch.run as batch_run
from mtasr.audio.tracks import Tracks
from mtasr.errors import AudioDecodeError
from mtasr.speakers import assignment

#: Of `pyannote.audio` and whisperX, for the two segments that the fake model finds in every recording.
RTTM = """\
SPEAKER a 1 0.000 2.100 <NA> <NA> SPEAKER_00 <NA> <NA>
SPEAKER a 1 2.100 1.900 <NA> <NA> SPEAKER_01 <NA> <NA>
SPEAKER b 1 0.000 4.000 <NA> <NA> SPEAKER_00 <NA> <NA>
"""


@pytest.fixture
def rttm(folder: Path) -> Path:
    (folder / "talks.rttm").write_text(RTTM)
    return folder / "talks.rttm"


def test_speakers_are_those_of_the_file(run: Run, model: FakeModel, folder: Path, rttm: Path) -> None:
    result = run("transcribe", "a.wav", "b.mp3", "--turns", "talks.rttm", "-f", "txt,json,rttm", "-o", "out")
    assert (result.exit_code, result.stdout) == (
        0, "SPEAKER_00: Hello there.\nSPEAKER_01: How are you?\nSPEAKER_00: Hello there. How are you?\n",
    )  # fmt: skip
    assert (folder / "out" / "a.txt").read_text() + (folder / "out" / "b.txt").read_text() == result.stdout
    written = json.loads((folder / "out" / "a.json").read_text())
    assert [segment["speaker"] for segment in written["segments"]] == ["SPEAKER_00", "SPEAKER_01"]
    assert [(turn["start"], turn["speaker"]) for turn in written["turns"]] == [(0, "SPEAKER_00"), (2.1, "SPEAKER_01")]
    assert (folder / "out" / "b.rttm").read_text().startswith("SPEAKER b 1 0.000 4.000 <NA> <NA> SPEAKER_00 ")
    assert model.speakers == [False], "no voices are told apart"
    assert {options.word_timestamps for _, options in model.calls} == {True}


def test_translations_have_them_too(run: Run, folder: Path, rttm: Path) -> None:
    assert run("transcribe", "a.wav", "--turns", "talks.rttm", "--also-translate", "-f", "txt").exit_code == 0
    assert "SPEAKER_01: English: How are you?" in (folder / "a.en.txt").read_text()
    assert run("translate", "a.wav", "--turns", "talks.rttm", "-f", "txt").exit_code == 0
    assert "SPEAKER_01: How are you?" in (folder / "a.txt").read_text()


def test_names_are_in_the_order_in_which_speakers_first_talk(run: Run, folder: Path, rttm: Path) -> None:
    args = ("transcribe", "a.wav", "b.mp3", "--turns", "talks.rttm", "-f", "txt,rttm")
    assert run(*args, "--speakers", "Anna,Ben").stdout == (
        "Anna: Hello there.\nBen: How are you?\nAnna: Hello there. How are you?\n"
    )
    assert " <NA> <NA> Ben " in (folder / "a.rttm").read_text()
    assert run(*args, "--speakers", ",Ben").stdout.startswith("SPEAKER_00: Hello there.\nBen: How are you?\n")
    result = run(*args, "--speakers", "SPEAKER_01")
    assert (result.exit_code, result.stdout) == (6, "SPEAKER_01: Hello there. How are you?\n")
    assert "mtasr: error: a.wav: two speakers are called 'SPEAKER_01'\n" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--diarize"], "--turns says who speaks: leave out --diarize"),
        (["--channels", "split"], "--turns says who speaks: leave out --channels split"),
        (["--num-speakers", "2"], "--num-speakers needs --diarize"),
        (["--no-word-timestamps"], "--turns needs the times of words, so it cannot be used with --no-word-timestamps"),
    ],
)
def test_other_ways_to_speakers_are_refused(
    run: Run, model: FakeModel, rttm: Path, args: list[str], message: str
) -> None:
    result = run("transcribe", "a.wav", "--turns", "talks.rttm", *args)
    assert (result.exit_code, result.stderr, model.loads) == (2, f"mtasr: error: {message}\n", [])


def test_settings_give_way(run: Run, model: FakeModel, rttm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("DIARIZE", "1"), ("CHANNELS", "split"), ("SPEAKERS", "Anna,Ben")):
        monkeypatch.setenv(f"MTASR_{name}", value)
    assert run("transcribe", "a.wav", "--turns", "talks.rttm").exit_code == 0
    assert (model.speakers, model.tracks) == ([False], [Tracks()])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "talks.rttm: cannot be read: No such file or directory"),
        (
            "SPEAKER a 1 0 two <NA> <NA> x <NA> <NA>\n",
            "talks.rttm: line 1: the duration 'two' is not a number of seconds",
        ),
        ("Hello there.\n", "talks.rttm: line 1: 'Hello' is not a type of RTTM line"),
        ("SPEAKER a 1 0 2\n", "talks.rttm: line 1: has 5 fields instead of 9 or 10"),
    ],
)
def test_a_file_that_is_no_rttm_is_one_line(
    run: Run, model: FakeModel, folder: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (folder / "talks.rttm").write_text(content)
    result = run("transcribe", "a.wav", "--turns", "talks.rttm")
    assert (result.exit_code, result.stderr, model.loads) == (3, f"mtasr: error: {message}\n", [])


def test_a_recording_that_is_not_in_it_fails_alone(run: Run, model: FakeModel, folder: Path, rttm: Path) -> None:
    result = run("transcribe", "c d.wav", "a.wav", "--turns", "talks.rttm", "-f", "txt")
    assert (result.exit_code, [source for source, _ in model.calls]) == (6, ["a.wav"])
    assert "mtasr: error: talks.rttm: has 2 files, and none is named 'c d'\n" in result.stderr


def test_an_rttm_of_one_recording_is_not_about_others(run: Run, model: FakeModel, folder: Path) -> None:
    (folder / "talk.rttm").write_text("SPEAKER talk 1 0 3 <NA> <NA> Ann <NA> <NA>\n")
    assert run("transcribe", "a.wav", "--turns", "talk.rttm").stdout.startswith("Ann: ")
    result = run("transcribe", "a.wav", "b.mp3", "--turns", "talk.rttm")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "mtasr: error: talk.rttm: is about 'talk', not 'a'\n" in result.stderr


def test_turns_after_the_end_are_of_another_recording(run: Run, model: FakeModel, folder: Path) -> None:
    (folder / "a.rttm").write_text("SPEAKER a 1 1000 3 <NA> <NA> Ann <NA> <NA>\n")
    result = run("transcribe", "a.wav", "--turns", "a.rttm", "-f", "txt")
    assert (result.exit_code, result.stdout, (folder / "a.txt").exists()) == (3, "", False)
    assert result.stderr.splitlines()[-1] == "mtasr: error: a.rttm: its turns begin after the end of the recording"


def test_speakers_are_assigned_once(run: Run, rttm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assigned = MagicMock(side_effect=assignment.assign_segments)
    for module in (assignment, batch_run):
        monkeypatch.setattr(module, "assign_segments", assigned)
    assert run("transcribe", "a.wav", "--turns", "talks.rttm", "-f", "txt,json").exit_code == 0
    assert assigned.call_count == 1


@pytest.mark.parametrize(("seconds", "is_told"), [(1.9, True), (2.1, False)])
def test_speech_without_a_turn_is_told(run: Run, folder: Path, seconds: float, is_told: bool) -> None:
    (folder / "a.rttm").write_text(f"SPEAKER a 1 0 {seconds} <NA> <NA> Ann <NA> <NA>\n")
    result = run("transcribe", "a.wav", "--turns", "a.rttm", "-f", "txt")
    told = "warning: a.wav: no turn covers 2.0 s of speech; who speaks there is a guess\n"
    assert (result.exit_code, told in result.stderr, "warning" in result.stderr) == (0, is_told, is_told)


def test_what_is_recognised_before_an_error_has_speakers(run: Run, model: FakeModel, rttm: Path) -> None:
    model.errors = {"a.wav": AudioDecodeError("a.wav: noise")}
    result = run("transcribe", "a.wav", "--turns", "talks.rttm")
    assert (result.exit_code, result.stdout) == (3, "SPEAKER_00: Hello there.\n")


def test_resuming_with_other_turns_writes_what_they_change(
    run: Run, model: FakeModel, folder: Path, rttm: Path
) -> None:
    model.errors = {"b.mp3": AudioDecodeError("b.mp3: noise")}
    args = ("transcribe", "a.wav", "b.mp3", "c d.wav", "--turns", "talks.rttm", "-f", "txt", "--resume")
    rttm.write_text(RTTM + "SPEAKER c_d 1 0 4 <NA> <NA> Ann <NA> <NA>\n")
    assert run(*args).exit_code == run(*args).exit_code == 6
    assert [source for source, _ in model.calls] == ["a.wav", "b.mp3", "c d.wav", "b.mp3"]
    rttm.write_text(rttm.read_text().replace("SPEAKER_01", "Anna"))
    run(*args)
    assert [source for source, _ in model.calls[4:]] == ["a.wav", "b.mp3"]
    assert "Anna: How are you?" in (folder / "a.txt").read_text()
