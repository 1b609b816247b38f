"""Training over shards: what training over files gives, killed or not, in one process or two."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from training_model import Configure, write_tones

from mtasr.data.reading import read_records
from mtasr.data.records import write_records
from mtasr.data.shards.packing import pack
from mtasr.errors import UsageError
from mtasr.training.config import TrainConfig, make_config, to_document
from mtasr.training.finetune import steps_for
from mtasr.training.loop import train
from mtasr.training.objectives import make_objective
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints, load_document

#: Hours of three of the recordings, so that a pool has so many.
POOL = f"data.pool_hours={10.0 / 3600}"
#: Two sources of which one counts three times as much, languages made more equal, and batches of one or two excerpts.
MIXED = [POOL, "data.weights=[3, 1]", "data.temperature=5", "data.join=0", "data.padding=1"]


def losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in read_log(output / "log.jsonl") if "loss" in entry]


def weights(output: Path) -> dict[str, Any]:
    return load_document(checkpoints(output)[-1])["model"]


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two folders of shards, and of the same records as files."""
    folder = tmp_path_factory.mktemp("tones")
    path = write_tones(folder, 9)
    records = list(read_records(path))
    for name, some in (("a", records[:6]), ("b", records[6:])):
        write_records(some, folder / f"{name}.jsonl")
        pack(folder / f"{name}.jsonl", folder / name, print)
    return folder


@pytest.fixture
def sharded(configure: Configure, tones: Path) -> Configure:
    def made(output: Path, *overrides: str, steps: int = 4) -> TrainConfig:
        return configure(output, f"data.train=[{tones / 'a'}, {tones}/b/*.tar]", *overrides, steps=steps)

    return made


def test_shards_are_as_good_as_files(configure: Configure, sharded: Configure, tones: Path, tmp_path: Path) -> None:
    train(configure(tmp_path / "files", f"data.train=[{tones}/a.jsonl, {tones}/b.jsonl]", steps=3))
    train(sharded(tmp_path / "shards", steps=3))
    assert losses(tmp_path / "files") == losses(tmp_path / "shards")


def test_a_run_resumes_within_a_shard(sharded: Configure, tmp_path: Path) -> None:
    settings = [*MIXED, "save_every=2", "keep=9"]
    train(sharded(tmp_path / "whole", *settings))
    assert read_log(tmp_path / "whole/log.jsonl")[-1]["epoch"] >= 1
    train(sharded(tmp_path / "stopped", *settings))
    for path in checkpoints(tmp_path / "stopped")[1:]:
        path.unlink()
    train(sharded(tmp_path / "stopped", *settings))
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")


def test_a_run_with_other_weights_is_another(sharded: Configure, tmp_path: Path) -> None:
    train(sharded(tmp_path / "run", *MIXED, steps=1))
    with pytest.raises(UsageError, match="another data"):
        train(sharded(tmp_path / "run", *MIXED, "data.weights=[1, 1]", steps=1))


def test_all_data_is_learned_in_as_many_epochs_as_it_takes(sharded: Configure, tmp_path: Path) -> None:
    plain = ["data.join=0", "data.silence=1", "data.short=0", "optimizer.accumulation=1"]
    config = sharded(tmp_path / "run", POOL, *plain)
    objective = make_objective(config)
    assert 1 / objective.passes_per_epoch == pytest.approx(10 / 3, rel=0.1)
    heard = [
        part.audio
        for number in range(10)
        for batch in objective.epoch(number)
        for example in batch
        for part in example.excerpt.parts
    ]
    assert len(heard) == 30
    assert {heard.count(audio) for audio in heard} == {3}
    batches = sum(len(objective.epoch(number)) for number in range(20)) / 20
    assert steps_for(config, 3) == pytest.approx(3 * batches * 10 / 3, abs=1)


def test_shards_in_a_language_that_the_model_does_not_know(sharded: Configure, tones: Path, tmp_path: Path) -> None:
    records = [replace(each, language=None) for each in read_records(tones / "a.jsonl")]
    write_records(records, tmp_path / "none.jsonl")
    pack(tmp_path / "none.jsonl", tmp_path / "none", print, audio="copy")
    with pytest.raises(UsageError, match="the record 0 names no language"):
        train(sharded(tmp_path / "run", f"data.train={tmp_path / 'none'}"))


@pytest.mark.slow
def test_a_killed_run_over_shards_resumes_with_the_same_losses(sharded: Configure, tmp_path: Path) -> None:
    steps, every = 12, 2
    settings = [*MIXED, f"steps={steps}", f"save_every={every}", "optimizer.accumulation=2"]
    train(sharded(tmp_path / "whole", *settings))
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(to_document(sharded(tmp_path / "killed", *settings))))
    command = [sys.executable, "-m", "mtasr", "train", str(path)]
    killed_at = random.SystemRandom().randint(every + 1, steps - 4)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})
    log = tmp_path / "killed" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") >= killed_at):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = losses(tmp_path / "killed")
    train(make_config(to_document(sharded(tmp_path / "killed", *settings))))
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert losses(tmp_path / "killed")[: len(before)] == before
    one, other = weights(tmp_path / "killed"), weights(tmp_path / "whole")
    assert all(one[name].equal(other[name]) for name in other)


#: Writes the name of each recording that a process reads to a file of its own.
_LISTENING = """
import os, sys
from pathlib import Path
from mtasr.cli import program
from mtasr.data.samples import SampleStore

stretch, heard = SampleStore.stretch, open(Path(sys.argv[2]) / os.environ["RANK"], "w")
def noted(self, audio, start, end):
    print(audio, file=heard, flush=True)
    return stretch(self, audio, start, end)
SampleStore.stretch = noted
program(["train", sys.argv[1]], standalone_mode=False)
"""


@pytest.mark.slow
def test_two_processes_read_different_recordings_and_are_one(sharded: Configure, tmp_path: Path) -> None:
    settings = [*MIXED, "data.silence=1", "data.short=0", "data.batch_seconds=30"]
    train(sharded(tmp_path / "one", *settings, "optimizer.accumulation=2", steps=4))
    path, script, folder = tmp_path / "run.yaml", tmp_path / "listening.py", tmp_path / "two"
    path.write_text(yaml.safe_dump(to_document(sharded(folder, *settings, "export=float32", steps=4))))
    script.write_text(_LISTENING)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(
        [*command, str(path), str(tmp_path)],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert losses(folder) == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    one, other = weights(tmp_path / "one"), weights(folder)
    assert all(one[name].allclose(other[name], atol=1e-5) for name in one)
    heard = [(tmp_path / str(rank)).read_text().splitlines() for rank in (0, 1)]
    assert all(heard)
    assert heard[0] != heard[1]
