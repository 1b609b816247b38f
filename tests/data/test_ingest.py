"""Folders and manifests -> records."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from shard_files import write_shard
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.cli import program
from mtasr.data.ingest import IngestOptions, ingest
from mtasr.data.reading import read_records
from mtasr.data.records import Caption, Record
from mtasr.errors import InputError, InputNotFoundError, UsageError

SRT = "1\n00:00:00,500 --> 00:00:01,500\nGood morning.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "b [x].wav", "deep/c.wav", "silent.wav"):
        path = tmp_path / "radio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wav(path, np.zeros(2 * SAMPLE_RATE, np.float32))
    return tmp_path / "radio"


def gather(path: Path, **options: object) -> tuple[list[Record], list[str]]:
    problems: list[str] = []
    records = list(ingest(path, IngestOptions(**options), problems.append))  # type: ignore[arg-type]
    return records, problems


def test_a_folder(folder: Path) -> None:
    (folder / "a.srt").write_text(SRT)
    (folder / "a.txt").write_text("not looked at, since there are subtitles")
    (folder / "b [x].it.vtt").write_text("WEBVTT\n\n00:00.100 --> 00:01.000\nBuongiorno.\n")
    (folder / "b [x].en.txt").write_text("Good morning.")
    (folder / "deep" / "c.json").write_text('{"language": "french", "segments": []}')
    records, problems = gather(folder, language="it")
    found = {(r.id, r.task, r.language, r.text, r.timed, r.source) for r in records}
    assert found == {
        ("a", "transcribe", "it", "Good morning.", True, "radio"),
        ("b [x].it", "transcribe", "it", "Buongiorno.", True, "radio"),
        ("b [x].en", "translate", "it", "Good morning.", False, "radio"),
        ("deep/c", "transcribe", "it", "", True, "radio/deep"),
    }
    assert {record.duration for record in records} == {2.0}
    assert problems == [f"{folder}/silent.wav: has no captions beside it (.srt, .vtt, .json, .txt)"]
    untimed = next(record for record in records if not record.timed)
    assert untimed.captions == (Caption(start=0.0, end=2.0, text="Good morning."),)
    assert next(r for r in gather(folder)[0] if r.id == "deep/c").language == "fr"


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "jsonl.gz"])
def test_manifests(folder: Path, kind: str) -> None:
    rows = [
        {"path": "a.wav", "sentence": "Buongiorno, pane.", "lang": "Italian", "translation": "Good morning, bread."},
        {"path": "deep/c.wav", "sentence": "Hello.", "lang": "", "translation": ""},
        {"path": "a.wav", "sentence": "", "lang": "it", "translation": ""},
        {"path": "none.wav", "sentence": "Hello.", "lang": "en", "translation": ""},
        {"path": "a.wav", "sentence": "nuqneH", "lang": "klingon", "translation": ""},
    ]
    path = folder / f"all.{kind}"
    if "json" not in kind:
        mark = "\t" if kind == "tsv" else ","
        lines = [mark.join(f'"{value}"' for value in row) for row in [list(rows[0]), *(r.values() for r in rows)]]
        path.write_text("\n".join(lines))
    else:
        text = json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows))
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    records, problems = gather(path, language="en")
    assert [(r.id, r.language, r.task, r.text) for r in records] == [
        ("a", "it", "transcribe", "Buongiorno, pane."),
        ("a.en", "it", "translate", "Good morning, bread."),
        ("c", "en", "transcribe", "Hello."),
    ]
    first = 2 if "json" not in kind else 1
    assert problems[0] == f"{path}, entry {first + 2}: has no audio or no text"
    assert problems[1] == f"{folder}/none.wav: no such file"
    assert "unknown language 'klingon'" in problems[2]
    assert len(problems) == 3


def test_records_are_taken_as_they_are(folder: Path) -> None:
    (folder / "a.srt").write_text(SRT)
    records, _ = gather(folder, language="en")
    path = folder / "all.jsonl"
    path.write_text("".join(json.dumps(record.to_json()) + "\n" for record in records) + '{"cues": []}\n')
    again, problems = gather(path)
    assert again == records
    assert problems == [f"{path}, entry 2: audio is missing"]


def test_cuts_of_lhotse_join_to_a_recording(folder: Path) -> None:
    recording = {"id": "a", "sources": [{"type": "file", "source": "a.wav"}], "duration": 2.0}
    cuts = [
        {"id": "1", "start": 0.2, "duration": 0.8, "recording": recording,
         "supervisions": [{"start": 0.1, "duration": 0.5, "text": "Ciao.", "language": "Italian"}]},
        {"id": "2", "start": 1.0, "duration": 0.5, "recording": recording, "supervisions": []},
        {"id": "3", "start": 0.0, "duration": 0.5, "recording": {}, "supervisions": []},
    ]  # fmt: skip
    path = folder / "cuts.jsonl"
    path.write_text("\n".join(map(json.dumps, cuts)))
    (found,), problems = gather(path)
    assert (found.language, found.source, found.timed) == ("it", "cuts", True)
    assert [(round(c.start, 3), round(c.end, 3), c.text) for c in found.captions] == [
        (0.0, 0.2, ""), (0.3, 0.8, "Ciao."), (1.5, 2.0, ""),
    ]  # fmt: skip
    assert len(problems) == 1
    assert "entry 3: is not a cut as lhotse writes it" in problems[0]


def test_times_by_speech(folder: Path) -> None:
    silence = np.zeros(SAMPLE_RATE, np.float32)
    spoken = speak("Good morning, this is the baker.")
    write_wav(folder / "a.wav", np.concatenate([silence, spoken, silence]))
    (folder / "a.txt").write_text("Good morning, this is the baker.")
    (caption,) = next(r for r in gather(folder, time_by_speech=True)[0] if r.id == "a").captions
    assert caption.start == pytest.approx(1.0, abs=0.2)
    assert caption.end == pytest.approx(1.0 + len(spoken) / SAMPLE_RATE, abs=0.3)


def test_sources_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        gather(tmp_path / "none")
    (tmp_path / "a.doc").touch()
    with pytest.raises(UsageError, match="is neither a folder"):
        gather(tmp_path / "a.doc")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        gather(tmp_path / "a.json")


def test_shards_beside_recordings_are_ambiguous(folder: Path) -> None:
    write_shard(folder / "backup.tar", range(2))
    with pytest.raises(UsageError, match=r"holds recordings beside shards; .* give '.*/\*\.tar'"):
        list(ingest(folder, IngestOptions(), print))
    found = list(ingest(folder / "*.tar", IngestOptions(), print))
    assert [each.id for each in found] == ["n0", "n1"]


def test_records_without_a_language_cause_a_warning(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", speak("The bread is warm."))
    (tmp_path / "a.txt").write_text("The bread is warm.")
    done = CliRunner().invoke(program, ["data", "ingest", str(tmp_path), str(tmp_path / "all.jsonl")])
    assert done.exit_code == 0, done.output
    assert done.output == (
        f"1 record written to {tmp_path / 'all.jsonl'}\n"
        "mtasr: warning: 1 record without a language, which training refuses: give --language, or name the "
        "language of each (talk.it.srt, a column language)\n"
    )


def test_the_commands(folder: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    spoken = speak("Good morning, this is the baker. The bread is warm.")
    write_wav(folder / "a.wav", spoken)
    end = len(spoken) / SAMPLE_RATE
    (folder / "a.srt").write_text(
        f"1\n00:00:00,100 --> 00:00:0{end:.3f}".replace(".", ",")
        + "\nGood morning, this is the baker. The bread is warm."
    )
    (folder / "b [x].txt").write_text("Купите хлеб.")
    done = runner.invoke(program, ["data", "ingest", str(folder), str(tmp_path / "all.jsonl"), "--language", "en"])
    assert done.exit_code == 6, done.output
    assert "skipped" in done.output
    assert f"2 records written to {tmp_path / 'all.jsonl'}\n" in done.output
    command = ["data", "filter", str(tmp_path / "all.jsonl"), str(tmp_path / "kept.jsonl")]
    done = runner.invoke(program, [*command, "--report", str(tmp_path / "report.json")])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("kept: 1 record,")
    assert "wrong script (radio): 1 record," in done.output
    assert [record.id for record in read_records(tmp_path / "kept.jsonl")] == ["a"]
    assert json.loads((tmp_path / "report.json").read_text())["dropped"][0]["reason"] == "wrong script"
    for wrong in (
        ["data", "filter", str(tmp_path / "all.jsonl"), str(tmp_path / "all.jsonl")],
        [*command, "--report", str(tmp_path / "all.jsonl")],
        [*command, "--evaluation", str(tmp_path / "kept.jsonl")],
        ["data", "ingest", str(tmp_path / "all.jsonl"), str(tmp_path / "all.jsonl")],
        ["data", "label", str(folder / "a.wav"), str(folder / "a.wav")],
    ):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert runner.invoke(program, wrong).exit_code == 2, wrong
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    command[3] = str(tmp_path / "other.jsonl")
    done = runner.invoke(program, [*command, "--evaluation", str(tmp_path / "kept.jsonl")])
    assert "in the evaluation data (radio): 1 record," in done.output


def test_nothing_that_can_be_used_is_an_error_and_no_empty_file(tmp_path: Path) -> None:
    (tmp_path / "talks").mkdir()
    (tmp_path / "talks" / "a.wav").write_bytes(b"sound")
    done = CliRunner().invoke(program, ["data", "ingest", str(tmp_path / "talks"), str(tmp_path / "all.jsonl")])
    assert done.exit_code == 3
    assert "has no captions beside it" in done.output
    assert [each.name for each in tmp_path.iterdir()] == ["talks"]


@pytest.mark.weights
def test_a_model_judges(folder: Path, tmp_path: Path) -> None:
    write_wav(folder / "a.wav", speak("Good morning, this is the baker. The bread is warm today."))
    (folder / "a.txt").write_text("Good morning, this is the baker. The bread is warm today.")
    write_wav(folder / "b [x].wav", speak("We sell letters and stamps until noon, and then we go home."))
    (folder / "b [x].txt").write_text("Nobody has ever seen the sea from this small window.")
    runner = CliRunner()
    runner.invoke(program, ["data", "ingest", str(folder), str(tmp_path / "all.jsonl"), "--language", "en"])
    done = runner.invoke(
        program, ["data", "filter", str(tmp_path / "all.jsonl"), str(tmp_path / "kept.jsonl"), "--model", "base"]
    )
    assert "the model hears something else (radio): 1 record," in done.output
    assert [record.id for record in read_records(tmp_path / "kept.jsonl")] == ["a"]
    done = runner.invoke(program, ["data", "audit", str(tmp_path / "all.jsonl")])
    rate, hours, source = done.output.splitlines()[-1].split("\t")
    assert 0.2 < float(rate) < 0.9
    assert source == "radio"
    assert float(hours) > 0
