"""Runs of wav2vec 2.0 and CPC: they learn, and an interrupted run ends as an uninterrupted one does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from contrastive_runs import configured

from mtasr.encoders import load_encoder
from mtasr.training.loop import export, train
from mtasr.training.objectives import make_objective
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints, load_document


def _losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in read_log(output / "log.jsonl") if "loss" in entry]


def _weights(output: Path) -> dict[str, Any]:
    return load_document(checkpoints(output)[-1])["model"]


#: Settings that make steps and checkpoints cheap.
_CHEAP = {
    "cpc": ["objective_options.predictors=linear", "objective_options.steps_ahead=4"],
    "wav2vec2": ["objective_options.codes=8", "objective_options.target_dropout=0"],
}


@pytest.mark.parametrize("objective", _CHEAP)
def test_an_interrupted_run_ends_as_an_uninterrupted_one(objective: str, recordings: Path, tmp_path: Path) -> None:
    settings = [*_CHEAP[objective], "save_every=1", "keep=9"]
    train(configured(objective, tmp_path / "run", recordings, *settings))
    whole, weights = _losses(tmp_path / "run"), _weights(tmp_path / "run")
    assert len(whole) == 4
    assert all(map(math.isfinite, whole))
    for later in checkpoints(tmp_path / "run")[2:]:
        later.rename(tmp_path / later.name)
    train(configured(objective, tmp_path / "run", recordings, *settings))
    assert _losses(tmp_path / "run") == whole
    again = _weights(tmp_path / "run")
    assert weights.keys() == again.keys()
    assert all(again[name].equal(weights[name]) for name in weights)


@pytest.mark.slow
@pytest.mark.parametrize("objective", _CHEAP)
def test_a_few_steps_beat_chance(objective: str, recordings: Path, tmp_path: Path) -> None:
    settings = {
        "cpc": ["optimizer.learning_rate=3e-3"],
        "wav2vec2": ["optimizer.learning_rate=1e-3", "objective_options.diversity=2"],
    }[objective]
    settings = [*_CHEAP[objective], *settings]
    run = train(configured(objective, tmp_path / "run", recordings, *settings, steps=40))
    (figures,) = [each["evaluation"] for each in read_log(run.folder / "log.jsonl") if "evaluation" in each]
    if objective == "wav2vec2":
        assert figures["contrastive_loss"] < math.log(9) - 0.02
        assert figures["code_perplexity_1"] > 4
    else:
        assert figures["loss_from_3"] < math.log(9) - 0.1
        assert figures["accuracy_from_3"] > 1.5 / 9
        assert figures["accuracy_4"] < figures["accuracy_1"]


@pytest.mark.parametrize("objective", _CHEAP)
def test_the_result_is_an_encoder_to_begin_with(objective: str, recordings: Path, tmp_path: Path) -> None:
    run = train(configured(objective, tmp_path / "run", recordings, *_CHEAP[objective], steps=1))
    export(run)
    encoder = load_encoder(str(run.folder), "cpu")
    weights = _weights(run.folder)
    assert all(tensor.equal(weights[f"encoder.{name}"]) for name, tensor in encoder.state_dict().items())
    further = configured(objective, tmp_path / "further", recordings, f"init_encoder={run.folder}")
    begun = make_objective(further).model(torch.device("cpu")).get_submodule("encoder").state_dict()
    assert all(tensor.equal(begun[name]) for name, tensor in encoder.state_dict().items())
