"""Contrastive predictive coding as a whole: the loss against literal loops, what no context may hear, and figures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contrastive_runs import configured
from torch import Tensor, nn

from mtasr.data.records import Record, write_records
from mtasr.errors import UsageError
from mtasr.networks.wave import WAVE_PRESETS, WaveConfig, WaveEncoder
from mtasr.networks.wave_config import cpc_convolutions
from mtasr.pretraining.cpc import FIRST_APART, CpcNetwork, CpcObjective
from mtasr.training.config import make_config

SMALL = replace(WAVE_PRESETS["tiny-cpc"], convolutions=cpc_convolutions(8), width=8)


@pytest.mark.parametrize(
    "settings",
    [
        ["objective_options.scores=sum", "objective_options.predictors=linear"],
        ["objective_options.negatives_from=window"],
    ],
)
def test_the_loss_equals_a_literal_statement_in_float64(settings: list[str], recordings: Path, tmp_path: Path) -> None:
    steps = 3
    objective = CpcObjective(
        configured("cpc", tmp_path, recordings, f"objective_options.steps_ahead={steps}", *settings)
    )
    torch.manual_seed(0)
    model = CpcNetwork(WaveEncoder(SMALL), objective.options).double().eval()
    batch = objective.batch(objective.epoch(0)[0], np.random.default_rng(2))
    short = batch.audio[:, : 160 * 20].astype(np.float64)
    batch = replace(batch, audio=short, windows=batch.windows[:, :17], distances=batch.distances[:, :17] % 19 + 1)
    with torch.no_grad():
        found = float(objective.loss(model, batch))
        features = model.encoder.convolved(torch.from_numpy(short))
        context = model.encoder.contextualised(features)[-1][:, :17]
        rows, frames, width = features.shape
        assert frames == 20
        total = 0.0
        for step, predictor in enumerate(model.predictors, start=1):
            predicted = predictor(context)
            for row in range(rows):
                for frame in range(17):
                    places = [(row, frame + step)] + [
                        (window, (frame + step + distance) % frames)
                        for window, distance in zip(batch.windows[row, frame], batch.distances[row, frame], strict=True)
                    ]
                    scores = [float(predicted[row, frame] @ features[place]) for place in places]
                    if objective.options.scores == "mean":
                        scores = [score / width for score in scores]
                    total -= scores[0] - math.log(sum(math.exp(score) for score in scores))
    assert found == pytest.approx(total, rel=1e-9)


def test_targets_are_frames_times_steps(recordings: Path, tmp_path: Path) -> None:
    objective = CpcObjective(configured("cpc", tmp_path, recordings))
    batch = objective.batch(objective.epoch(0)[0], np.random.default_rng(0))
    rows = len(batch.audio)
    assert rows == 2
    assert batch.audio.shape[1] == 1.28 * 16_000
    assert batch.targets == rows * (128 - 12) * 12
    assert batch.windows.shape == batch.distances.shape == (rows, 116, 8)


def _later_gradient(encoder: WaveEncoder, frame: int, audio: Tensor) -> float:
    """The largest gradient of the context of a frame for samples after those that the frame is made from."""
    config = encoder.config
    end = frame * config.hop + round(config.centre + config.field / 2)
    audio = audio.clone().requires_grad_(True)
    context = encoder.eval().states(audio)[-1][:, frame]
    (gradient,) = torch.autograd.grad(context.square().sum(), audio)
    assert (gradient[:, end - 160 : end] != 0).any()
    return float(gradient[:, end:].abs().max())


class _BothWays(WaveEncoder):
    def contextualised(self, features: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        states = super().contextualised(features)
        backwards = super().contextualised(features.flip(1))[-1].flip(1)
        return [*states[:-1], states[-1] + backwards]


class _NormOverTime(WaveEncoder):
    def convolved(self, audio: Tensor) -> Tensor:
        features = super().convolved(audio)
        return nn.functional.instance_norm(features.transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize(
    ("kind", "leaks"),
    [(WaveEncoder, False), (_BothWays, True), (_NormOverTime, True)],
)
def test_no_context_hears_later_samples(kind: type[WaveEncoder], leaks: bool) -> None:
    torch.manual_seed(0)
    encoder = kind(SMALL)
    audio = 0.1 * torch.randn(2, 160 * 30)
    found = [_later_gradient(encoder, frame, audio) for frame in (3, 12, 20)]
    assert all(each > 0 for each in found) if leaks else found == [0.0] * 3


@pytest.mark.parametrize("preset", [name for name, config in WAVE_PRESETS.items() if config.recurrent])
def test_frames_that_count_share_no_samples(preset: str) -> None:
    config: WaveConfig = WAVE_PRESETS[preset]
    assert (FIRST_APART - 1) * config.hop < config.field <= FIRST_APART * config.hop


def test_figures_have_the_accuracy_of_each_step(recordings: Path, tmp_path: Path) -> None:
    objective = CpcObjective(configured("cpc", tmp_path, recordings))
    torch.manual_seed(0)
    model = objective.network()
    figures = objective.evaluate(model, {})
    assert figures is not None
    steps = [figures[f"accuracy_{step}"] for step in range(1, 13)]
    assert figures["accuracy_from_3"] == pytest.approx(sum(steps[2:]) / 10)
    assert objective.score == "loss_from_3"
    # Without training, predictions say nothing.
    assert figures["loss_from_3"] == pytest.approx(math.log(9), abs=0.5)
    assert "accuracy_13" not in figures


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["objective_options.preset=tiny"], "preset must be one of cpc, cpc-2018, tiny-cpc"),
        (["objective_options.steps_ahead=2"], "steps_ahead cannot be 2"),
        (["objective_options.steps_ahead=128"], "gives 128 frames, too few"),
        (["objective_options.negatives=0"], "negatives cannot be 0"),
        (["objective_options.predictors=lstm"], "predictors must be"),
        (["objective_options.sizes={width: 32}"], "width 32 follow 64 channels"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    settings: list[str], message: str, recordings: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        CpcObjective(configured("cpc", tmp_path, recordings, *settings))


@pytest.mark.parametrize("name", CpcObjective.presets)
def test_recipes_are_configurations(name: str, tmp_path: Path) -> None:
    recipe: dict[str, Any] = dict(CpcObjective.presets[name])
    talk = Record(id="one", audio="/data/one.wav", duration=30.0, language="en", captions=())
    write_records([talk], tmp_path / "talks.jsonl")
    recipe["data"] = recipe["data"] | {"train": str(tmp_path / "talks.jsonl")}
    objective = CpcObjective(make_config(recipe | {"objective": "cpc", "output": str(tmp_path / "run")}))
    assert objective.options.preset == name
    (first, *_) = objective.epoch(0)
    assert {piece.samples for piece in first} == {20_480}
