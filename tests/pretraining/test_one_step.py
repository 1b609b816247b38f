"""One step of each objective through the loop: in bfloat16 at tiny sizes, and at the sizes that are published."""

from __future__ import annotations

import itertools
import json
import math
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from speech import SAMPLE_RATE, speak, write_wav
from torch import nn

from mtasr.networks.dimensions import EncoderDimensions
from mtasr.pretraining.best_rq import BestRqModel, BestRqOptions
from mtasr.pretraining.recipes import pretrain_config
from mtasr.training.config import TrainConfig
from mtasr.training.loop import batches_from, begin, take_step
from mtasr.training.parallel import Crew
from mtasr.training.state import RunState

_TRANSFORMER = {
    "width": 32, "layers": 2, "heads": 2, "feed_forward": 64, "position_kernel": 16, "position_groups": 4,
}  # fmt: skip
#: Options of each objective at tiny sizes.
TINY: dict[str, dict[str, Any]] = {
    "best-rq": {
        "books": 2, "codes": 16, "sizes": {"n_audio_state": 32, "n_audio_head": 2, "n_audio_layer": 2},
    },
    "hubert": {"units": 12, "sizes": _TRANSFORMER},
    "wavlm": {"units": 12, "sizes": _TRANSFORMER},
    "wav2vec2": {"negatives": 8, "codes": 8, "sizes": _TRANSFORMER},
    "cpc": {"negatives": 8},
}  # fmt: skip
#: Published sizes and their objectives.
PUBLISHED = {
    "wav2vec2-base": "wav2vec2",
    "hubert-base": "hubert",
    "wavlm-base": "wavlm",
    "cpc": "cpc",
    "whisper-base": "best-rq",
}


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen seconds of speech, in noise so that no two frames are equal."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    speech = np.resize(speak("The tide comes in twice a day, and ships leave."), 15 * SAMPLE_RATE)
    noise = np.random.default_rng(0).normal(0, 1e-3, len(speech))
    write_wav(path, (speech + noise).astype(np.float32))
    return path


def configured(objective: str, talk: Path, output: Path, *overrides: str) -> TrainConfig:
    """Batches of two crops of two seconds."""
    settings = [
        f"objective={objective}", f"data={talk}", f"output={output}", "steps=1", "device=cpu", "optimizer.warmup=1",
        "optimizer.batches_per_step=1", "data.longest=2", "data.shortest=2", "data.batch_seconds=4",
    ]  # fmt: skip
    return pretrain_config(None, [*settings, *overrides])


def one_step(config: TrainConfig) -> tuple[RunState, float, dict[str, Any]]:
    """A run after its first step, the loss of the same batch in float32 before it, and the entry for the log."""
    run, state, log = begin(config, Crew())
    assert log is not None
    log.close()
    batches = batches_from(run, 0, 0)
    position, seed, batch = next(batches)
    torch.manual_seed(seed)
    with torch.no_grad():
        exact = run.objective.loss(state.model.train(), replace(batch, step=1))
    state.step = 1
    entry = take_step(run, state, itertools.chain([(position, seed, batch)], batches))
    return state, float(exact) / batch.targets, entry


@pytest.mark.parametrize("objective", TINY)
def test_bfloat16_hardly_changes_a_step(objective: str, talk: Path, tmp_path: Path) -> None:
    options = [f"objective_options.{name}={json.dumps(value)}" for name, value in TINY[objective].items()]
    state, exact, entry = one_step(configured(objective, talk, tmp_path, "precision=bfloat16", *options))
    assert entry["loss"] == pytest.approx(exact, rel=0.01)
    assert entry["loss"] != exact, "it was computed in another precision"
    assert 0 < entry["gradient_norm"] < math.inf
    for name, weight in state.model.named_parameters():
        assert weight.dtype == torch.float32, name
        assert weight.isfinite().all(), name
    assert all(each["exp_avg"].isfinite().all() for each in state.optimizer.state.values())


def test_scores_of_codes_have_float32s_precision_under_autocast() -> None:
    torch.manual_seed(0)
    dims = EncoderDimensions(n_mels=80, n_audio_ctx=50, n_audio_state=32, n_audio_head=2, n_audio_layer=1)
    model = BestRqModel(dims, BestRqOptions(codes=16))
    mel, mask = torch.randn(2, 80, 60), torch.arange(30).expand(2, -1) % 3 == 0
    codes = model.targets(mel, mask)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model.logits(mel, mask)
        assert torch.equal(model.targets(mel, mask), codes), "the targets do not depend on the precision"
    assert logits.dtype == torch.float32
    assert not torch.equal(logits.bfloat16().float(), logits)


@pytest.mark.slow
@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_step_of_the_published_sizes(preset: str, talk: Path, tmp_path: Path) -> None:
    """Every weight gets a gradient and moves. `benchmarks/base_sizes.py` measures memory and time."""
    layer = ["objective_options.layer=null"] if preset == "wavlm-base" else []  # its units are those of cepstra here
    settings = [f"preset={preset}", "optimizer.weight_decay=0", *layer]
    run, state, log = begin(configured(PUBLISHED[preset], talk, tmp_path, *settings), Crew())
    assert log is not None
    log.close()
    model: Any = state.model
    if hasattr(model.encoder, "context"):
        model.encoder.context.layerdrop = 0.0  # so that no block is left out
    before = _sums(model)
    state.step = 1
    entry = take_step(run, state, batches_from(run, 0, 0))
    assert math.isfinite(entry["loss"])
    after = _sums(model)
    assert [name for name in before if after[name] == before[name]] == [], "these have not moved"
    assert len(state.optimizer.state) == len(before)
    moments = {name: state.optimizer.state[weight]["exp_avg"] for name, weight in model.named_parameters()}
    assert [name for name in before if not moments[name].any()] == [], "these have got no gradient"
    count = sum(weight.numel() for weight in model.parameters())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(  # noqa: T201 - for `pytest -s`
        f"{preset}: {count:,} parameters, {entry['seconds']:.1f} s, {peak:.1f} GiB at most in this process"
    )


def _sums(model: nn.Module) -> dict[str, tuple[float, float]]:
    """By these a changed weight is known, without a copy of it."""
    each = ((name, weight.detach().double()) for name, weight in model.named_parameters())
    return {name: (float(weight.sum()), float(weight.square().sum())) for name, weight in each}
