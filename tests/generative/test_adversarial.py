"""Training of a codec: a run, its result, and the same losses to the last digit after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from speech import SAMPLE_RATE, write_wav

from mtasr.errors import UsageError
from mtasr.generative.codec_folder import load_codec
from mtasr.generative.codec_objective import CodecObjective
from mtasr.pretraining.recipes import pretrain_config
from mtasr.training.config import TrainConfig
from mtasr.training.loop import begin, export, train
from mtasr.training.parallel import Crew
from mtasr.training.run_log import read_log

_SMALL = (
    "objective=codec", "device=cpu", "data.longest=1", "data.shortest=1", "data.batch_seconds=2",
    "optimizer.warmup=1", "objective_options.sizes={filters: 2, dimension: 4, entries: 8, books: 2}",
    "objective_options.discriminator_filters=2", "objective_options.discriminator_windows=1",
)  # fmt: skip


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in range(3):
        samples = 0.1 * rng.standard_normal(SAMPLE_RATE + 4000)
        write_wav(folder / f"{name}.wav", samples.astype(np.float32))
    return folder


def _config(recordings: Path, output: Path, *more: str) -> TrainConfig:
    data = (f"data={recordings}", f"data.evaluation={recordings / '0.wav'}", f"output={output}")
    return pretrain_config(None, (*_SMALL, *data, *more))


def _told(run: Path) -> list[dict[str, Any]]:
    timed = ("seconds", "waited")
    return [
        {name: value for name, value in entry.items() if name not in timed} for entry in read_log(run / "log.jsonl")
    ]


@pytest.mark.slow
def test_a_resumed_run_has_the_losses_of_a_whole_one(recordings: Path, tmp_path: Path) -> None:
    """The discriminator begins in the second step, and the run stops before it and after."""
    more = ("steps=3", "save_every=1", "objective_options.discriminator_from=1")
    whole = train(_config(recordings, tmp_path / "whole", *more))
    calls: list[int] = []

    class StoppedError(Exception):
        pass

    def stops(entry: dict[str, Any]) -> None:
        calls.append(entry["step"])
        if entry["step"] in {2, 3} and calls.count(entry["step"]) == 1:
            raise StoppedError

    for _ in range(2):
        with pytest.raises(StoppedError):
            train(_config(recordings, tmp_path / "stopped", *more), stops)
    train(_config(recordings, tmp_path / "stopped", *more), stops)
    ours = _told(tmp_path / "stopped")
    assert ours == _told(tmp_path / "whole")
    steps = [entry for entry in ours if "loss" in entry]
    assert ["discriminator" in entry for entry in steps] == [False, True, True]
    last = ours[-1]["evaluation"]
    assert {"si_snr_1", "si_snr_2", "mel_1", "mel_2", "perplexity_1", "perplexity_2"} <= last.keys()
    assert all(1 <= last[f"perplexity_{book}"] <= 8 for book in (1, 2))
    codec = load_codec(export(whole).path.parent)
    audio = 0.1 * torch.randn(1, 1000)
    assert codec.decode(codec.encode(audio), 1000).shape == (1, 1000)


def test_each_part_is_updated_by_its_own_losses(recordings: Path, tmp_path: Path) -> None:
    config = _config(recordings, tmp_path / "run", "steps=3", "objective_options.discriminator_from=1")
    run, state, _ = begin(config, Crew(0, 1))
    objective = run.objective
    assert isinstance(objective, CodecObjective)
    batch = objective.batch(objective.epoch(0)[0], np.random.default_rng(0))
    model: Any = state.model
    for step in (1, 2):
        state.step = step
        before = {name: tensor.clone() for name, tensor in model.named_parameters()}
        place = type("Place", (), {"epoch": 0, "batch": 1})
        objective.take_step(run, state, iter([(place, 0, batch)]))
        changed = {name.split(".")[0] for name, now in model.named_parameters() if not now.equal(before[name])}
        assert changed == ({"generator"} if step == 1 else {"generator", "discriminator"})
    assert (state.updates, state.thawed_updates) == (2, 1)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("precision=bfloat16", "does not use precision"),
        ("optimizer.accumulation=2", "steps of one batch"),
        ("objective_options.preset=encodec-24khz", "preset must be one of tiny, speech-16khz"),
        ("objective_options.sizes={width: 3}", "sizes cannot be"),
        ("objective_options.commitment=-1", "commitment cannot be"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(recordings: Path, tmp_path: Path, override: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        CodecObjective(_config(recordings, tmp_path / "run", "steps=3", override))
