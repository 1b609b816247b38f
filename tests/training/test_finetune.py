"""The recipe for fine-tuning: how many steps, and which settings it leaves to the user."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_model import checkpoint

from mtasr.data.records import Caption, Record, write_records
from mtasr.errors import UsageError
from mtasr.tokenizer import Tokenizer
from mtasr.training.examples import ExampleSource, epoch_of
from mtasr.training.finetune import finetune_config


@pytest.mark.parametrize("seconds", [2.0, 9.0, 600.0])
def test_fine_tuning_takes_as_many_epochs_as_asked_for(
    seconds: float, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = [Caption(start=start, end=start + 1.5, text="the of") for start in np.arange(0.2, seconds - 1.6, 1.7)]
    clip = Record(id="", audio="", duration=seconds, language="en", captions=tuple(captions))
    records = [replace(clip, id=str(n), audio=f"/{n}.wav") for n in range(40 if seconds < 30 else 3)]
    write_records(records, tmp_path / "records.jsonl")
    arguments = (str(data["model"]), [tmp_path / "records.jsonl"], tmp_path)
    settings = finetune_config(*arguments, epochs=20)
    tokenizer = Tokenizer(checkpoint().tokens)
    source = ExampleSource(records=records, rehearsal=[], tokenizer=tokenizer, text_context=128, audio_seconds=30.0)
    batches = sum(len(epoch_of(source, settings.data, settings.seed, epoch)) for epoch in range(20))
    assert settings.steps * settings.optimizer.accumulation == pytest.approx(batches, rel=0.1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert finetune_config(*arguments, epochs=20).steps == math.ceil(settings.steps / 2)


def test_the_recipe_for_fine_tuning(data: dict[str, Path], tmp_path: Path) -> None:
    model = str(data["model"])
    settings = finetune_config(model, [data["records"]], tmp_path, overrides=["steps=7"])
    assert (settings.steps, settings.evaluate_every, settings.variable_length) == (7, 0, None)
    settings = finetune_config(model, [data["records"]], tmp_path, evaluation=[data["records"]])
    assert settings.evaluate_every == settings.save_every > 0
    assert settings.regularisation.initial_share == 0.2
    named = [f"data.evaluation=[{data['records']}]", f"data.rehearsal=[{data['records']}]"]
    settings = finetune_config(model, [data["records"]], tmp_path, overrides=named)
    assert settings.evaluate_every == settings.save_every > 0
    assert settings.regularisation.initial_share == 0
    named.append("regularisation={initial_share: 0.1}")
    assert finetune_config(model, [data["records"]], tmp_path, overrides=named).regularisation.initial_share == 0.1
    settings = finetune_config(model, [data["records"]], tmp_path, overrides=["optimizer.batches_per_step=8"])
    assert (settings.optimizer.accumulation, settings.optimizer.batches_per_step) == (1, 8)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UsageError, match="there is nothing to learn"):
        finetune_config(model, [tmp_path / "empty.jsonl"], tmp_path)


@pytest.mark.parametrize(
    ("overrides", "variable"),
    [([], True), (["steps=89"], None), (["method=decoder"], None), (["variable_length=false"], False)],
)
def test_when_the_result_is_decoded_at_any_length(
    overrides: list[str], variable: bool | None, data: dict[str, Path], tmp_path: Path
) -> None:
    settings = finetune_config(str(data["model"]), [data["records"]], tmp_path, overrides=["steps=90", *overrides])
    assert settings.variable_length is variable
