"""A batch from Python: no command line, and no `rich`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fake_model import FakeModel
from fakes import HearingEngine
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.batch import BatchRun, Ending, Job, Observer, gather, plan
from mtasr.batch.journal import FOLDER
from mtasr.errors import AudioDecodeError, ClusterError, OutputError, UsageError, WorkerDiedError
from mtasr.transcribe import Model, Transcription
from mtasr.transcript import Coverage, Segment, Transcript


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    (tmp_path / "in").mkdir()
    for name in ("a.wav", "b.wav", "c.wav"):
        (tmp_path / "in" / name).write_bytes(b"sound of " + name.encode())
    return plan(gather([str(tmp_path / "in")]), tmp_path / "out", ["srt", "txt"])


class Log(Observer):
    """Writes down what it sees; raises `interrupt` at the second recording."""

    def __init__(self, interrupt: BaseException | None = None) -> None:
        self.seen: list[str] = []
        self.interrupt = interrupt

    def begun(self, jobs: Sequence[Job]) -> None:
        self.seen.append(f"begun {len(jobs)}")

    def discarded(self) -> None:
        self.seen.append("discarded")

    @contextmanager
    def transcribing(self, job: Job, transcription: Transcription) -> Iterator[None]:
        self.seen.append(f"> {Path(job.name).stem}")
        yield
        self.seen.append("<")

    def segment(self, segment: Segment) -> None:
        self.seen.append(segment.text)
        if self.interrupt is not None and self.seen.count("<"):
            raise self.interrupt

    def transcribed(self, job: Job, transcription: Transcription, transcript: Transcript) -> None:
        self.seen.append(transcript.language)

    def ended(self, ending: Ending) -> None:
        self.seen.append(ending.result)

    def kept(self) -> None:
        self.seen.append("kept")

    def finished(self) -> None:
        self.seen.append("finished")


def results(batch: BatchRun) -> list[tuple[str, str]]:
    return [(Path(ending.name).stem, ending.result) for ending in batch.run()]


def test_each_recording_ends(jobs: list[Job]) -> None:
    model = FakeModel(errors={jobs[1].source: AudioDecodeError("b.wav: it is noise")})
    first, second, third = BatchRun(jobs, model).run()
    assert first.files == tuple(map(str, jobs[0].files))
    assert (first.result, first.seconds, first.language, first.reason) == ("done", 4.0, "fr", "")
    assert (second.result, second.reason, type(second.error)) == ("failed", "b.wav: it is noise", AudioDecodeError)
    assert third.result == "done"
    assert jobs[2].targets["txt"].read_text() == "Hello there.\nHow are you?\n"


def test_a_batch_ends_with_the_cluster_and_not_with_a_worker(jobs: list[Job]) -> None:
    log = Log()
    lost = ClusterError("the head is gone")
    model = FakeModel(errors={jobs[1].source: WorkerDiedError("b.wav: died"), jobs[2].source: lost})
    with pytest.raises(ClusterError, match="the head is gone"):
        list(BatchRun(jobs, model, observer=log).run())
    assert [each for each in log.seen if each in ("done", "failed", "kept", "finished")] == ["done", "failed", "kept"]


def test_a_batch_goes_on_after_an_interruption(jobs: list[Job]) -> None:
    model, stopped = FakeModel(), Log(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        results(BatchRun(jobs, model, observer=stopped))
    assert stopped.seen[-1] == "kept"
    model.calls.clear()
    resumed = Log()
    assert results(BatchRun(jobs, model, existing="resume", observer=resumed)) == [
        ("a", "skipped"), ("b", "done"), ("c", "done"),
    ]  # fmt: skip
    assert resumed.seen == [
        "skipped", "begun 2", "> b", " Hello there.", " How are you?", "<", "fr", "done",
        "> c", " Hello there.", " How are you?", "<", "fr", "done", "finished",
    ]  # fmt: skip
    assert [source for source, _ in model.calls] == [job.source for job in jobs[1:]]
    assert not (jobs[0].directory / FOLDER).exists()


def test_a_caller_that_leaves_early_can_go_on(jobs: list[Job]) -> None:
    run = BatchRun(jobs, FakeModel()).run()
    assert next(run).result == "done"
    run.close()  # type: ignore[attr-defined]
    assert results(BatchRun(jobs, FakeModel(), existing="resume")) == [("a", "skipped"), ("b", "done"), ("c", "done")]
    log = Log()
    run = BatchRun(jobs, FakeModel(), observer=log).run()
    next(run)
    run.close()  # type: ignore[attr-defined]
    results(BatchRun(jobs, FakeModel(), observer=log))
    assert "discarded" in log.seen


def test_decoded_windows_are_not_decoded_again(tmp_path: Path) -> None:
    sentence = speak("The train leaves at noon from the second platform.")
    write_wav(tmp_path / "long.wav", np.tile(np.concatenate([sentence, np.zeros(SAMPLE_RATE, np.float32)]), 15))
    jobs = plan(gather([str(tmp_path / "long.wav")]), tmp_path, ["json"])
    engines: list[HearingEngine] = []

    def model() -> Model:
        engines.append(HearingEngine())
        return Model(engines[-1], lambda: "hearing")

    class Stop(Observer):
        def segment(self, segment: Segment) -> None:
            raise KeyboardInterrupt

    (whole,) = BatchRun(jobs, model).run()
    content = jobs[0].targets["json"].read_bytes()
    jobs[0].targets["json"].unlink()
    with pytest.raises(KeyboardInterrupt):
        list(BatchRun(jobs, model, observer=Stop()).run())
    (resumed,) = BatchRun(jobs, model, existing="resume").run()
    assert resumed == whole
    assert jobs[0].targets["json"].read_bytes() == content
    assert 0 < len(engines[2].generated) < len(engines[0].generated)


def test_no_model_is_loaded_for_nothing(jobs: list[Job]) -> None:
    def load() -> Model:
        raise AssertionError

    for job in jobs:
        job.directory.mkdir(exist_ok=True)
        for file in job.files:
            file.write_text("before")
    assert {ending.result for ending in BatchRun(jobs, load, existing="skip").run()} == {"skipped"}
    for job in jobs:
        Path(job.source).unlink()
    assert {ending.result for ending in BatchRun(jobs, load).run()} == {"failed"}


def test_a_full_disk_behind_the_text_costs_no_file(jobs: list[Job]) -> None:
    log = Log(OutputError("standard output: No space left on device"))
    assert results(BatchRun(jobs, FakeModel(), observer=log)) == [("a", "done"), ("b", "failed"), ("c", "failed")]
    assert all(file.exists() for job in jobs for file in job.files)


def test_nor_does_one_behind_the_last_text(jobs: list[Job]) -> None:
    class Late(Observer):
        def all_segments(self) -> None:
            raise OutputError("standard output: No space left on device")

    assert {result for _, result in results(BatchRun(jobs, FakeModel(), observer=Late()))} == {"failed"}
    assert all(file.exists() for job in jobs for file in job.files)


def test_doubts_come_with_their_places(jobs: list[Job]) -> None:
    coverage = Coverage(speech=3.0, speech_without_text=((1.0, 2.0),))
    ending = next(iter(BatchRun(jobs, FakeModel(coverage=coverage)).run()))
    assert (ending.result, ending.coverage) == ("in doubt", coverage)


def test_what_to_do_about_earlier_results_is_one_of_three(jobs: list[Job]) -> None:
    with pytest.raises(UsageError, match="existing must be one of overwrite, skip, resume, not 'replace'"):
        BatchRun(jobs, FakeModel(), existing="replace")  # type: ignore[arg-type]


def test_it_needs_neither_click_nor_rich() -> None:
    code = "import sys; sys.modules['click'] = sys.modules['rich'] = None; import mtasr.batch, mtasr.batch.journal"
    subprocess.run([sys.executable, "-c", code], check=True)
