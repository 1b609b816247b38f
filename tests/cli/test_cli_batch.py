from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from fake_model import FakeModel, Run
from test_cli_process import on_a_terminal

from mtasr.batch.journal import FOLDER
from mtasr.cli.display import Display
from mtasr.cli.display.pace import Pace
from mtasr.errors import AudioDecodeError
from mtasr.transcript import Coverage

NOISE = AudioDecodeError("b.mp3: it is noise")


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.srt"))


def worked_on(model: FakeModel) -> list[str]:
    found = [source for source, _ in model.calls]
    model.calls.clear()
    return found


def test_the_files_of_a_folder_mirror_it(run: Run, folder: Path) -> None:
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "sub" / "deep" / "a.wav").write_bytes(b"sound")
    assert run("transcribe", ".", "-r", "-o", "out").exit_code == 0
    assert written(folder) == ["out/a.srt", "out/b.srt", "out/c d.srt", "out/sub/deep/a.srt"]
    assert not (folder / "out" / FOLDER).exists()


def test_same_stems_in_a_folder_are_refused_before_any_work(run: Run, folder: Path, model: FakeModel) -> None:
    (folder / "a.mp4").write_bytes(b"sound")
    result = run("transcribe", ".")
    assert result.exit_code == 2
    assert "a.mp4 and a.wav would both be written to a.srt" in result.stderr
    assert not model.loads


def test_a_list(run: Run, folder: Path, model: FakeModel) -> None:
    (folder / "list").write_text("b.mp3\nc d.wav\n")
    assert run("transcribe", "--files-from", "list", "a.wav").exit_code == 0
    assert worked_on(model) == ["a.wav", "b.mp3", "c d.wav"]


def test_what_does_not_go_together(run: Run, model: FakeModel) -> None:
    result = run("transcribe", "a.wav", "--resume", "--skip-existing")
    assert result.exit_code == 2
    assert "--skip-existing and --resume exclude each other" in result.stderr
    assert run("transcribe").exit_code == 2
    assert not model.loads


def test_files_that_are_there_are_replaced_or_left(run: Run, folder: Path, model: FakeModel) -> None:
    (folder / "a.srt").write_text("mine")
    (folder / "a.txt").write_text("mine")
    (folder / "b.srt").write_text("mine")
    result = run("transcribe", "a.wav", "b.mp3", "-f", "srt", "-f", "txt", "--skip-existing")
    assert result.exit_code == 0
    assert worked_on(model) == ["b.mp3"], "of which one of two is there"
    assert (folder / "a.srt").read_text() == "mine"
    assert "1 of 2 done; 1 of 2 skipped" in result.stderr
    assert run("transcribe", "a.wav", "--overwrite").exit_code == 0
    assert (folder / "a.srt").read_text() != "mine"


def test_no_model_is_loaded_for_nothing(run: Run, folder: Path, model: FakeModel) -> None:
    (folder / "a.srt").write_text("mine")
    result = run("transcribe", "a.wav", "--skip-existing")
    assert result.exit_code == 0
    assert not model.loads


def test_resume_does_what_is_left(run: Run, folder: Path, model: FakeModel) -> None:
    model.errors = {"b.mp3": NOISE}
    failed = run("transcribe", ".")
    assert failed.exit_code == 6
    assert "finished work is kept: the same command with --resume continues from here" in failed.stderr
    assert worked_on(model) == ["a.wav", "b.mp3", "c d.wav"]
    (folder / "c d.srt").write_text("changed")
    model.errors = {}
    result = run("transcribe", ".", "--resume")
    assert result.exit_code == 0
    assert worked_on(model) == ["b.mp3", "c d.wav"]
    assert "2 of 3 done; 1 of 3 skipped" in result.stderr
    assert written(folder) == ["a.srt", "b.srt", "c d.srt"]
    assert (folder / "c d.srt").read_text() == (folder / "b.srt").read_text()
    assert not (folder / FOLDER).exists()


def test_the_journal_goes_last(run: Run, model: FakeModel, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Display, "finish", killed)
        run("transcribe", ".")
    assert written(folder) == ["a.srt", "b.srt", "c d.srt"]
    worked_on(model)
    assert run("transcribe", ".", "--resume").exit_code == 0
    assert worked_on(model) == []
    assert not (folder / FOLDER).exists()


def test_without_resume_all_is_done_again_and_a_note_says_so_once(run: Run, model: FakeModel, folder: Path) -> None:
    model.errors = {"b.mp3": NOISE}
    run("transcribe", ".")
    worked_on(model)
    model.errors = {}
    result = run("transcribe", ".")
    assert len(worked_on(model)) == 3
    assert "--resume would have kept" in result.stderr
    assert "--resume" not in run("transcribe", ".").stderr


def test_other_options_are_other_work(run: Run, model: FakeModel) -> None:
    model.errors = {"b.mp3": NOISE}
    run("transcribe", ".")
    worked_on(model)
    run("transcribe", ".", "--resume", "--beam-size", "1")
    assert len(worked_on(model)) == 3


def test_failures_are_listed_at_the_end_with_reasons(run: Run, model: FakeModel) -> None:
    model.errors = {"b.mp3": NOISE}
    model.coverage = Coverage(speech=3.0, speech_without_text=((1.0, 2.0),))
    result = run("transcribe", "a.wav", "b.mp3", "missing.wav")
    assert result.exit_code == 6
    assert result.stderr.splitlines()[-4:] == [
        result.stderr.splitlines()[-4],
        "in doubt: a.wav: speech without text at 00:01.000-00:02.000",
        "failed: b.mp3: it is noise",
        "failed: missing.wav: no such file",
    ]
    assert result.stderr.splitlines()[-4].endswith("; 1 of 3 in doubt; 2 of 3 failed")


def test_a_table_on_a_terminal(folder: Path) -> None:
    code, screen = on_a_terminal(folder, "transcribe", "a.wav", "missing.wav", FAKE_DELAY="0.3")
    assert code == 6
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    table = plain[plain.index("Recording") :]
    assert re.search(r"a\.wav +0:04 +fr +done", table)
    assert re.search(r"missing\.wav +failed +no such file", table)
    assert all(len(line) <= 80 for line in table.splitlines())


def test_bars_for_the_file_and_for_the_batch(folder: Path) -> None:
    code, screen = on_a_terminal(folder, "transcribe", "a.wav", "b.mp3", "--no-verbose", FAKE_DELAY="0.4")
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    assert re.search(r"file 2 of 2 .* 75%  0:06  \d+\.\dx  0:0\d left", plain)
    assert "Line 0 [bold]:smile:[/bold]" in plain


def test_progress_for_programs(run: Run, model: FakeModel) -> None:
    model.errors = {"b.mp3": NOISE}
    result = run("transcribe", "a.wav", "b.mp3", "missing.wav", "--progress", "json", "--quiet")
    assert result.exit_code == 6
    events = [json.loads(line) for line in result.stderr.splitlines()]
    kinds = [event["event"] for event in events if event["event"] != "note"]
    assert kinds == ["end", "batch", "file", "progress", "progress", "end", "file", "progress", "end", "finish"]
    by_kind = {event["event"]: event for event in events}
    assert by_kind["batch"] == {"event": "batch", "files": 2}
    assert by_kind["finish"].items() >= {"done": 1, "in_doubt": 0, "failed": 2, "skipped": 0, "seconds": 4.0}.items()
    first = next(event for event in events if event["event"] == "progress")
    assert first.items() >= {"file": "a.wav", "position": 2.0, "duration": 4.0, "text": "Hello there."}.items()
    ends = [event for event in events if event["event"] == "end"]
    assert [(end["file"], end["result"], end["reason"], end["files"]) for end in ends] == [
        ("missing.wav", "failed", "missing.wav: no such file", []),
        ("a.wav", "done", "", ["a.srt"]),
        ("b.mp3", "failed", "b.mp3: it is noise", []),
    ]


def test_doubts_for_programs(run: Run, model: FakeModel) -> None:
    model.coverage = Coverage(speech=3.0, speech_without_text=((1.0, 2.0),))
    result = run("transcribe", "a.wav", "--progress", "json")
    events = {event["event"]: event for event in map(json.loads, result.stderr.splitlines())}
    assert (events["end"]["result"], events["finish"]["in_doubt"], events["finish"]["done"]) == ("in_doubt", 1, 0)


def test_no_progress_is_no_bar(folder: Path) -> None:
    code, screen = on_a_terminal(folder, "transcribe", "a.wav", "--progress", "none", FAKE_DELAY="0.3")
    assert code == 0
    assert "━" not in screen
    assert "-->" in screen


def test_the_time_left_is_estimated_from_sizes() -> None:
    now = 0.0
    pace = Pace({"a": 100, "b": 300}, _began=0.0, _clock=lambda: now)
    assert (pace.fraction(), pace.left(), pace.speed()) == (0.0, None, None)
    now = 10.0
    assert pace.fraction("a", 30.0, 60.0) == 0.125
    assert pace.left("a", 30.0, 60.0) == pytest.approx(70.0)
    assert pace.speed(30.0) == 3.0
    pace.end("a", 60.0)
    assert pace.fraction("b", 5.0, None) == 0.25
    pace.end("b", 60.0)
    assert (pace.fraction(), pace.left(), pace.files) == (1.0, 0.0, 2)
    pace = Pace({"a": 100, "b": 300, "c": 300})
    pace.end("a", 0.0)
    assert (pace.fraction(), pace.left(), pace.files) == (0.0, None, 1), "what failed tells nothing"
    pace.end("b", 60.0)
    assert pace.fraction() == 0.5
    assert Pace({"-": 0}).fraction() == 0.0, "standard input has no size"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read anything")
def test_a_folder_that_may_not_be_read(run: Run, folder: Path) -> None:
    (folder / "sub").mkdir(mode=0)
    result = run("transcribe", ".", "-r")
    assert result.exit_code == 3
    assert "sub: cannot be read: Permission denied" in result.stderr
