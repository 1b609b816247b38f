"""The rates of weights: from step to step, from layer to layer, and none for an encoder that is frozen."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_model import Configure, checkpoint

from mtasr.errors import UsageError
from mtasr.networks.wave import WAVE_PRESETS, WaveEncoder
from mtasr.training.config import OptimizerConfig, make_config
from mtasr.training.loop import best_checkpoints, train
from mtasr.training.objectives import make_objective
from mtasr.training.optimizer import learning_rate, make_optimizer, require_end, set_rates, without_frozen
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints, load_document, read_note
from mtasr.training.tensor_files import read_whole_tensors


def test_the_rate_of_three_stages() -> None:
    settings = OptimizerConfig(learning_rate=2.0, warmup=10, schedule="tri_stage", hold=0.4, final=0.05)
    rates = [learning_rate(step, 100, settings) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert rates[10:50] == [2.0] * 40
    assert rates[50:] == pytest.approx([2.0 * 0.05 ** (step / 50) for step in range(1, 51)])
    assert rates[-1] == pytest.approx(0.1)
    held = OptimizerConfig(learning_rate=1.0, warmup=3, schedule="tri_stage", hold=1.0)
    assert [learning_rate(step, 4, held) for step in (3, 4)] == [1.0, 1.0]


def test_settings_of_stages_need_stages() -> None:
    settings = {"output": "run", "steps": 4, "data": {"train": "a.jsonl"}}
    with pytest.raises(UsageError, match=r"optimizer\.hold and optimizer\.final need optimizer\.schedule=tri_stage"):
        make_config(settings, ["optimizer.hold=0.3"])
    assert make_config(settings, ["optimizer.schedule=tri_stage", "optimizer.hold=0.3"]).optimizer.hold == 0.3
    for wrong in ("optimizer.layer_decay=0", "optimizer.layer_decay=1.1", "optimizer.frozen_encoder_steps=-1"):
        with pytest.raises(UsageError, match="cannot be"):
            make_config(settings, [wrong])


def test_lower_layers_learn_at_lower_rates() -> None:
    model = checkpoint().model
    config = OptimizerConfig(layer_decay=0.5, weight_decay=0.3)
    rates = _rates(model, config, 0.08)
    assert len(rates) == len(list(model.parameters()))
    expected = {
        "encoder.conv1.weight": 0.01,
        "encoder.conv2.bias": 0.01,
        "encoder.blocks.0.attention.query.weight": 0.02,
        "encoder.blocks.1.mlp.up.bias": 0.04,
        "encoder.norm.weight": 0.04,
        "decoder.blocks.0.attention.query.weight": 0.08,
        "decoder.embedding.weight": 0.08,
    }
    assert {name: rates[name] for name in expected} == expected
    for group in make_optimizer(model, config).param_groups:
        assert all(
            (group["weight_decay"] == 0.3) == (weight.ndim > 1)
            for weight in group["params"]
            if weight is not model.decoder.positions
        )


@pytest.mark.parametrize(("pre_norm", "norm"), [(False, 0.01), (True, 0.04)])
def test_a_norm_before_the_layers_learns_as_what_is_below_them(pre_norm: bool, norm: float) -> None:
    sizes: dict[str, Any] = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 16, "pre_norm": pre_norm}
    config = replace(WAVE_PRESETS["tiny"], position_kernel=4, position_groups=2, **sizes)
    model = nn.ModuleDict({"encoder": WaveEncoder(config), "head": nn.Linear(16, 2)})
    rates = _rates(model, OptimizerConfig(layer_decay=0.5), 0.08)
    assert rates["encoder.context.norm.weight"] == norm
    expected = {"masked": 0.01, "projection.weight": 0.01, "context.blocks.1.mlp_norm.bias": 0.04}
    assert {name: rates[f"encoder.{name}"] for name in expected} == expected
    assert rates["head.weight"] == 0.08


def _rates(model: nn.Module, config: OptimizerConfig, rate: float) -> dict[str, float]:
    names = {id(weight): name for name, weight in model.named_parameters()}
    optimizer = make_optimizer(model, config)
    set_rates(optimizer, rate)
    return {names[id(weight)]: group["lr"] for group in optimizer.param_groups for weight in group["params"]}


def test_what_thaws_learns_no_faster_than_its_rate() -> None:
    """By Adam, a gradient that is always the same gives updates of the rate, from the first one on."""
    model = checkpoint().model
    optimizer = make_optimizer(model, OptimizerConfig(frozen_encoder_steps=30, weight_decay=0))
    set_rates(optimizer, 1e-3)
    thawing, trained = model.encoder.norm.bias, model.decoder.norm.bias
    moved = []
    for step in range(1, 51):
        before = thawing.detach().clone(), trained.detach().clone()
        for weight in model.parameters():
            weight.grad = torch.ones_like(weight)
        given = thawing.grad
        with without_frozen(optimizer, step):
            optimizer.step()
        assert thawing.grad is given, "buffers that are summed over processes are gradients still"
        moved.append([float((a - b.detach()).max()) for a, b in zip(before, (thawing, trained), strict=True)])
    assert [each for each, _ in moved[:30]] == [0] * 30
    assert [each for each, _ in moved[30:]] == pytest.approx([1e-3] * 20, rel=1e-2)
    assert [each for _, each in moved] == pytest.approx([1e-3] * 50, rel=1e-2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["steps=9", "optimizer.warmup=10"], r"optimizer\.warmup=10 does not end within steps=9"),
        (["steps=10", "optimizer.schedule=tri_stage", "optimizer.warmup=6"], "never falls"),
        (["steps=30", "optimizer.schedule=tri_stage", "optimizer.hold=1", "optimizer.warmup=0"], "never falls"),
        (["steps=10", "optimizer.schedule=tri_stage", "optimizer.warmup=5"], None),
        (["steps=10", "optimizer.warmup=10"], None),
        (["steps=4"], None),
    ],
)
def test_schedules_that_never_end(tmp_path: Path, settings: list[str], words: str | None) -> None:
    config = make_config({"output": str(tmp_path / "run"), "data": {"train": "a.jsonl"}}, settings)
    if words is None:
        require_end(config)
    else:
        with pytest.raises(UsageError, match=words):
            train(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["decoder", "houlsby", "prefix", "prompt"])
@pytest.mark.parametrize("setting", ["layer_decay=0.9", "frozen_encoder_steps=2"])
def test_settings_of_the_encoder_need_a_method_that_trains_it(method: str, setting: str) -> None:
    overrides = [f"optimizer.{setting}", f"method={method}"]
    name = setting.partition("=")[0]
    with pytest.raises(UsageError, match=f"optimizer.{name} is for weights of the encoder, which method={method}"):
        make_config({"output": "run", "steps": 4, "data": {"train": "a.jsonl"}}, overrides)


def test_a_batch_has_room_for_an_excerpt_with_its_padding(configure: Configure, tmp_path: Path) -> None:
    settings = ["data.longest=20", "data.batch_seconds=20"]
    with pytest.raises(UsageError, match=r"data\.batch_seconds=20 is less than the 30 s that an excerpt may take"):
        make_objective(configure(tmp_path, *settings))
    for unpadded in (["data.padding=0"], ["data.full_context=0", "data.margin=0"]):
        make_objective(configure(tmp_path, *settings, *unpadded))


def test_a_model_without_an_encoder() -> None:
    for settings in (OptimizerConfig(layer_decay=0.9), OptimizerConfig(frozen_encoder_steps=2)):
        with pytest.raises(UsageError, match="no encoder for optimizer"):
            make_optimizer(nn.Linear(2, 2), settings)


def _encoder(document: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in document["model"].items() if name.startswith("encoder.")}


def test_a_frozen_encoder_thaws_at_its_step(configure: Configure, tmp_path: Path) -> None:
    """It is the initial one to the last bit, decay and momentum or not; after that step all of it learns."""
    settings = ["optimizer.frozen_encoder_steps=3", "save_every=1", "keep=9", "optimizer.weight_decay=0.5"]
    run = train(configure(tmp_path / "run", *settings, steps=5))
    documents = [load_document(path) for path in checkpoints(run.folder)]
    initial = {f"encoder.{name}": tensor for name, tensor in checkpoint().model.encoder.state_dict().items()}
    for document in documents[:3]:
        assert all(torch.equal(tensor, initial[name]) for name, tensor in _encoder(document).items())
    decoders = [document["model"]["decoder.embedding.weight"] for document in documents]
    assert not torch.equal(decoders[0], decoders[1])
    trained = {name for name, tensor in _encoder(documents[4]).items() if not torch.equal(tensor, initial[name])}
    assert trained == set(initial) - {"encoder.positions"}
    notes = [read_note(path) for path in checkpoints(run.folder)]
    assert [(note["updates"], note["thawed_updates"]) for note in notes] == [(1, 0), (2, 0), (3, 0), (4, 1), (5, 2)]


def test_frozen_or_thawed_a_run_resumes_exactly(configure: Configure, tmp_path: Path) -> None:
    config = configure(tmp_path, "optimizer.frozen_encoder_steps=2", "save_every=1", "keep=9", steps=4)
    train(config)

    def result() -> tuple[list[float], dict[str, Tensor]]:
        losses = [entry["loss"] for entry in read_log(tmp_path / "log.jsonl")]
        return losses, read_whole_tensors(checkpoints(tmp_path)[-1])

    losses, tensors = result()
    for kept in (1, 3):  # a checkpoint before the encoder thaws, and one after it
        for path in checkpoints(tmp_path)[kept:]:
            shutil.rmtree(path)
        train(config)
        again = result()
        assert again[0] == losses
        assert again[1].keys() == tensors.keys()
        assert all(torch.equal(again[1][name], tensors[name]) for name in tensors), "weights and moments"


@pytest.mark.parametrize("objective", ["sequence", "ctc"])
def test_an_encoder_that_is_never_trained(configure: Configure, tmp_path: Path, objective: str) -> None:
    settings = [f"objective={objective}", "optimizer.frozen_encoder_steps=9", "regularisation.ctc=0.1"]
    run = train(configure(tmp_path, *settings, steps=2))
    (document,) = best_checkpoints(run)
    initial = checkpoint().model.encoder.state_dict()
    assert all(torch.equal(tensor, initial[name[8:]]) for name, tensor in _encoder(document).items())
    assert not any(name.startswith("encoder.") for name in document["average"]), "nothing of it is trained"
