"""The rates of weights: from step to step, from layer to layer, and none for an encoder that is frozen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from training_model import Configure, checkpoint

from mtasr.errors import UsageError
from mtasr.training.config import OptimizerConfig, make_config
from mtasr.training.loop import best_checkpoints, train
from mtasr.training.optimizer import learning_rate, make_optimizer, set_rates
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints, load_document


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
    names = {id(weight): name for name, weight in model.named_parameters()}
    optimizer = make_optimizer(model, OptimizerConfig(layer_decay=0.5, weight_decay=0.3))
    set_rates(optimizer, 1, 0.08)
    rates = {names[id(weight)]: group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    assert len(rates) == len(names)
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
    for group in optimizer.param_groups:
        assert all(
            (group["weight_decay"] == 0.3) == (weight.ndim > 1)
            for weight in group["params"]
            if weight is not model.decoder.positions
        )


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
    # A run that is interrupted while the encoder is frozen, and one that is not, are the same.
    resumed = train(configure(tmp_path / "resumed", *settings, steps=5))
    for path in checkpoints(resumed.folder)[2:]:
        path.rename(path.with_name(f"gone-{path.name}"))
    resumed = train(configure(tmp_path / "resumed", *settings, steps=5))
    losses = [[entry["loss"] for entry in read_log(each.folder / "log.jsonl")] for each in (run, resumed)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("objective", ["sequence", "ctc"])
def test_an_encoder_that_is_never_trained(configure: Configure, tmp_path: Path, objective: str) -> None:
    settings = [f"objective={objective}", "optimizer.frozen_encoder_steps=9", "regularisation.ctc=0.1"]
    run = train(configure(tmp_path, *settings, steps=2))
    (document,) = best_checkpoints(run)
    initial = checkpoint().model.encoder.state_dict()
    assert all(torch.equal(tensor, initial[name[8:]]) for name, tensor in _encoder(document).items())
    assert not any(name.startswith("encoder.") for name in document["average"]), "nothing of it is trained"
