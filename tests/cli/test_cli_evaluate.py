"""`mtasr evaluate` with a fake model."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from fake_diarizer import FakeDiarizer
from fake_model import FakeModel, Run, segment
from tones import make_tone

from mtasr.errors import AudioDecodeError
from mtasr.extras import install_extra
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcript import Turn

MANIFEST = [
    {"audio": "a.wav", "text": "Hello there, how are you?", "language": "fr"},
    {"audio": "b.mp3", "text": "hello where are you", "language": "de", "translation": "Hello there. How are you?"},
]


@pytest.fixture
def manifest(folder: Path) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps(MANIFEST))
    return path


def test_table_alignments_and_files(run: Run, manifest: Path) -> None:
    result = run("evaluate", "manifest.json", "--json", "out.json", "--html", "out.html")
    assert (result.exit_code, result.stderr) == (0, "wrote out.json and out.html\n")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["clips", "min", "WER", "CER", "BLEU", "chrF", "LID", "RTF"]
    assert [line[0] for line in lines[1:4]] == ["de", "fr", "all"]
    # One of nine words is wrong, and one is put in.
    assert lines[3][3].startswith("22.2±")
    assert lines[3][7].startswith("50.0±")
    assert "[-where-]" in result.stdout
    assert "{+" in result.stdout
    figures = json.loads((manifest.parent / "out.json").read_text("utf-8"))
    assert figures["total"]["wer"] == pytest.approx(2 / 9)
    assert figures["languages"]["fr"]["wer"] == 0
    assert (manifest.parent / "out.html").read_text("utf-8").startswith("<!doctype html>")
    assert sorted(path.suffix for path in manifest.parent.iterdir()) == [
        ".html",
        ".json",
        ".json",
        ".mp3",
        ".wav",
        ".wav",
    ]


def test_decoding_options_reach_the_model(run: Run, model: FakeModel, manifest: Path) -> None:
    run("evaluate", "manifest.json", "--measure", "transcription", "--beam-size", "1", "--limit", "1")
    assert [(source, options.language, options.beam_size) for source, options in model.calls] == [
        (manifest.parent.name and Path("a.wav"), "fr", 1),
        (Path("b.mp3"), "de", 1),
    ]


@pytest.mark.parametrize(
    "option",
    [
        "--channels=split", "--speakers=A,B", "--audio-stream=1", "--highlight-words", "--word-timestamps",
        "--append-punctuations=.",
    ],
)  # fmt: skip
def test_options_that_nothing_would_come_of_are_refused(
    run: Run, model: FakeModel, manifest: Path, option: str
) -> None:
    result = run("evaluate", "manifest.json", option)
    assert (result.exit_code, model.loads) == (2, [])
    assert option.partition("=")[0] in result.stderr


def test_a_clip_that_fails_is_reported_and_the_rest_counts(run: Run, model: FakeModel, manifest: Path) -> None:
    model.errors[Path("b.mp3")] = AudioDecodeError("b.mp3: noise")  # type: ignore[index]
    result = run("evaluate", "manifest.json", "--measure", "transcription")
    assert (result.exit_code, result.stderr) == (6, "mtasr: error: b.mp3: noise\n")
    assert result.stdout.splitlines()[-1].split()[3].startswith("0.0")
    every = run("evaluate", "manifest.json")
    assert (every.exit_code, every.stderr.count("b.mp3: noise")) == (6, 1)


def test_a_clip_that_is_not_there_is_in_the_results_too(run: Run, folder: Path, manifest: Path) -> None:
    rows = json.loads(manifest.read_text())
    manifest.write_text(json.dumps([{"audio": "no.wav", "text": "a", "language": "en"}, *rows]))
    result = run("evaluate", "manifest.json", "--json", "out.json", "--html", "out.html")
    assert result.exit_code == 6
    clips = json.loads((folder / "out.json").read_text())["clips"]
    assert [Path(clip["audio"]).name for clip in clips] == ["no.wav", *(row["audio"] for row in rows)]
    assert clips[0]["errors"] == ["no.wav: no such file"]
    assert "Clips that failed" in (folder / "out.html").read_text()


@pytest.mark.parametrize(
    ("content", "args", "code", "message"),
    [
        ("[]", (), 3, "manifest.json: has no recordings"),
        ('[{"audio": "no.wav", "text": "a"}]', (), 3, "no.wav: no such file"),
        ('[{"audio": "a.wav", "text": "a"}]', ("--measure", "language"), 2, "the manifest lacks the fields to measure"),
        ('[{"audio": "a.wav", "text": "a"}]', ("--json", "/proc/none/a.json"), 4, "/proc/none: cannot write here"),
    ],
)
def test_errors(run: Run, folder: Path, content: str, args: tuple[str, ...], code: int, message: str) -> None:
    (folder / "manifest.json").write_text(content)
    result = run("evaluate", "manifest.json", *args)
    assert result.exit_code == code
    assert result.stderr.startswith(f"mtasr: error: {message}")


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_file_that_cannot_be_written_is_refused_before_any_work(
    run: Run, model: FakeModel, manifest: Path, option: str
) -> None:
    for name, code in (("manifest.json", 2), ("a.wav", 2), ("/proc/none/a", 4)):
        assert (run("evaluate", "manifest.json", option, name).exit_code, model.loads) == (code, [])


def test_an_english_only_model_on_other_languages(run: Run, model: FakeModel, manifest: Path) -> None:
    message = "is English-only, and the manifest has recordings in German (de), French (fr): use a multilingual model\n"
    result = run("evaluate", "manifest.json", "--model", "base.en")
    assert (result.exit_code, model.loads) == (2, [])
    assert result.stderr == f"mtasr: error: base.en {message}"
    model.engine.tokenizer.is_multilingual = False  # what the folder of such a model tells when it is loaded
    result = run("evaluate", "manifest.json", "--model", "./folder")
    assert (result.exit_code, model.calls) == (2, [])
    assert "./folder is English-only" in result.stderr


def test_several_measures_between_commas(run: Run, model: FakeModel, manifest: Path) -> None:
    result = run("evaluate", "manifest.json", "--measure", "language,transcription", "-q")
    assert result.stdout.split()[:5] == ["clips", "min", "WER", "CER", "LID"]


RTTM = """\
SPEAKER talk 1 0 2 <NA> <NA> anna <NA> <NA>
SPEAKER talk 1 2 3 <NA> <NA> ben <NA> <NA>
"""
TURNS = (Turn(start=0.0, end=2.0, speaker="Speaker 1"), Turn(start=2.0, end=4.0, speaker="Speaker 2"))


@pytest.fixture
def diarizer(monkeypatch: pytest.MonkeyPatch) -> FakeDiarizer:
    fake = FakeDiarizer(TURNS)
    monkeypatch.setattr("mtasr.speakers.diarize.load_diarizer", fake.load)
    return fake


def test_a_manifest_with_speakers_tells_them_apart(
    run: Run, model: FakeModel, diarizer: FakeDiarizer, folder: Path
) -> None:
    segments = [{"speaker": "anna", "text": "Hello there."}, {"speaker": "ben", "text": "How are you?"}]
    (folder / "a.rttm").write_text(RTTM)
    row = {"audio": "a.wav", "language": "fr", "segments": segments, "rttm": "a.rttm"}
    (folder / "manifest.json").write_text(json.dumps([row]))
    texts = [(" Hello there. How", "Speaker 1"), (" are you?", "Speaker 2")]
    model.segments = [replace(segment(place, text), speaker=speaker) for place, (text, speaker) in enumerate(texts)]
    model.turns = TURNS
    result = run("evaluate", "manifest.json", "--json", "out.json", "--num-speakers", "2", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    assert model.speakers == [SpeakerOptions(num_speakers=2)]
    lines = [line.split() for line in result.stdout.splitlines() if line]
    assert lines[0] == ["clips", "min", "WER", "cpWER", "CER", "LID", "RTF"]
    assert lines[2][:5] == ["all", "1", "0.1", "0.0", "40.0"]
    assert " ".join(lines[3]) == "DER missed FA conf. JER N off N right"
    assert lines[5] == ["all", "20.0", "20.0", "0.0", "0.0", "16.7", "0.0", "100.0"]
    assert " ".join(lines[-3]) == "Recordings with the most seconds of speakers wrong:"
    assert lines[-2] == ["seconds", "DER", "missed", "FA", "conf.", "JER", "cpWER", "speakers"]
    assert lines[-1] == ["a.wav", "1.0", "20.0", "20.0", "0.0", "0.0", "16.7", "40.0", "2", "of", "2"]
    assert json.loads((folder / "out.json").read_text())["total"]["der"] == pytest.approx(0.2)


def test_without_the_measure_speakers_are_not_told_apart(run: Run, model: FakeModel, folder: Path) -> None:
    (folder / "a.rttm").write_text(RTTM)
    (folder / "manifest.csv").write_text("audio,text,rttm\na.wav,hello there how are you,a.rttm\n")
    result = run("evaluate", "manifest.csv", "--measure", "transcription")
    assert (result.exit_code, model.speakers) == (0, [False])
    assert "DER" not in result.stdout


def test_a_manifest_of_turns_alone_needs_no_model(
    run: Run, model: FakeModel, diarizer: FakeDiarizer, folder: Path
) -> None:
    make_tone(folder / "talk.wav", seconds=1)
    (folder / "a.rttm").write_text(RTTM)
    (folder / "manifest.csv").write_text("audio,rttm\ntalk.wav,a.rttm\n")
    result = run("evaluate", "manifest.csv", "--collar", "0.25", "--max-speakers", "3", "--html", "out.html")
    assert (result.exit_code, result.stderr, model.loads) == (0, "wrote out.html\n", [])
    assert diarizer.options == [SpeakerOptions(max_speakers=3)]
    # Of 4 seconds between collars, 0.75 are missed: 4.0-4.75.
    assert result.stdout.startswith("1 recording, 0.0 min, real-time factor (RTF) ")
    assert "all  18.8" in result.stdout
    assert "?" not in result.stdout
    assert "<title>manifest.csv</title>" in (folder / "out.html").read_text()


def test_names_are_whole_and_without_the_folders_they_share(
    run: Run, diarizer: FakeDiarizer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    (folder / "a.rttm").write_text(RTTM)
    names = [f"{place}/a talk with a name that is longer than a terminal is wide, {place}.wav" for place in "bc"]
    for name in names:
        (folder / "talks" / name).parent.mkdir(parents=True)
        make_tone(folder / "talks" / name, seconds=2 if name == names[0] else 3)
    rows = [{"audio": str(folder / "talks" / name), "rttm": "a.rttm"} for name in names]
    (folder / "manifest.json").write_text(json.dumps(rows))
    diarizer.found = TURNS[:1]
    result = run("evaluate", "manifest.json")
    assert result.exit_code == 0, result.stderr
    assert [line[: len(names[0])] for line in result.stdout.splitlines()[-2:]] == names


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("--num-speakers", "2", "--max-speakers", "3"),
            "leave out --min-speakers and --max-speakers",
        ),
        (("--collar", "-1"), "-1.0 is not in the range x>=0"),
        (("--measure", "speakers"), "the manifest lacks the fields to measure speakers"),
    ],
)
def test_options_of_speakers_that_make_no_sense(
    run: Run, model: FakeModel, manifest: Path, args: tuple[str, ...], message: str
) -> None:
    result = run("evaluate", "manifest.json", *args)
    assert (result.exit_code, model.loads) == (2, [])
    assert message in result.stderr


def test_names_that_are_not_utf_8(run: Run, manifest: Path) -> None:
    place = manifest.parent / os.fsdecode(b"f\xff")
    place.mkdir()
    files = {"a.wav": "a.wav", "b.mp3": os.fsdecode(b"b\xff.mp3")}
    for name in files.values():
        (place / name).write_bytes(b"sound")
    manifest.write_text(json.dumps([row | {"audio": files[row["audio"]]} for row in MANIFEST]))
    manifest.rename(place / os.fsdecode(b"m\xff.json"))
    result = run("evaluate", str(place / os.fsdecode(b"m\xff.json")), "--json", "out.json", "--html", "out.html")
    assert result.exit_code == 0
    assert "\nb\\udcff.mp3  2 of 4" in result.stdout
    clips = json.loads(Path("out.json").read_text("utf-8"))["clips"]
    assert [clip["audio"] for clip in clips] == [str(place / name) for name in files.values()]
    assert r"<h1>m\udcff.json: base</h1>" in Path("out.html").read_text("utf-8")


def test_without_the_extra(run: Run, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jiwer", None)
    result = run("evaluate", "manifest.json")
    assert result.exit_code == 2
    assert result.stderr == f"mtasr: error: this needs jiwer: {install_extra('evaluate')} brings it\n"
