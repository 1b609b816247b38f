"""Jobs from the queue to their results, with a stand-in for the network."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from job_runs import Gate, Jobs, hearing, until

from mtasr.audio.tracks import Tracks
from mtasr.cli import program
from mtasr.errors import ModelNotFoundError, OutputError
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.options import DecodingOptions
from mtasr.server.jobs.following import follow
from mtasr.server.jobs.request import JobRequest
from mtasr.server.jobs.store import QueueFullError, Room
from mtasr.transcribe import Model

MakeJobs = Callable[..., Jobs]


def test_what_was_asked_for_survives_the_store() -> None:
    options = DecodingOptions(language="fr", temperature=(0.0, 0.4), clip_timestamps=(1.0, 2.0), suppress_tokens=())
    tracks = Tracks(channels="split", speakers=("Ann", "Ben"))
    request = JobRequest(model="base", options=options, tracks=tracks, output_format="srt", strict=True)
    assert JobRequest.of(json.loads(json.dumps(request.document()))) == request


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "arguments"),
    [({}, []), ({"also_translate": True, "n_best": 2}, ["--also-translate", "--n-best", "2"])],
    ids=["defaults", "translation"],
)
def test_results_are_the_command_lines_bytes(
    make_jobs: MakeJobs,
    long_recording: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, object],
    arguments: list[str],
) -> None:
    monkeypatch.setattr("mtasr.transcribe.load_model", lambda *_, **__: hearing())
    command = ["transcribe", str(long_recording), "-f", "all", "-o", str(tmp_path / "out"), "-q", *arguments]
    assert CliRunner().invoke(program, command, prog_name="mtasr").exit_code == 0
    expected = {path.name.removeprefix("long"): path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(expected) >= {f".{name}" for name in OUTPUT_FORMATS}
    jobs = make_jobs()
    jobs.runner.start()
    job = jobs.ended(jobs.add(long_recording, **options))
    assert (job.status, job.error) == ("done", None)
    results = {name.removeprefix("transcript"): content for name, content in jobs.results(job).items()}
    assert results == expected
    assert len(jobs.kept(job)) == len(results), "the recording or the journal is left"


def test_a_job_tells_what_it_found(make_jobs: MakeJobs, long_recording: Path) -> None:
    jobs = make_jobs()
    jobs.runner.start()
    job = jobs.ended(jobs.add(long_recording))
    assert job.findings is not None
    document = json.loads(jobs.runner.files.result(job.id, "json").read_text())
    for name in ("language", "language_probability", "duration", "coverage"):
        assert job.findings[name] == document[name]
    assert job.findings["warnings"] == []


def test_segments_are_published_as_they_come(make_jobs: MakeJobs, long_recording: Path) -> None:
    jobs = make_jobs(hearing(pause=0.05))
    job = jobs.add(long_recording)
    feed = jobs.runner.feed(job.id)
    assert feed is not None
    jobs.runner.start()
    news, counts = threading.Event(), []
    with feed.listening(news.set):
        while not feed.state.is_closed:
            assert news.wait(30)
            news.clear()
            counts.append(feed.state.segments)
    assert feed.state.job == jobs.get(job)
    assert jobs.runner.feed(job.id) is None
    document = json.loads(jobs.runner.files.result(job.id, "json").read_text())
    assert feed.segments_after(0) == document["segments"]
    assert feed.segments_after(3) == document["segments"][3:]
    assert counts == sorted(counts)
    assert len(set(counts)) > 2, "all came at once"


def test_a_server_that_stops_continues_later(make_jobs: MakeJobs, long_recording: Path, gate: Gate) -> None:
    undisturbed = make_jobs()
    undisturbed.runner.start()
    expected = undisturbed.results(undisturbed.ended(undisturbed.add(long_recording)))
    undisturbed.runner.close()

    first = hearing(fails=gate)
    jobs = make_jobs(first)
    job = jobs.add(long_recording)
    jobs.runner.start()
    feed = jobs.runner.feed(job.id)
    assert feed is not None
    until(lambda: feed.state.segments == 2)
    seen = feed.segments_after(0)
    jobs.runner.close()
    gate.open()
    assert feed.state.is_closed
    assert not feed.state.job.has_ended

    second = hearing()
    jobs = make_jobs(second)
    assert jobs.get(job).status == "queued"
    jobs.runner.start()
    feed = jobs.runner.feed(job.id)
    assert feed is not None
    assert jobs.ended(job).futile == 0
    assert feed.segments_after(0)[:2] == seen
    assert jobs.results(job) == expected
    both = {heard.number for engine in (first.engine, second.engine) for heard in engine.encoded}
    assert len(second.engine.encoded) < len(both)


def test_jobs_run_beside_each_other(make_jobs: MakeJobs, long_recording: Path, gate: Gate) -> None:
    jobs = make_jobs(hearing(fails=gate), at_once=2)
    first, second, third = (jobs.add(long_recording) for _ in range(3))
    jobs.runner.start()
    until(lambda: jobs.lent == 2)
    assert [jobs.get(job).status for job in (first, second, third)] == ["running", "running", "queued"]
    gate.open()
    assert [jobs.ended(job).status for job in (first, second, third)] == ["done"] * 3
    until(lambda: jobs.lent == 0)


def test_a_removed_job_stops_and_leaves_nothing(make_jobs: MakeJobs, long_recording: Path, gate: Gate) -> None:
    jobs = make_jobs(hearing(fails=gate), at_once=1)
    running, waiting = jobs.add(long_recording), jobs.add(long_recording)
    jobs.runner.start()
    feeds = [jobs.runner.feed(job.id) for job in (running, waiting)]
    until(lambda: jobs.get(running).status == "running" and jobs.lent)
    for job in (waiting, running):
        assert not jobs.runner.remove(job.id, "bert")
        assert jobs.runner.remove(job.id, "anna")
        assert jobs.runner.store.get(job.id) is None
    assert [feed is not None and feed.state.job.status for feed in feeds] == ["cancelled"] * 2
    until(lambda: not jobs.lent)
    until(lambda: not any((jobs.folder / "jobs").iterdir()))
    gate.open()
    assert jobs.ended(jobs.add(long_recording)).status == "done"


@pytest.mark.parametrize("starts", [False, True], ids=["queued", "done"])
def test_who_follows_a_job_that_was_removed_hears_so(make_jobs: MakeJobs, long_recording: Path, starts: bool) -> None:
    jobs = make_jobs()
    job = jobs.add(long_recording)
    if starts:
        jobs.runner.start()
        job = jobs.ended(job)
    assert jobs.runner.remove(job.id, "anna")

    async def heard() -> list[bytes]:
        return [each async for each in follow(jobs.runner, job, 0, 60.0)]  # it was looked up before

    (data,) = re.findall(r"event: done\n(?:id: .*\n)?data: (.*)\n", asyncio.run(heard())[-1].decode())
    document = json.loads(data)
    assert document["status"] == "cancelled"
    assert document["ended"] is not None


@pytest.mark.parametrize("options", [{"condition_on_previous_text": True}, {}], ids=["previous text", "side by side"])
def test_a_job_is_cancelled_wherever_it_is(
    make_jobs: MakeJobs, long_recording: Path, options: dict[str, object]
) -> None:
    jobs = make_jobs(hearing(pause=0.02), at_once=1)
    jobs.runner.start()
    chooser = random.Random(1)
    for _ in range(6):
        job = jobs.add(long_recording, **options)
        time.sleep(chooser.uniform(0, 0.2))
        assert jobs.runner.remove(job.id, "anna")
    until(lambda: not jobs.lent and not any((jobs.folder / "jobs").iterdir()), within=20)
    gc.collect()  # which reports recordings that were left open


def test_a_job_that_was_done_when_the_server_died(
    make_jobs: MakeJobs, long_recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_jobs()
    job = jobs.add(long_recording)

    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    monkeypatch.setattr(jobs.runner.store, "end", die)
    run = jobs.runner._next()
    assert run is not None
    with pytest.raises(Died):
        jobs.runner._run(run)
    results = jobs.results(job)
    assert len(results) == len(OUTPUT_FORMATS)
    jobs.runner.close()

    model = hearing()
    jobs = make_jobs(model)
    jobs.runner.start()
    assert jobs.ended(job).status == "done"
    assert model.engine.encoded == []
    assert jobs.get(job).findings is not None
    assert jobs.results(job) == results
    assert len(jobs.kept(job)) == len(results)


def truncate(recording: Path) -> None:
    os.truncate(recording, 100)


def replace_by_noise(recording: Path) -> None:
    recording.write_bytes(random.Random(0).randbytes(recording.stat().st_size))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "the server has lost the recording"),
        (truncate, r"the server's copy of the recording is damaged: 100 of its \d+ bytes remain"),
        (replace_by_noise, "long.wav: .*"),
    ],
    ids=["missing", "truncated", "noise"],
)
def test_a_damaged_recording_fails_its_job(
    make_jobs: MakeJobs, long_recording: Path, damage: Callable[[Path], None], message: str
) -> None:
    jobs = make_jobs()
    damaged, whole = jobs.add(long_recording), jobs.add(long_recording)
    damage(jobs.runner.files.folder(damaged.id) / "recording.wav")
    jobs.runner.start()
    job = jobs.ended(damaged)
    assert (job.status, jobs.ended(whole).status) == ("failed", "done")
    assert job.error is not None
    assert job.error["code"] == "invalid_audio"
    assert re.fullmatch(message, job.error["message"])
    assert str(jobs.folder) not in job.error["message"]
    assert not jobs.runner.files.folder(job.id).exists()


def test_damaged_notes_never_stop_the_server(make_jobs: MakeJobs, long_recording: Path) -> None:
    chooser = random.Random(2)
    jobs = make_jobs()
    jobs.runner.start()
    expected = jobs.results(jobs.ended(jobs.add(long_recording)))
    jobs.runner.close()
    for damage in ("torn", "shuffled", "folder"):
        gate = Gate(2)
        jobs = make_jobs(hearing(fails=gate))
        job = jobs.add(long_recording)
        feed = jobs.runner.feed(job.id)
        jobs.runner.start()
        until(lambda feed=feed: feed.state.segments == 2)
        jobs.runner.close()
        gate.open()
        (journal,) = (jobs.runner.files.folder(job.id) / ".mtasr-journal").iterdir()
        content = journal.read_bytes()
        if damage == "folder":
            journal.unlink()
            journal.mkdir()
        elif damage == "torn":
            journal.write_bytes(content[: len(content) * 2 // 3])
        else:
            lines = content.splitlines(keepends=True)
            journal.write_bytes(b"".join(chooser.sample(lines, len(lines))) + chooser.randbytes(300) + b"\n{}\n[1]\n")
        jobs = make_jobs()
        jobs.runner.start()
        assert jobs.ended(job).status == "done", damage
        assert jobs.results(job) == expected, damage
        jobs.runner.close()


def test_a_damaged_note_of_what_was_asked_for_fails_its_job(make_jobs: MakeJobs, long_recording: Path) -> None:
    jobs = make_jobs()
    job = jobs.add(long_recording)
    jobs.runner.store._connection.execute('UPDATE jobs SET request = \'{"model": "base", "opt\'')
    jobs.runner.start()
    job = jobs.ended(job)
    assert job.error is not None
    assert job.error["message"] == "the server cannot use its note of what was asked for: 'options'"


def test_a_model_that_cannot_be_had_fails_its_job(tmp_path: Path, long_recording: Path) -> None:
    @contextlib.contextmanager
    def lend(name: str, is_wanted: object) -> Iterator[None]:
        raise ModelNotFoundError(f"there is no model {name!r} here")
        yield

    jobs = Jobs(tmp_path, hearing())
    jobs.runner._lend = lend  # type: ignore[assignment]
    job = jobs.add(long_recording)
    jobs.runner.start()
    error = jobs.ended(job).error
    jobs.runner.close()
    assert error is not None
    assert (error["message"], error["code"]) == ("there is no model 'base' here", "model_not_found")


def test_a_bug_fails_its_job_alone(make_jobs: MakeJobs, long_recording: Path, caplog: pytest.LogCaptureFixture) -> None:
    failing = [True]
    jobs = make_jobs(hearing(fails=lambda heard: failing[0]))
    job = jobs.add(long_recording)
    jobs.runner.start()
    error = jobs.ended(job).error
    assert error is not None
    assert error["message"].startswith("the server has failed")
    assert "the engine stopped" in caplog.text
    failing.clear()
    failing.append(False)
    assert jobs.ended(jobs.add(long_recording)).status == "done"


def test_recordings_that_are_too_long_are_refused(make_jobs: MakeJobs, long_recording: Path) -> None:
    jobs = make_jobs(most_seconds=20.0)
    jobs.runner.start()
    error = jobs.ended(jobs.add(long_recording)).error
    assert error is not None
    assert "longer than" in error["message"]
    assert "20 s" in error["message"]


def test_ended_jobs_are_removed_in_time(make_jobs: MakeJobs, long_recording: Path, gate: Gate) -> None:
    jobs = make_jobs(hearing(fails=gate), retention=0.1, at_once=1)
    job = jobs.add(long_recording)
    jobs.runner.start()
    time.sleep(0.3)  # several looks at what is too old
    assert jobs.get(job).status == "running"
    gate.open()
    until(lambda: jobs.runner.store.get(job.id) is None)
    until(lambda: not jobs.runner.files.folder(job.id).exists())


def test_what_a_killed_server_left_is_removed(make_jobs: MakeJobs, long_recording: Path) -> None:
    jobs = make_jobs()
    jobs.runner.start()
    done = jobs.ended(jobs.add(long_recording))
    results = jobs.kept(done)
    jobs.runner.close()
    folder = jobs.folder / "jobs"
    (folder / done.id / "recording.wav").write_bytes(b"sound")
    (folder / "job_removed").mkdir()
    (folder / "job_removed" / "transcript.txt").write_text("said")
    jobs = make_jobs()
    jobs.runner.start()
    assert [path.name for path in folder.iterdir()] == [done.id]
    assert jobs.kept(done) == results


def test_the_recording_that_killed_a_server_is_kept(make_jobs: MakeJobs, long_recording: Path) -> None:
    jobs = make_jobs()
    job = jobs.add(long_recording)
    for _ in range(2):
        assert jobs.runner.store.claim() is not None
        jobs.runner.store.note_start(job.id)
        jobs.runner.close()
        jobs = make_jobs()
    jobs.runner.start()
    assert jobs.get(job).status == "failed"
    assert [path.name for path in jobs.kept(job)] == ["recording.wav"]


def test_a_job_is_not_to_blame_before_it_has_its_model(tmp_path: Path, long_recording: Path) -> None:
    futile: list[int] = []

    @contextlib.contextmanager
    def lend(name: str, is_wanted: object) -> Iterator[Model]:
        futile.append(jobs.get(job).futile)
        yield hearing(fails=note)

    def note(heard: object) -> bool:
        futile.append(jobs.get(job).futile)
        return False

    jobs = Jobs(tmp_path, hearing())
    jobs.runner._lend = lend
    job = jobs.add(long_recording)
    jobs.runner.start()
    jobs.ended(job)
    jobs.runner.close()
    assert futile[:2] == [0, 1]


def test_a_folder_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(OutputError, match="data: is a file, not a folder"):
        Jobs(tmp_path / "data", hearing())


def test_folders_are_private(make_jobs: MakeJobs, long_recording: Path) -> None:
    jobs = make_jobs()
    job = jobs.add(long_recording)
    for folder in (jobs.folder, jobs.folder / "jobs", jobs.runner.files.folder(job.id)):
        assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_of_somebody_else_keeps_its_permissions(tmp_path: Path, make_jobs: MakeJobs) -> None:
    data = tmp_path / "data"
    data.mkdir(0o755)
    data.chmod(0o755)
    make_jobs()
    assert data.stat().st_mode & 0o777 == 0o755
    assert (data / "jobs").stat().st_mode & 0o777 == 0o700


def test_a_recording_is_safe_before_its_job_is_promised(
    make_jobs: MakeJobs, long_recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_jobs()
    synced: list[tuple[str, int]] = []
    fsync, add = os.fsync, jobs.runner.store.add

    def note_sync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.append(("folder" if stat.S_ISDIR(found.st_mode) else "file", found.st_ino))
        fsync(descriptor)

    def note_add(*arguments: object, **more: object) -> object:
        synced.append(("job", 0))
        return add(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("os.fsync", note_sync)
    monkeypatch.setattr(jobs.runner.store, "add", note_add)
    folder = jobs.runner.files.folder(jobs.add(long_recording).id)
    recording = folder / "recording.wav"
    wanted = [("file", recording), ("folder", folder), ("folder", folder.parent)]
    assert synced[:4] == [*((kind, path.stat().st_ino) for kind, path in wanted), ("job", 0)]


def test_a_queue_that_is_full_keeps_no_recording(make_jobs: MakeJobs, long_recording: Path) -> None:
    jobs = make_jobs(room=Room(jobs=1))
    job = jobs.add(long_recording)
    with pytest.raises(QueueFullError):
        jobs.add(long_recording)
    assert [path.name for path in (jobs.folder / "jobs").iterdir()] == [job.id]


def test_a_full_disk_fails_a_job_and_is_survived(
    make_jobs: MakeJobs, long_recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_jobs()
    job = jobs.add(long_recording)

    def write_text(target: Path, write_to: object) -> None:
        raise OutputError(f"{target}: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mtasr.batch.outputs.atomic.write_text", write_text)
        jobs.runner.start()
        error = jobs.ended(job).error
    assert error is not None
    assert error["code"] == "storage_error"
    assert str(jobs.folder) not in error["message"]
    assert jobs.ended(jobs.add(long_recording)).status == "done"


def test_an_end_that_cannot_be_noted_is_noted_later(
    make_jobs: MakeJobs, long_recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtasr.server.jobs.runner._POLL", 0.05)
    jobs = make_jobs()
    end, refusals = jobs.runner.store.end, [OutputError("full"), OutputError("full")]

    def fails_twice(*arguments: object) -> object:
        if refusals:
            raise refusals.pop()
        return end(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs.runner.store, "end", fails_twice)
    jobs.runner.start()
    assert jobs.ended(jobs.add(long_recording)).status == "done"
    assert not refusals
