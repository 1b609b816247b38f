from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_model import segment

from mtasr.atomic import remove_torn, write_text
from mtasr.batch.identity import content_of
from mtasr.batch.journal import FOLDER, Entry, Journal, notes_of
from mtasr.batch.outputs import Job
from mtasr.decoding.submission import DecodedWindow
from mtasr.decoding.windows import Place
from mtasr.engines.engine import LanguageGuess
from mtasr.transcript import Alternatives, Reading, Segment, Word

Keep = Callable[..., Entry]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "a.wav").write_bytes(b"sound")
    return job_of(tmp_path / "a.wav", tmp_path)


def job_of(source: Path, directory: Path, stem: str = "a") -> Job:
    return Job(str(source), directory, stem, ("srt",))


def entry(job: Job, *, resume: bool = True, settings: object = "options") -> Entry:
    found = Journal(job.directory, [settings], resume=resume).entry(job)
    assert found is not None
    return found


def place(start: int, seconds: float = 1.0) -> Place:
    return Place(start, round(seconds * 16_000))


def full_result() -> DecodedWindow:
    """With all that a result may hold, and numbers that have no short form."""
    words = (Word(word=" naïve", start=0.1 + 0.2, end=2 / 3, probability=1 / 7),)
    first = segment(0, ' He said "naïve" \ud800')
    said = Segment(
        **{name: getattr(first, name) for name in Segment.__dataclass_fields__}
        | {"words": words, "language": "fr", "speaker": "Anna", "avg_logprob": -1 / 3}
    )
    readings = Alternatives(start=0.0, end=1.0, readings=(Reading(text="one", avg_logprob=-0.1),), speaker="Anna")
    return DecodedWindow((said,), 1.1, (readings,), (segment(0, " English"),))


def stopped(job: Job, *results: tuple[int, DecodedWindow]) -> Entry:
    """Entry of a run that ends here."""
    run = entry(job, resume=False)
    noted = run.notes(0)
    assert noted.guesses() is None
    noted.note_guesses([LanguageGuess("fr", 1 / 3), LanguageGuess("en", 0.1)])
    for start, result in results:
        noted.note_result(place(start), result)
    assert run._hashing is not None
    run._hashing.join()
    return run


def path_of(job: Job) -> Path:
    (path,) = (job.targets["srt"].parent / FOLDER).iterdir()
    return path


def test_everything_comes_back_as_it_was(job: Job) -> None:
    stopped(job, (16_000, full_result()), (0, DecodedWindow((), 0.5)))
    noted = entry(job).notes(0)
    assert noted.guesses() == [LanguageGuess("fr", 1 / 3), LanguageGuess("en", 0.1)]
    assert noted.result(place(16_000)) == full_result()
    assert noted.result(place(0)) == DecodedWindow((), 0.5)
    assert noted.result(place(0, 2.0)) is None
    assert entry(job).notes(1).guesses() is None


@pytest.mark.parametrize("cut", range(2, 60, 7))
def test_a_torn_line_costs_that_line(job: Job, cut: int) -> None:
    stopped(job, (0, full_result()), (16_000, full_result()))
    lines = [line for line in path_of(job).read_bytes().splitlines(keepends=True) if line.strip()]
    lines.sort(key=lambda line: b"16000," in line)  # the hash may come at any time
    path_of(job).write_bytes(b"".join(lines)[:-cut])
    run = entry(job)
    noted = run.notes(0)
    assert noted.result(place(0)) == full_result()
    assert noted.result(place(16_000)) is None
    noted.note_result(place(16_000), full_result())
    run.close()
    assert entry(job).notes(0).result(place(16_000)) == full_result()


def test_lines_that_make_no_sense_cost_nothing_else(job: Job) -> None:
    stopped(job, (0, full_result()))
    senseless = (
        b'null\n5\n{"guesses": 1}\n{"channel": 0, "guesses": [1]}\n{"channel": [], "guesses": []}\n'
        + b"[" * 100_000
        + b"\n"
        b'{"channel": 0, "start": 0, "samples": 16000, "result": {"segments": 5}}\n\xff\n'
    )
    path_of(job).write_bytes(senseless + path_of(job).read_bytes() + b"\n" + senseless)
    noted = entry(job).notes(0)
    assert noted.guesses() == [LanguageGuess("fr", 1 / 3), LanguageGuess("en", 0.1)]
    assert noted.result(place(0)) == full_result()


def test_only_the_same_recording_with_the_same_options_is_the_same(job: Job, tmp_path: Path) -> None:
    stopped(job, (0, full_result()))
    assert entry(job, settings="others").notes(0).result(place(0)) is None
    Path(job.source).write_bytes(b"another")
    assert entry(job).notes(0).result(place(0)) is None
    Path(job.source).write_bytes(b"sound")
    assert entry(job).notes(0).result(place(0)) is None, "what is of no use is gone"


def without(job: Job, *kinds: str) -> None:
    """Take lines out of the notes."""
    kept = [line for line in path_of(job).read_text().splitlines() if not any(f'"{kind}"' in line for kind in kinds)]
    path_of(job).write_text("\n".join(kept))


def test_notes_that_never_said_of_what_they_are(job: Job) -> None:
    stopped(job, (0, full_result()))
    without(job, "content", "state")
    assert entry(job).notes(0).result(place(0)) is None


def test_what_is_noted_before_the_hash_is_known_is_used(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = threading.Event()
    monkeypatch.setattr("mtasr.batch.journal.content_of", lambda *of: content_of(*of) if hashes.wait(20) else None)
    run = entry(job, resume=False)
    noted = run.notes(0)
    assert noted.result(place(0)) is None
    noted.note_result(place(0), full_result())
    again = entry(job)  # as if the first run had been killed
    assert again.notes(0).result(place(0)) == full_result()
    again.notes(0).note_result(place(16_000), full_result())
    assert '"content"' not in path_of(job).read_text()
    third = entry(job)
    assert third.notes(0).result(place(16_000)) == full_result()
    hashes.set()
    for each in (run, again, third):
        assert each._hashing is not None
        each._hashing.join()
    assert '"content"' in path_of(job).read_text()


@pytest.mark.parametrize("change", ["longer", "touched", "of the same size and time"])
def test_notes_without_a_hash_are_of_no_use_once_the_file_has_changed(job: Job, change: str) -> None:
    stopped(job, (0, full_result()))
    without(job, "content")
    source = Path(job.source)
    before = source.stat()
    time.sleep(0.05)  # the clock of a file system ticks some hundred times a second
    if change == "touched":
        os.utime(source)
    else:
        source.write_bytes(b"other" if change != "longer" else b"much longer")
    if change == "of the same size and time":
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (source.stat().st_size, source.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert entry(job).notes(0).result(place(0)) is None


def test_the_hash_goes_before_what_else_is_known_of_the_file(job: Job) -> None:
    stopped(job, (0, full_result()))
    os.utime(job.source, (1, 1))
    assert entry(job).notes(0).result(place(0)) == full_result()


def test_a_recording_that_changes_while_it_is_decoded_has_no_hash(job: Job) -> None:
    run = entry(job, resume=False)
    Path(job.source).write_bytes(b"another")
    noted = run.notes(0)
    assert noted.result(place(0)) is None
    noted.note_result(place(0), full_result())
    assert run._hashing is not None
    run._hashing.join()
    assert entry(job).notes(0).result(place(0)) is None
    job.targets["srt"].write_text("1")
    run.done()
    assert not entry(job).is_done()


def test_done_is_what_is_written_as_it_would_be_now(job: Job) -> None:
    target = job.targets["srt"]
    run = stopped(job, (0, full_result()))
    assert not entry(job).is_done()
    target.write_text("1")
    run.done()
    assert len(path_of(job).read_bytes()) < 300, "no results are kept of what is done"
    assert entry(job).is_done()
    assert not entry(job, settings="others").is_done()
    target.write_text("2")
    assert not entry(job).is_done()
    target.write_text("1")
    Path(job.source).write_bytes(b"another")
    assert not entry(job).is_done()
    target.unlink()
    assert not entry(job).is_done()


def test_files_that_become_others_are_made_of_the_same_windows(job: Job, tmp_path: Path) -> None:
    def made_with(turns: str) -> Entry:
        found = Journal(tmp_path, ["options"], resume=True).entry(job, turns)
        assert found is not None
        return found

    stopped(job, (0, full_result()))
    for turns in ("Ann", "Bea"):
        run = made_with(turns)
        assert not run.is_done()
        assert run.notes(0).result(place(0)) == full_result()
        job.targets["srt"].write_text(turns)
        run.done()
        assert made_with(turns).is_done()
    assert not made_with("Ann").is_done()
    assert not entry(job).is_done()


def test_without_resume_all_begins_anew(job: Job) -> None:
    stopped(job, (0, full_result()))
    journal = Journal(job.targets["srt"].parent, ["options"])
    assert journal.entry(job) is not None
    assert journal.discarded == 1
    assert entry(job).notes(0).result(place(0)) is None


def test_the_journal_is_deleted_after_success(job: Job, tmp_path: Path) -> None:
    journal = Journal(tmp_path, ["options"])
    run = journal.entry(job)
    assert run is not None
    run.notes(0).guesses()
    run.notes(0).note_result(place(0), full_result())
    job.targets["srt"].write_text("1")
    run.done()
    journal.close(keep=True)
    assert (tmp_path / FOLDER).exists()
    journal.close(keep=False)
    assert not (tmp_path / FOLDER).exists()


def test_whether_anything_is_noted(job: Job, tmp_path: Path) -> None:
    stopped(job, (0, full_result()))
    other = Journal(tmp_path, ["others"])
    other.entry(job)
    assert not other.exists, "those of others do not count"
    journal = Journal(tmp_path, ["options"], resume=True)
    journal.entry(job)
    assert journal.exists


def test_only_what_is_of_use_is_left(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, ["options"])
    run = journal.entry(job)
    assert run is not None
    run.notes(0).guesses()
    run.notes(0).note_guesses([LanguageGuess("fr", 1.0)])
    journal.close(keep=True)
    assert not (tmp_path / FOLDER).exists(), "no window is noted"
    monkeypatch.setattr(Entry, "_add_content", lambda self: None)  # as if it took long
    for state, is_kept in ([96000, 1, 2], True), (None, False):
        monkeypatch.setattr("mtasr.batch.journal.state_of", lambda *of, state=state: state)
        journal = Journal(tmp_path, ["options"])
        run = journal.entry(job)
        assert run is not None
        run.notes(0).guesses()
        run.notes(0).note_result(place(0), full_result())
        journal.close(keep=True)
        assert (tmp_path / FOLDER).exists() == is_kept, "a window is kept if anything says of which recording it is"


@pytest.mark.parametrize("made_with", [None, "turns"])
def test_what_is_done_stays_noted_without_any_window(job: Job, tmp_path: Path, made_with: str | None) -> None:
    """As of a recording of silence."""
    journal = Journal(tmp_path, ["options"])
    run = journal.entry(job, made_with)
    assert run is not None
    run.notes(0).guesses()
    job.targets["srt"].write_text("")
    run.done()
    run.close()
    journal.close(keep=True)
    again = Journal(tmp_path, ["options"], resume=True).entry(job, made_with)
    assert again is not None
    assert again.is_done()


def test_at_the_end_files_of_killed_writers_are_removed(job: Job, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    journal = Journal(tmp_path, ["options"])
    run = journal.entry(job_of(Path(job.source), tmp_path, "inner/a"))
    assert run is not None
    noted = run.notes(0)
    noted.guesses()
    noted.note_result(place(0), full_result())
    torn = [place / ".mtasr-0123.part" for place in (tmp_path, inner, tmp_path / FOLDER)]
    for path in torn:
        path.write_text("half")
        os.utime(path, (0, 0))
    journal.close(keep=True)
    assert not any(path.exists() for path in torn)
    assert path_of(job).exists()


def test_notes_for_the_model(job: Job) -> None:
    stopped(job, (0, full_result()))
    assert notes_of(entry(job))(0).result(place(0)) == full_result()
    noted = notes_of(None)(0)
    noted.note_result(place(0), full_result())
    assert noted.result(place(0)) is None


def test_notes_that_are_not_kept_are_deleted_when_done(job: Job, tmp_path: Path) -> None:
    run = Journal(tmp_path, ["options"], keeps_done=False).entry(job)
    assert run is not None
    run.notes(0).guesses()
    run.notes(0).note_result(place(0), full_result())
    job.targets["srt"].write_text("1")
    run.done()
    assert not list((tmp_path / FOLDER).iterdir())


def test_notes_have_the_recordings_files_in_their_name_and_not_its_place(tmp_path: Path) -> None:
    def name(folder: str, stem: str, settings: str = "options") -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "a.wav").write_bytes(b"sound")
        found = Journal(tmp_path, [settings]).entry(job_of(tmp_path / folder / "a.wav", tmp_path, stem))
        assert found is not None
        return found.path.name

    assert name("one", "a") == name("other", "a")
    assert len({name("one", "a"), name("one", "b"), name("one", "a", "others")}) == 3
    assert len(name("one", "a")) == 16 + len(".jsonl")


def test_notes_of_others_stay(job: Job, tmp_path: Path) -> None:
    stopped(job, (0, full_result()))
    other = Journal(tmp_path, ["others"])
    other.entry(job)
    other.close(keep=False)
    assert entry(job).notes(0).result(place(0)) == full_result()


def test_a_failure_without_results_leaves_nothing(job: Job) -> None:
    run = stopped(job)
    run.close()
    run.notes(0).note_result(place(0), full_result())  # too late
    assert not list((job.targets["srt"].parent / FOLDER).iterdir())


def test_a_folder_that_takes_no_notes_costs_nothing_else(job: Job, tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    run = entry(job)
    run.notes(0).guesses()
    run.notes(0).note_result(place(0), full_result())
    job.targets["srt"].write_text("1")
    run.done()
    assert not run.is_done()


def test_what_can_be_read_once_has_no_notes(tmp_path: Path) -> None:
    assert Journal(tmp_path, []).entry(job_of(Path("-"), tmp_path, "stdin")) is None
    os.mkfifo(tmp_path / "pipe")
    assert Journal(tmp_path, []).entry(job_of(tmp_path / "pipe", tmp_path, "pipe")) is None


def test_files_of_killed_writers_are_removed(tmp_path: Path) -> None:
    torn, other = tmp_path / ".mtasr-0123.part", tmp_path / ".mtasr.part"
    for path in (torn, other):
        path.write_text(json.dumps("half"))
    remove_torn(tmp_path)
    assert not torn.exists()
    assert other.exists()


def test_files_of_living_writers_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment that they are made to the moment that they have their names."""
    opened, replace = Path.open, Path.replace

    def sweep_after(path: Path, *args: Any, **options: Any) -> Any:
        stream = opened(path, *args, **options)
        if "x" in args:
            monkeypatch.setattr(Path, "open", opened)
            remove_torn(tmp_path)  # before it is locked, so this one is gone
        return stream

    def sweep_before(path: Path, target: Path) -> Path:
        remove_torn(tmp_path)
        return replace(path, target)

    monkeypatch.setattr(Path, "open", sweep_after)
    monkeypatch.setattr(Path, "replace", sweep_before)
    write_text(tmp_path / "a.srt", lambda stream: (stream.write("whole"), stream.flush(), remove_torn(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["a.srt"]
    assert (tmp_path / "a.srt").read_text() == "whole"


def test_want_of_memory_costs_notes_and_nothing_else(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be it for the thread that takes the hash of a recording, or for the hash."""

    def no_room(*_: object) -> None:
        raise MemoryError

    for what in ("mtasr.batch.journal.start_thread", "hashlib.file_digest"):
        with monkeypatch.context() as patch:
            patch.setattr(what, no_room)
            run = entry(job, resume=False)
            assert run.notes(0).result(place(0)) is None
            run.notes(0).note_result(place(0), full_result())
            job.targets["srt"].write_text("1")
            run.done()
        assert entry(job).is_done() == (what != "hashlib.file_digest")
