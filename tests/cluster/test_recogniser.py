"""Batches on a cluster that stands in, with real workers and a small model: the same bytes as on one machine."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from speech import speak, write_wav
from stand_in_nodes import StandInNodes
from tiny_model import make_tiny_model

from mtasr.batch import BatchRun, Ending, gather, plan
from mtasr.batch.journal import FOLDER
from mtasr.batch.run import Observer
from mtasr.cluster import ClusterModel, errands, tasks, worker
from mtasr.cluster.tasks import ChunkTask, SurveyTask, Task, WholeTask
from mtasr.cluster.worker import NodeWorker
from mtasr.decoding.windows import Place
from mtasr.options import DecodingOptions
from mtasr.recordings.versions import version_of
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import load_model

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]

OPTIONS = DecodingOptions(beam_size=1, temperature=(0.0, 0.8))


class Recorded(NodeWorker):
    """Remembers its tasks; dies before the n-th of all."""

    tasks: list[Task]
    nodes: StandInNodes
    dies_at: int | None = None
    counter: Iterator[int]

    def work(self, task: Task) -> object:
        if next(self.counter) == self.dies_at:
            next(each for each in self.nodes.living if each.target is self).kill()
        self.tasks.append(task)
        return super().work(task)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short recordings and a longer one, which the tests treat as a long one."""
    talks = tmp_path_factory.mktemp("talks")
    for number, words in enumerate(("The tide comes in.", "Nobody saw the heron.", "We walk home along the dike.")):
        write_wav(talks / f"short-{number}.wav", speak(words))
    pause = np.zeros(SAMPLE_RATE, np.float32)
    sentences = [speak(f"This is sentence {number} of a long talk.") for number in range(9)]
    write_wav(talks / "long.wav", np.concatenate([part for each in sentences for part in (each, pause)]))
    talks.joinpath("text.wav").write_text("no sound")
    return talks


@pytest.fixture(autouse=True)
def long_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LONG_SECONDS", 15.0)
    monkeypatch.setattr(worker, "_LEAST_BYTES", 15 * 32_000)
    monkeypatch.setattr(errands, "_CHUNK_SECONDS", 8.0)


def cluster(folder: Path, recordings: Path, *, dies_at: int | None = None) -> tuple[ClusterModel, list[Task]]:
    kind = type("Kind", (Recorded,), {"tasks": [], "counter": itertools.count(), "dies_at": dies_at})
    nodes = StandInNodes(2, lambda node: kind())
    kind.nodes = nodes
    return ClusterModel(nodes, folder, [*map(str, recordings.iterdir())], device="cpu"), kind.tasks


def batch(
    model: object, recordings: Path, output: Path, options: DecodingOptions = OPTIONS, **settings: object
) -> list[Ending]:
    jobs = plan(gather([str(recordings)]), output, ["json", "srt"])
    return list(BatchRun(jobs, model, options, **settings).run())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def local(folder: Path, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Ending]]:
    output = tmp_path_factory.mktemp("local")
    return output, batch(load_model(folder, device="cpu", threads=1), recordings, output)


def told(endings: list[Ending], output: Path) -> list[tuple[str, ...]]:
    return [(each.name, each.result, each.reason, *(Path(file).name for file in each.files)) for each in endings]


def test_the_bytes_are_those_of_one_machine(
    folder: Path, recordings: Path, tmp_path: Path, local: tuple[Path, list[Ending]]
):
    with (parts := cluster(folder, recordings))[0] as model:
        endings = batch(model, recordings, tmp_path)
    assert contents(tmp_path) == contents(local[0])
    assert told(endings, tmp_path) == told(local[1], local[0])
    chunks = [task for task in parts[1] if isinstance(task, ChunkTask)]
    assert len(chunks) >= 3
    assert {task.source for task in chunks} == {str(recordings / "long.wav")}
    assert {task.version for task in chunks} == {version_of(recordings / "long.wav")}


def test_a_dead_worker_changes_nothing(
    folder: Path, recordings: Path, tmp_path: Path, local: tuple[Path, list[Ending]]
):
    for dies_at in (0, 3):
        output = tmp_path / str(dies_at)
        with cluster(folder, recordings, dies_at=dies_at)[0] as model:
            batch(model, recordings, output)
        assert contents(output) == contents(local[0])


def test_a_batch_of_one_machine_goes_on_on_many(folder: Path, recordings: Path, tmp_path: Path):
    """A batch that was stopped in the middle of the long recording, and had noted some of its windows."""

    class Stopped(Observer):
        def all_segments(self) -> None:
            raise KeyboardInterrupt

    # The journal holds what passes the checks, and nothing that a model of random weights says would.
    unchecked = replace(OPTIONS, compression_ratio_threshold=None, logprob_threshold=None)
    one, output = load_model(folder, device="cpu", threads=1), tmp_path / "many"
    batch(one, recordings, tmp_path / "one", unchecked)
    with pytest.raises(KeyboardInterrupt):
        batch(one, recordings, output, unchecked, observer=Stopped())
    assert not contents(output)
    noted = cut(output / FOLDER)
    model, sent = cluster(folder, recordings)
    with model:
        assert model.fingerprint() == one.fingerprint(), "whatever the processors of the nodes are"
        batch(model, recordings, output, unchecked, existing="resume")
    long = str(recordings / "long.wav")
    assert long in {task.source for task in sent if isinstance(task, SurveyTask)}
    assert long not in {source for task in sent if isinstance(task, WholeTask) for source in task.sources}
    again = {outline.place for task in sent if isinstance(task, ChunkTask) for outline in task.outlines}
    assert again
    assert not noted & again
    assert contents(output) == contents(tmp_path / "one")


def cut(journal: Path) -> set[Place]:
    """Leave in a journal half of the windows of the longest recording, as a kill might have. Returns their places."""
    lines = {path: path.read_text().splitlines() for path in journal.glob("*.jsonl")}
    longest = max(lines, key=lambda path: len(results_in(lines[path])))
    results = results_in(lines[longest])
    assert len(results) >= 2
    left = results[: len(results) // 2]
    others = [line for line in lines[longest] if line not in results]
    for path in lines:
        path.unlink()
    longest.write_text("\n".join([*others, *left]) + "\n")
    return {Place(record["start"], record["samples"]) for record in map(json.loads, left)}


def results_in(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if '"result"' in line]


def test_long_seconds_is_half_an_hour():
    assert tasks.LONG_SECONDS == 1800
