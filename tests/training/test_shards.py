"""Training over shards: what training over files gives, from any place in a shard on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from training_model import MIXED, POOL, Configure

from mtasr.data.reading import read_records
from mtasr.data.records import write_records
from mtasr.data.shards.packing import pack
from mtasr.errors import UsageError
from mtasr.training.examples import Example
from mtasr.training.finetune import steps_for
from mtasr.training.loop import train
from mtasr.training.objectives import make_objective
from mtasr.training.objectives.sequence import SequenceObjective
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints


def losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in read_log(output / "log.jsonl") if "loss" in entry]


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
        shutil.rmtree(path)
    train(sharded(tmp_path / "stopped", *settings))
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")


def test_empty_pools_are_skipped_and_many_passes_of_them_are_an_error(
    sharded: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, real = [], SequenceObjective.epoch

    def epoch(objective: SequenceObjective, number: int) -> list[list[Example]]:
        planned.append(number)
        return [] if number in empty else real(objective, number)

    monkeypatch.setattr(SequenceObjective, "epoch", epoch)
    empty = {0, 1, 3}
    train(sharded(tmp_path / "some", *MIXED, steps=1))
    assert planned == sorted(set(planned)), "each of them once"
    assert read_log(tmp_path / "some/log.jsonl")[0]["epoch"] == 2
    train(sharded(tmp_path / "whole", steps=1))
    assert read_log(tmp_path / "whole/log.jsonl")[0]["epoch"] == 2, "as it is where an epoch is a pass over all data"
    empty = set(range(1000))
    with pytest.raises(UsageError, match="there is nothing to learn"):
        train(sharded(tmp_path / "none", *MIXED, steps=1))


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
