"""Whole runs of HuBERT and WavLM: both iterations, resumed to the last digit, evaluated, exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spoken import configured, losses, write_recordings

from mtasr.checkpoints.encoders import read_encoder
from mtasr.data.records import Record, write_records
from mtasr.errors import UsageError
from mtasr.pretraining.hubert import HubertObjective
from mtasr.pretraining.units.kmeans import UnitCentres, read_centres
from mtasr.pretraining.wave_encoders import encoder_config
from mtasr.pretraining.wavlm import PRESETS, WavlmObjective, WavlmOptions
from mtasr.training.config import make_config
from mtasr.training.loop import export, train
from mtasr.training.run_log import read_log


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("spoken"))


class Killed(Exception):
    pass


def killed_after(step: int) -> Any:
    def progress(entry: dict[str, Any]) -> None:
        if entry["step"] == step:
            raise Killed

    return progress


@pytest.mark.parametrize("objective", ["hubert", "wavlm"])
def test_an_interrupted_run_is_the_same_to_the_last_digit(objective: str, spoken: Path, tmp_path: Path) -> None:
    settings = ["save_every=1", "objective_options.unmasked_weight=.5", f"data.evaluation={spoken / 'ships.wav'}"]
    if objective == "wavlm":
        settings += ["objective_options.mixed=.8", f"objective_options.noise={spoken / 'tide.wav'}"]
        settings += ["objective_options.preset=tiny-wavlm", "objective_options.noise_share=.5"]
    train(configured(objective, tmp_path / "whole", spoken, *settings, steps=3))
    with pytest.raises(Killed):
        train(configured(objective, tmp_path / "killed", spoken, *settings, steps=3), killed_after(2))
    run = train(configured(objective, tmp_path / "killed", spoken, *settings, steps=3))
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    figures, others = (
        [entry["evaluation"] for entry in read_log(tmp_path / name / "log.jsonl") if "evaluation" in entry][-1]
        for name in ("killed", "whole")
    )
    assert figures == others
    assert {"loss", "accuracy", "unmasked_accuracy", "label_perplexity", "units_used"} <= figures.keys()
    result = export(run).path
    assert json.loads((result / "config.json").read_text())["model_type"] == objective
    encoder = read_encoder(result)
    assert bool(encoder.config.relative_buckets) == (objective == "wavlm")  # type: ignore[union-attr]
    assert torch.isfinite(encoder.states(torch.randn(1, 4000))[-1]).all()


def test_a_run_that_is_killed_while_units_are_computed_is_the_same(
    spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher with weights takes random numbers when it is made."""
    settings = ["objective_options.teacher=random:tiny-wavlm", "objective_options.layer=1"]
    train(configured("hubert", tmp_path / "whole", spoken, *settings, steps=1))

    def killed(*arguments: Any, **keywords: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(UnitCentres, "assign", killed)
        with pytest.raises(Killed):
            train(configured("hubert", tmp_path / "killed", spoken, *settings, steps=1))
    train(configured("hubert", tmp_path / "killed", spoken, *settings, steps=1))
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_the_second_iteration_learns_from_a_layer_of_the_first(spoken: Path, tmp_path: Path) -> None:
    first = train(configured("hubert", tmp_path / "first", spoken, steps=2))
    export(first)
    settings = [f"objective_options.teacher={tmp_path / 'first'}", "objective_options.layer=1"]
    train(configured("hubert", tmp_path / "second", spoken, *settings, "objective_options.units=9", steps=1))
    centres = read_centres(tmp_path / "second" / "labels" / "centres.npz")
    assert centres.centres.shape == (9, 16)
    assert (centres.encoder, centres.layer) == (str(tmp_path / "first"), 1)


def test_units_of_crops_are_those_of_their_place(spoken: Path, tmp_path: Path) -> None:
    config = configured("hubert", tmp_path, spoken)
    objective = HubertObjective(config)
    objective.model(torch.device("cpu"))
    batch = objective.batch(objective.epoch(0)[0], np.random.default_rng(1))
    frames = objective.encoder.frames(batch.audio.shape[1])
    assert batch.labels.shape == batch.mask.shape == (len(batch.audio), frames)
    for row, crop in enumerate(batch.crops):
        units = objective.labels._units(crop.audio)
        for frame in range(frames):
            nearest = min(max(0, round((crop.first + 320 * frame) / 160)), len(units) - 1)
            assert abs(crop.first + 320 * frame - 160 * nearest) <= 80 or nearest == len(units) - 1
            assert batch.labels[row, frame] == units[nearest] or (crop.first + 320 * frame) % 160 == 80


def test_what_is_mixed_in_changes_the_audio_and_not_the_units(spoken: Path, tmp_path: Path) -> None:
    batches = []
    for mixed in (0, 1):
        config = configured("wavlm", tmp_path, spoken, f"objective_options.mixed={mixed}")
        objective = WavlmObjective(config)
        objective.model(torch.device("cpu"))
        batches.append(objective.batch(objective.epoch(0)[0], np.random.default_rng(1)))
    clean, mixed = batches
    np.testing.assert_array_equal(clean.labels, mixed.labels)
    np.testing.assert_array_equal(clean.mask, mixed.mask)
    assert (clean.audio != mixed.audio).any(axis=1).all()


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("objective_options.layer=3", "teacher=mfcc has no layer 3"),
        ("objective_options.teacher=random:tiny-wavlm", "objective_options.layer is not set"),
        ("objective_options.preset=cpc", "preset must be one of"),
        ("objective_options.span=60", "too few for a mask of 60"),
        ("objective_options.sizes={heads: 3}", "not divisible by heads 3"),
        ("data.bpe_dropout=.1", "does not use data.bpe_dropout"),
    ],
)
def test_settings_that_do_not_fit_are_refused(spoken: Path, tmp_path: Path, setting: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        HubertObjective(configured("hubert", tmp_path, spoken, setting))


@pytest.mark.parametrize("setting", ["mixed=1.5", "noise_share=-1", "units=1"])
def test_mixing_that_makes_no_sense_is_refused(spoken: Path, tmp_path: Path, setting: str) -> None:
    name = setting.partition("=")[0]
    with pytest.raises(UsageError, match=rf"objective_options\.{name}"):
        WavlmObjective(configured("wavlm", tmp_path, spoken, f"objective_options.{setting}"))


def test_noise_without_effect_is_refused(spoken: Path, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").touch()
    short = Record(id="short", audio=str(spoken / "tide.wav"), duration=0.05, language=None, captions=())
    write_records([short], tmp_path / "short.jsonl")
    noise = f"noise={spoken}/tide.wav"
    for settings, reason in (
        (["noise_share=.2"], "noise_share has no effect without objective_options.noise"),
        ([noise, "noise_share=0"], "noise would never be heard"),
        ([noise, "mixed=0"], "noise would never be heard"),
        ([f"noise={tmp_path}/none.jsonl"], "noise names no recording"),
        ([f"noise={tmp_path}/short.jsonl"], r"short\.jsonl: no recording lasts 0\.1 s"),
    ):
        names = [f"objective_options.{each}" for each in settings]
        with pytest.raises(UsageError, match=reason):
            WavlmObjective(configured("wavlm", tmp_path / "run", spoken, *names))


def test_units_are_learned_from_all_pools(spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the first alone; and a second model of the process, which only evaluates, computes none again."""
    objective = HubertObjective(configured("hubert", tmp_path, spoken, "data.pool_hours=.0005"))
    assert objective.passes_per_epoch < 0.5
    assert sorted(record.audio for record in objective._taught()) == sorted(map(str, spoken.glob("*.wav")))
    prepared: list[dict[str, Any]] = []
    monkeypatch.setattr(objective.labels, "prepare", lambda *arguments, **named: prepared.append(named))
    for _ in range(2):
        objective.model(torch.device("cpu"))
    assert len(prepared) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_presets_of_wavlm_have_relative_positions(name: str) -> None:
    config = make_config({"output": "run", "objective": "wavlm", **PRESETS[name], "data": {"train": ["speech"]}})
    assert encoder_config(config.options(WavlmOptions).preset, {}, recurrent=False).relative_buckets == 320
