"""Speakers on the command line: `mtasr diarize`, and the options of the other commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_model import FakeModel, Run
from loudness_diarizer import LOUD_SOUND, LoudnessDiarizer, dialogue, noise
from speech import write_wav

from mtasr.audio.tracks import Tracks
from mtasr.errors import ModelDownloadError
from mtasr.speakers.options import SpeakerOptions


@pytest.fixture
def diarizer(monkeypatch: pytest.MonkeyPatch) -> LoudnessDiarizer:
    made = LoudnessDiarizer()
    monkeypatch.setattr("mtasr.speakers.diarize.load_diarizer", lambda progress=None: made)
    return made


@pytest.fixture
def talk(folder: Path) -> Path:
    write_wav(folder / "my talk.wav", dialogue())
    return folder / "my talk.wav"


@pytest.mark.parametrize(
    ("args", "speakers"),
    [
        (["--diarize"], SpeakerOptions()),
        (["--diarize", "--num_speakers", "2"], SpeakerOptions(num_speakers=2)),
        (["--diarize", "--min-speakers=2", "--max_speakers", "4"], SpeakerOptions(min_speakers=2, max_speakers=4)),
        (["--diarize", "True", "--speakers", "Anna, Ben"], SpeakerOptions(speakers=("Anna", "Ben"))),
        (["--no-diarize"], False),
        ([], False),
    ],
)
def test_options(
    run: Run, model: FakeModel, diarizer: LoudnessDiarizer, args: list[str], speakers: SpeakerOptions | bool
) -> None:
    result = run("transcribe", *args, "a.wav")
    assert result.exit_code == 0, result.stderr
    assert model.speakers == [speakers]


def test_words_are_timed_for_speakers(run: Run, model: FakeModel, diarizer: LoudnessDiarizer) -> None:
    with pytest.MonkeyPatch.context() as setting:
        setting.setenv("MTASR_WORD_TIMESTAMPS", "0")
        assert run("transcribe", "a.wav", "-f", "txt", "--diarize").exit_code == 0
    assert run("translate", "a.wav", "-f", "txt", "--diarize").exit_code == 0
    assert run("transcribe", "a.wav", "-f", "txt").exit_code == 0
    assert [options.word_timestamps for _, options in model.calls] == [True, True, False]


def test_settings_from_the_environment(
    run: Run, model: FakeModel, diarizer: LoudnessDiarizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTASR_DIARIZE", "1")
    monkeypatch.setenv("MTASR_MAX_SPEAKERS", "3")
    assert run("transcribe", "a.wav").exit_code == 0
    assert model.speakers == [SpeakerOptions(max_speakers=3)]


@pytest.mark.parametrize(
    ("variables", "args", "speakers"),
    [
        ({"MAX_SPEAKERS": "4", "SPEAKERS": "Anna"}, [], False),
        ({"MAX_SPEAKERS": "4"}, ["--diarize", "--num-speakers", "2"], SpeakerOptions(num_speakers=2)),
        ({"NUM_SPEAKERS": "4"}, ["--diarize", "--min-speakers", "2"], SpeakerOptions(min_speakers=2)),
        ({"SPEAKERS": "Anna", "DIARIZE": "1"}, [], SpeakerOptions(speakers=("Anna",))),
        ({"SPEAKERS": "Anna"}, ["--channels", "split"], False),
    ],
    ids=str,
)
def test_settings_wait_for_what_they_are_for(
    run: Run,
    model: FakeModel,
    diarizer: LoudnessDiarizer,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    args: list[str],
    speakers: SpeakerOptions | bool,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"MTASR_{name}", value)
    result = run("transcribe", "a.wav", *args)
    assert result.exit_code == 0, result.stderr
    assert model.speakers == [speakers]
    if "split" in args:
        assert model.tracks == [Tracks(channels="split", speakers=("Anna",))]


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--num-speakers", "2"], "--num-speakers needs --diarize"),
        (["--speakers", "Anna"], "error: --speakers needs --diarize, or --channels split"),
        (["--diarize", "--channels", "split"], "--diarize cannot be used with --channels split"),
        (["--diarize", "--num-speakers", "0"], "0 is less than 1"),
        (
            ["--diarize", "--min-speakers", "3", "--max-speakers", "2"],
            "error: --min-speakers must be at most --max-speakers, not 3 and 2",
        ),
        (["--diarize", "--speakers", "A", "--voices", "."], "error: --speakers and --voices both name the speakers"),
        (["--diarize", "--num-speakers", "101"], "--num-speakers must be a whole number from 1 to 100, not 101"),
        (["--diarize", "--hf_token", "abc"], "error: no token is needed to tell speakers apart: leave out --hf-token"),
        (["-f", "rttm,srt"], "error: --output-format rttm says who speaks: add --diarize, or --channels split"),
        (["--diarize", "--no-word-timestamps"], "cannot be used with --no-word-timestamps"),
        (["--diarize", "--speakers", "Anna,Anna"], "two speakers are called 'Anna'"),
    ],
)
def test_nonsense_is_refused_before_anything_is_loaded(
    run: Run, model: FakeModel, args: list[str], problem: str
) -> None:
    result = run("transcribe", *args, "a.wav")
    assert result.exit_code == 2
    assert problem in result.stderr
    assert model.loads == []


@pytest.mark.parametrize("command", ["transcribe", "diarize"])
def test_weights_that_cannot_be_had_are_one_line(
    run: Run, model: FakeModel, talk: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def load(progress: object = None) -> None:
        raise ModelDownloadError("the weights cannot be downloaded")

    monkeypatch.setattr("mtasr.speakers.diarize.load_diarizer", load)
    result = run(command, *(["--diarize"] if command == "transcribe" else []), talk.name)
    assert result.exit_code == 5
    assert result.stderr.splitlines()[-1] == "mtasr: error: the weights cannot be downloaded"
    assert not list(talk.parent.glob("*.srt")) + list(talk.parent.glob("*.rttm"))


def test_turns_are_printed_and_written(run: Run, talk: Path, diarizer: LoudnessDiarizer) -> None:
    result = run("diarize", talk.name, "-f", "rttm,json", "-o", "out", "--speakers", "Anna", "--num-speakers", "2")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "my talk.wav\t1.000\t4.000\tAnna", "my talk.wav\t6.000\t9.000\tSpeaker 2",
        "my talk.wav\t13.000\t16.000\tSpeaker 2", "my talk.wav\t16.000\t19.200\tAnna",
    ]  # fmt: skip
    assert "my talk.wav: 2 speakers; wrote out/my talk.rttm, out/my talk.json" in result.stderr
    assert Path("out/my talk.rttm").read_text().splitlines()[0] == (
        "SPEAKER my_talk 1 1.000 3.000 <NA> <NA> Anna 1.000 <NA>"
    )
    assert json.loads(Path("out/my talk.json").read_text())["speakers"] == ["Anna", "Speaker 2"]
    assert diarizer.asked == [SpeakerOptions(speakers=("Anna",), num_speakers=2)]


def test_one_that_fails_does_not_stop_the_others(run: Run, talk: Path, diarizer: LoudnessDiarizer) -> None:
    result = run("diarize", "missing.wav", "a.wav", talk.name, "-q")
    assert result.exit_code == 6
    assert "missing.wav: no such file" in result.stderr
    assert "a.wav" in result.stderr
    assert result.stdout == ""
    assert [each.name for each in Path().glob("*.rttm")] == ["my talk.rttm"]


def test_what_is_there_is_skipped(run: Run, talk: Path, diarizer: LoudnessDiarizer) -> None:
    Path("my talk.rttm").write_text("")
    assert run("diarize", talk.name, "--skip-existing").exit_code == 0
    assert diarizer.listening == 0
    assert Path("my talk.rttm").read_text() == ""
    assert run("diarize", talk.name).exit_code == 0
    assert Path("my talk.rttm").read_text()


def test_events_for_programs(run: Run, talk: Path, diarizer: LoudnessDiarizer) -> None:
    result = run("diarize", "missing.wav", talk.name, "--progress", "json")
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert [(each["event"], each.get("result")) for each in events] == [
        ("end", "failed"), ("batch", None), ("file", None), ("note", None), ("end", "done"), ("finish", None),
    ]  # fmt: skip
    assert events[-1]["done"] == events[-1]["failed"] == 1


def test_two_files_with_one_name_are_refused(run: Run, talk: Path, diarizer: LoudnessDiarizer) -> None:
    Path("other").mkdir()
    Path("other/my talk.mp3").write_bytes(b"sound")
    result = run("diarize", talk.name, "other/my talk.mp3")
    assert result.exit_code == 2
    assert "would both be written to my talk.rttm" in result.stderr


def test_known_voices_are_called_by_their_names(run: Run, talk: Path, diarizer: LoudnessDiarizer) -> None:
    Path("voices/Anna").mkdir(parents=True)
    write_wav(Path("voices/Ben.wav"), noise(2, LOUD_SOUND))
    write_wav(Path("voices/Anna/1.wav"), noise(2, 0))
    before = sorted(Path("voices").rglob("*"))
    result = run("diarize", talk.name, "--voices", "voices")
    assert result.exit_code == 0, result.stderr
    assert [line.split("\t")[-1] for line in result.stdout.splitlines()] == ["Speaker 1", "Ben", "Ben", "Speaker 1"]
    assert "warning: nobody speaks in Anna/1.wav, so it is no voice of Anna" in result.stderr
    assert sorted(Path("voices").rglob("*")) == before


def test_voices_that_are_none_are_refused_before_the_model_is_loaded(
    run: Run, model: FakeModel, diarizer: LoudnessDiarizer
) -> None:
    write_wav(Path("Ben.wav"), dialogue())
    result = run("transcribe", "a.wav", "--diarize", "--voices", ".")
    assert result.exit_code == 3
    assert "Ben.wav: two people talk in it; give a recording of one alone" in result.stderr
    assert model.loads == []
    assert run("transcribe", "a.wav", "--diarize", "--voices", "missing").exit_code == 2


def test_a_page_of_a_transcript_that_is_there_gets_speakers(
    run: Run, model: FakeModel, talk: Path, diarizer: LoudnessDiarizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [{"word": " Hello", "start": 1.0, "end": 3.0}, {"word": " there", "start": 6.0, "end": 8.0}]
    segment = {"start": 1.0, "end": 8.0, "text": " Hello there", "speaker": "Somebody", "words": words}
    Path("t.json").write_text(json.dumps({"segments": [segment]}))
    result = run("view", talk.name, "--transcript", "t.json", "--diarize", "--speakers", "Anna,Ben", "-o", "told.html")
    assert (result.exit_code, model.loads) == (0, []), result.stderr
    told = Path("told.html").read_text()
    assert ("Anna" in told, "Ben" in told, "Somebody" in told) == (True, True, False)
    monkeypatch.setenv("MTASR_DIARIZE", "1")  # a setting does not replace speakers that somebody may have corrected
    assert run("view", talk.name, "--transcript", "t.json", "-o", "kept.html").exit_code == 0
    assert "Somebody" in Path("kept.html").read_text()


def test_help_speaks_of_what_there_is(run: Run) -> None:
    assert "channels" not in run("diarize", "--help").stdout
    assert "or of the channels" in " ".join(run("transcribe", "--help").stdout.split())


def test_no_token_is_needed_for_turns_either(run: Run, diarizer: LoudnessDiarizer, talk: Path) -> None:
    result = run("diarize", "--hf-token", "abc", talk.name)
    assert (result.exit_code, diarizer.listening) == (2, 0)
    assert result.stderr == "mtasr: error: no token is needed to tell speakers apart: leave out --hf-token\n"
