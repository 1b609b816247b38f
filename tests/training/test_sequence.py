"""Sequence to sequence: what is trained by each method, how it is judged, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from training_model import DIMS, Configure, checkpoint

from mtasr.checkpoints.formats import load_checkpoint
from mtasr.cli import program
from mtasr.errors import UsageError
from mtasr.training.adaptation import mixed, plain_copy
from mtasr.training.batches import TextBatch
from mtasr.training.loop import best_checkpoints, train
from mtasr.training.objectives.sequence import SequenceObjective
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints, load_document

CPU = torch.device("cpu")


def batch() -> TextBatch:
    rng = torch.Generator().manual_seed(0)
    mel = torch.randn(2, 80, 200, generator=rng).numpy()
    tokens = torch.randint(0, DIMS.n_vocab, (2, 6), generator=rng).numpy()
    return TextBatch(mel=mel, tokens=tokens, labels=tokens, targets=tokens.size, seconds=4.0, padded_seconds=4.0)


def test_the_best_checkpoints_are_kept_and_their_mean_is_the_result(
    configure: Configure, data: dict[str, Path], tmp_path: Path
) -> None:
    settings = ["save_every=1", "evaluate_every=1", "keep=1", "average_best=3", f"data.evaluation={data['records']}"]
    config = configure(tmp_path / "run", *settings, "regularisation.ema=0", steps=5)
    run = train(config)
    evaluations = [e["evaluation"] for e in read_log(run.folder / "log.jsonl") if "evaluation" in e]
    assert len(evaluations) == 5
    assert all(set(e) == {"wer", "cer", "language_accuracy", "no_speech_accuracy"} for e in evaluations)
    scores = load_document(checkpoints(run.folder)[-1])["scores"]
    assert scores == {step: each["wer"] for step, each in enumerate(evaluations, start=1)}
    best = sorted(scores, key=lambda step: (scores[step], step))[:3]
    assert {path.name for path in checkpoints(run.folder)} == {f"step-{step:08}" for step in {*best, 5}}
    one, *others = (load_document(run.folder / f"step-{step:08}")["model"] for step in best)
    assert all(any(not one[name].equal(other[name]) for name in one) for other in others)
    result = SequenceObjective(config).merged(best_checkpoints(run))
    for name, weight in result.model.state_dict().items():
        assert weight.allclose(torch.stack([each[name] for each in (one, *others)]).mean(dim=0), atol=1e-6)
    assert not result.settings.variable_length
    run = replace(run, config=replace(config, average_best=1, variable_length=True))
    result = SequenceObjective(run.config).merged(best_checkpoints(run))
    assert result.settings.variable_length
    assert all(weight.equal(one[name]) for name, weight in result.model.state_dict().items())


@pytest.mark.slow
def test_it_learns(configure: Configure, data: dict[str, Path], tmp_path: Path) -> None:
    settings = [
        "regularisation={time_masks: 0, frequency_masks: 0}",
        "optimizer={learning_rate: 5e-3, warmup: 20, weight_decay: 0}",
        "data.join=0",
        "data.short=0",
        "data.full_context=0",
        f"data.evaluation={data['records']}",
    ]
    run = train(configure(tmp_path / "run", *settings, steps=160))
    entries = read_log(run.folder / "log.jsonl")
    (last,) = [entry["evaluation"] for entry in entries if "evaluation" in entry]
    assert (last["wer"], last["cer"], last["no_speech_accuracy"]) == (0.0, 0.0, 1.0)
    assert last["language_accuracy"] > 0.5
    found = [entry["loss"] for entry in entries if "loss" in entry]
    assert sum(found[-10:]) < 0.25 * sum(found[:10])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "decoder", "lora"])
def test_finetune_ends_with_a_model_for_ctranslate2(method: str, data: dict[str, Path], tmp_path: Path) -> None:
    command = ["finetune", str(data["model"]), str(data["records"]), "--output", str(tmp_path), "--method", method]
    settings = ["steps=3", "export=float32", "device=cpu", f"data.cache={data['cache']}"]
    done = CliRunner().invoke(program, [*command, *settings])
    assert done.exit_code == 0, done.output
    assert "step 3/3: loss" in done.output
    result = load_checkpoint(tmp_path / "model")
    assert result.model.dims == DIMS
    before, after = checkpoint().model.state_dict(), result.model.state_dict()
    changed = {name for name in before if not before[name].allclose(after[name], atol=1e-7)}
    assert any(name.startswith("encoder.blocks") for name in changed) == (method != "decoder")
    assert any(name.startswith("decoder.blocks") for name in changed)
    assert ("decoder.embedding.weight" in changed) == (method != "lora")


def test_a_low_rank_change_is_merged_exactly(configure: Configure, tmp_path: Path) -> None:
    settings = ["method=lora", "regularisation.stochastic_depth=0"]
    objective = SequenceObjective(configure(tmp_path, *settings))
    model = objective.model(CPU)
    assert all("parametrizations" in name for name, p in model.named_parameters() if p.requires_grad)
    untouched = plain_copy(model)
    assert all(tensor.equal(untouched.state_dict()[name]) for name, tensor in checkpoint().model.state_dict().items())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("0.up"):
                weight.normal_(std=0.5)
    one, other = objective.loss(model.eval(), batch()), objective.loss(plain_copy(model), batch())
    assert one.item() == pytest.approx(other.item(), rel=1e-5)
    assert one.item() != pytest.approx(objective.loss(untouched, batch()).item(), rel=1e-3)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_computing_again_changes_no_gradient(method: str, configure: Configure, tmp_path: Path) -> None:
    gradients = []
    for again in ("false", "true"):
        settings = [f"method={method}", f"activation_checkpointing={again}", "regularisation.stochastic_depth=0.5"]
        objective = SequenceObjective(configure(tmp_path, *settings))
        torch.manual_seed(1)
        model = objective.model(CPU).train()
        objective.loss(model, batch()).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    assert all(a.allclose(b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_accumulation_is_a_larger_batch(configure: Configure, tmp_path: Path) -> None:
    objective = SequenceObjective(configure(tmp_path))
    model, whole = objective.model(CPU).eval(), batch()
    halves = [
        replace(whole, mel=whole.mel[i : i + 1], tokens=whole.tokens[i : i + 1], labels=whole.labels[i : i + 1])
        for i in range(2)
    ]
    together = objective.loss(model, whole).item()
    assert sum(objective.loss(model, half).item() for half in halves) == pytest.approx(together, rel=1e-5)


def test_mixed_lies_between() -> None:
    one, other = checkpoint(0).model, checkpoint(1).model
    between = mixed(one, other.state_dict(), 0.25).state_dict()
    for name, weight in one.named_parameters():
        assert between[name].allclose(0.75 * weight + 0.25 * other.state_dict()[name], atol=1e-6)


@pytest.mark.parametrize("role", ["train", "rehearsal", "evaluation"])
@pytest.mark.parametrize(
    ("language", "message"), [('"yue"', "does not know the language 'yue'"), ("null", "names no language")]
)
def test_a_language_the_model_does_not_know(
    language: str, message: str, role: str, configure: Configure, data: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(data["records"].read_text().replace('"language": "fr"', f'"language": {language}'))
    with pytest.raises(UsageError, match=message):
        train(configure(tmp_path / "run", f"data.{role}={path}"))


def test_training_from_scratch_has_other_sizes(configure: Configure, tmp_path: Path) -> None:
    run = train(configure(tmp_path / "run", "scratch={n_audio_layer: 1, n_text_layer: 3}", steps=1))
    found = load_document(checkpoints(run.folder)[-1])["model"]
    assert any(name.startswith("decoder.blocks.2.") for name in found)
    assert not any(name.startswith("encoder.blocks.1.") for name in found)
    with pytest.raises(UsageError, match="scratch"):
        train(configure(tmp_path / "other", "scratch={layers: 1}"))
    with pytest.raises(UsageError, match="at least 150, not 100"):
        train(configure(tmp_path / "other", "scratch={n_audio_ctx: 100}"))
