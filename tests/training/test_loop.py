"""The loop: it learns, and an interrupted run goes on as if nothing had happened."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from training_model import DIMS, checkpoint, write_model, write_tones

from mtasr.checkpoints.formats import load_checkpoint
from mtasr.cli import program
from mtasr.data.records import Caption, Record, write_records
from mtasr.errors import ModelIntegrityError, OutputError, UsageError
from mtasr.tokenizer import Tokenizer
from mtasr.training.adaptation import mixed, plain_copy, prepare
from mtasr.training.batches import Batch
from mtasr.training.config import OptimizerConfig, TrainConfig, make_config, to_document
from mtasr.training.examples import ExampleSource, epoch_of
from mtasr.training.export import result_of
from mtasr.training.finetune import finetune_config
from mtasr.training.loop import loss_of, train
from mtasr.training.run_log import read_log
from mtasr.training.schedule import learning_rate, make_optimizer
from mtasr.training.state import best_of, checkpoints, load_document, usable


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tones")
    return {"records": write_tones(folder), "model": write_model(folder / "tiny.pt"), "cache": folder / "cache"}


def config(data: dict[str, Path], output: Path, *overrides: str, steps: int = 4) -> TrainConfig:
    document = {
        "model": str(data["model"]), "output": str(output), "steps": steps, "device": "cpu",
        "data": {"train": str(data["records"]), "cache": str(data["cache"]), "silence": 1.0, "batch_seconds": 30.0},
        "optimizer": {"learning_rate": 1e-3, "warmup": 2},
        "regularisation": {"stochastic_depth": 0.1, "ema": 0.9},
    }  # fmt: skip
    return make_config(document, overrides)


def losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in read_log(output / "log.jsonl") if "loss" in entry]


def weights(output: Path) -> dict[str, Any]:
    return load_document(checkpoints(output)[-1])["model"]


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_losses_to_the_last_digit(data: dict[str, Path], tmp_path: Path) -> None:
    steps, every = 24, 3
    settings = [f"steps={steps}", f"save_every={every}", "optimizer.accumulation=2"]
    train(config(data, tmp_path / "whole", *settings))
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(to_document(config(data, tmp_path / "killed", *settings))))
    command = [sys.executable, "-m", "mtasr", "train", str(path)]
    killed_at = random.SystemRandom().randint(every + 1, steps - 4)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})
    log = tmp_path / "killed" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") >= killed_at):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = losses(tmp_path / "killed")
    assert killed_at <= len(before) < steps
    train(config(data, tmp_path / "killed", *settings))
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert losses(tmp_path / "killed")[: len(before)] == before
    one, other = weights(tmp_path / "killed"), weights(tmp_path / "whole")
    assert all(one[name].equal(other[name]) for name in other)


def train_with_two(path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "mtasr"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "train", str(path)], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the model is in") == 1


@pytest.mark.slow
def test_two_processes_are_one_with_accumulation(data: dict[str, Path], tmp_path: Path) -> None:
    train(config(data, tmp_path / "one", "optimizer.accumulation=4", steps=8))
    settings = ["optimizer.accumulation=2", "save_every=4", "export=float32"]
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(to_document(config(data, tmp_path / "two", *settings, steps=8))))
    train_with_two(path)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    one, other = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(one[name].allclose(other[name], atol=1e-5) for name in one)
    assert not all(one[name].equal(checkpoint().model.state_dict()[name]) for name in one)
    # Killed after step 4, they go on to the same losses.
    whole = losses(tmp_path / "two")
    checkpoints(tmp_path / "two")[-1].unlink()
    train_with_two(path)
    assert losses(tmp_path / "two") == whole
    assert all(tensor.equal(weights(tmp_path / "two")[name]) for name, tensor in other.items())


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_resuming_needs_the_same_settings_and_passes_over_damage(
    data: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(config(data, tmp_path / "a", "save_every=2"))
    train(config(data, tmp_path / "b", "save_every=2"))
    with pytest.raises(UsageError, match="holds a run with another seed"):
        train(config(data, tmp_path / "b", "seed=1"))
    with pytest.raises(OutputError, match="holds a run already"):
        train(config(data, tmp_path / "b", "resume=never"))
    last = checkpoints(tmp_path / "b")[-1]
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(ModelIntegrityError, match="is no checkpoint of a run"):
        load_document(last)
    assert next(usable(tmp_path / "b"))["step"] == 2
    train(config(data, tmp_path / "b", "variable_length=true"))
    assert "an earlier one is used" in caplog.text
    assert losses(tmp_path / "b") == losses(tmp_path / "a")
    assert len(losses(tmp_path / "a")) == 4


def test_random_numbers_drawn_in_between_change_nothing(data: dict[str, Path], tmp_path: Path) -> None:
    settings = ["regularisation.stochastic_depth=0.5", "save_every=2"]
    train(config(data, tmp_path / "a", *settings))
    train(config(data, tmp_path / "b", *settings), lambda _: torch.manual_seed(random.randrange(1000)))
    checkpoints(tmp_path / "b")[-1].unlink()
    torch.manual_seed(5)
    train(config(data, tmp_path / "b", *settings), lambda _: torch.manual_seed(random.randrange(1000)))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


def test_only_so_many_checkpoints_are_kept_and_the_best(data: dict[str, Path], tmp_path: Path) -> None:
    settings = ["save_every=1", "evaluate_every=1", "keep=1", f"data.evaluation={data['records']}"]
    run = train(config(data, tmp_path / "run", *settings, steps=5))
    evaluations = [e["evaluation"] for e in read_log(run.folder / "log.jsonl") if "evaluation" in e]
    assert len(evaluations) == 5
    assert all(set(e) == {"wer", "cer", "language_accuracy", "no_speech_accuracy"} for e in evaluations)
    best = min(range(5), key=lambda place: evaluations[place]["wer"]) + 1
    kept = [path.name for path in checkpoints(run.folder)]
    assert kept == [f"step-{step:08}.pt" for step in sorted({best, 5})]


def test_the_result_is_the_mean_of_the_best(data: dict[str, Path], tmp_path: Path) -> None:
    settings = ["save_every=1", "evaluate_every=1", "keep=1", "average_best=3", f"data.evaluation={data['records']}"]
    run = train(config(data, tmp_path / "run", *settings, "regularisation.ema=0", steps=5))
    scores = load_document(checkpoints(run.folder)[-1])["scores"]
    best = sorted(scores, key=lambda step: (scores[step], step))[:3]
    assert {path.name for path in checkpoints(run.folder)} == {f"step-{step:08}.pt" for step in {*best, 5}}
    one, *others = (load_document(run.folder / f"step-{step:08}.pt")["model"] for step in best)
    found = result_of(run).model.state_dict()
    assert all(any(not one[name].equal(other[name]) for name in one) for other in others)
    for name, weight in found.items():
        assert weight.allclose(torch.stack([each[name] for each in (one, *others)]).mean(dim=0), atol=1e-6)
    assert not result_of(run).settings.variable_length
    run.config = replace(run.config, average_best=1, variable_length=True)
    assert result_of(run).settings.variable_length
    assert all(weight.equal(one[name]) for name, weight in result_of(run).model.state_dict().items())


def test_without_scores_the_last_are_the_best(tmp_path: Path) -> None:
    paths = [tmp_path / f"step-{step:08}.pt" for step in (1, 2, 3, 4)]
    assert best_of(paths, {}, 2) == paths[2:]
    assert best_of(paths, {1: 0.5, 2: 0.2, 3: 0.5, 9: 0.1}, 2) == [paths[1], paths[0]]
    assert best_of(paths, {2: 0.2}, 9) == [paths[1]]


@pytest.mark.slow
def test_it_learns_what_it_is_taught(data: dict[str, Path], tmp_path: Path) -> None:
    settings = [
        "regularisation={time_masks: 0, frequency_masks: 0}",
        "optimizer={learning_rate: 3e-3, warmup: 20, weight_decay: 0}",
        "data.join=0",
        "data.short=0",
        "data.full_context=0",
        f"data.evaluation={data['records']}",
    ]
    run = train(config(data, tmp_path / "run", *settings, steps=300))
    (last,) = [e["evaluation"] for e in read_log(run.folder / "log.jsonl") if "evaluation" in e]
    assert (last["wer"], last["cer"], last["no_speech_accuracy"]) == (0.0, 0.0, 1.0)
    assert last["language_accuracy"] > 0.5
    found = losses(run.folder)
    assert sum(found[-10:]) < 0.25 * sum(found[:10])


@pytest.mark.slow
def test_finetune_ends_with_a_model_for_ctranslate2(data: dict[str, Path], tmp_path: Path) -> None:
    command = ["finetune", str(data["model"]), str(data["records"]), "--output", str(tmp_path / "run"), "steps=3"]
    for method in ("full", "decoder", "lora"):
        output = tmp_path / method
        command[4] = str(output)
        done = CliRunner().invoke(
            program, [*command, "--method", method, "export=float32", "device=cpu", f"data.cache={data['cache']}"]
        )
        assert done.exit_code == 0, done.output
        assert "step 3/3: loss" in done.output
        result = load_checkpoint(output / "model")
        assert result.model.dims == DIMS
        before, after = checkpoint().model.state_dict(), result.model.state_dict()
        changed = {name for name in before if not before[name].allclose(after[name], atol=1e-7)}
        assert any(name.startswith("encoder.blocks") for name in changed) == (method != "decoder")
        assert any(name.startswith("decoder.blocks") for name in changed)
        assert ("decoder.embedding.weight" in changed) == (method != "lora")


def batch(seed: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    mel = torch.randn(2, 80, 200, generator=rng).numpy()
    tokens = torch.randint(0, DIMS.n_vocab, (2, 6), generator=rng).numpy()
    return Batch(mel=mel, tokens=tokens, labels=tokens, seconds=4.0, padded_seconds=4.0)


def test_a_low_rank_change_is_merged_exactly() -> None:
    model = checkpoint().model
    settings = make_config({"output": "x", "steps": 1, "method": "lora", "data": {"train": "x"}})
    prepare(model, settings)
    assert all("parametrizations" in name for name, p in model.named_parameters() if p.requires_grad)
    untouched = plain_copy(model)
    assert all(tensor.equal(untouched.state_dict()[name]) for name, tensor in checkpoint().model.state_dict().items())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("0.up"):
                weight.normal_(std=0.5)
    merged = plain_copy(model)
    one, other = loss_of(model.eval(), batch(), settings), loss_of(merged, batch(), settings)
    assert one.item() == pytest.approx(other.item(), rel=1e-5)
    assert one.item() != pytest.approx(loss_of(untouched, batch(), settings).item(), rel=1e-3)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_computing_again_changes_no_gradient(method: str) -> None:
    gradients = []
    for again in (False, True):
        model = checkpoint().model.train()
        settings = make_config(
            {"output": "x", "steps": 1, "method": method, "activation_checkpointing": again, "data": {"train": "x"},
             "regularisation": {"stochastic_depth": 0.5}}
        )  # fmt: skip
        torch.manual_seed(1)
        prepare(model, settings)
        loss_of(model, batch(), settings).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    assert all(a.allclose(b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_accumulation_is_a_larger_batch() -> None:
    settings = make_config({"output": "x", "steps": 1, "data": {"train": "x"}})
    model = checkpoint().model.eval()
    whole = batch()
    halves = [
        Batch(mel=whole.mel[i : i + 1], tokens=whole.tokens[i : i + 1], labels=whole.labels[i : i + 1], seconds=2.0,
              padded_seconds=2.0)
        for i in range(2)
    ]  # fmt: skip
    together = loss_of(model, whole, settings).item()
    assert sum(loss_of(model, half, settings).item() for half in halves) == pytest.approx(together, rel=1e-5)


def test_mixed_lies_between() -> None:
    one, other = checkpoint(0).model, checkpoint(1).model
    between = mixed(one, other.state_dict(), 0.25).state_dict()
    for name, weight in one.named_parameters():
        assert between[name].allclose(0.75 * weight + 0.25 * other.state_dict()[name], atol=1e-6)


def test_learning_rate() -> None:
    settings = OptimizerConfig(learning_rate=1.0, warmup=4)
    rates = [learning_rate(step, 10, settings) for step in range(1, 11)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[4] < 1
    assert rates[-1] == pytest.approx(1 / 7)
    assert all(learning_rate(step, 3, settings) > 0 for step in range(1, 4))


def test_only_matrices_decay() -> None:
    model = checkpoint().model
    decaying, others = make_optimizer(model, OptimizerConfig(weight_decay=0.3)).param_groups
    assert decaying["weight_decay"] == 0.3
    assert others["weight_decay"] == 0.0
    assert all(weight.ndim > 1 for weight in decaying["params"])
    assert any(weight is model.decoder.positions for weight in others["params"])
    assert len(decaying["params"]) + len(others["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize("seconds", [2.0, 9.0, 600.0])
def test_fine_tuning_takes_as_many_epochs_as_it_is_told(
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
    settings = finetune_config("base", [data["records"]], tmp_path, overrides=["steps=7"])
    assert (settings.steps, settings.evaluate_every, settings.variable_length) == (7, 0, None)
    settings = finetune_config("base", [data["records"]], tmp_path, evaluation=[data["records"]])
    assert settings.evaluate_every == settings.save_every > 0
    assert settings.regularisation.initial_share == 0.2
    named = [f"data.evaluation=[{data['records']}]", f"data.rehearsal=[{data['records']}]"]
    settings = finetune_config("base", [data["records"]], tmp_path, overrides=named)
    assert settings.evaluate_every == settings.save_every > 0
    assert settings.regularisation.initial_share == 0
    named.append("regularisation={initial_share: 0.1}")
    assert finetune_config("base", [data["records"]], tmp_path, overrides=named).regularisation.initial_share == 0.1
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UsageError, match="there is nothing to learn"):
        finetune_config(str(data["model"]), [tmp_path / "empty.jsonl"], tmp_path)


@pytest.mark.parametrize(
    ("overrides", "variable"),
    [([], True), (["steps=89"], None), (["method=decoder"], None), (["variable_length=false"], False)],
)
def test_who_is_at_home_with_any_length(
    overrides: list[str], variable: bool | None, data: dict[str, Path], tmp_path: Path
) -> None:
    settings = finetune_config("base", [data["records"]], tmp_path, overrides=["steps=90", *overrides])
    assert settings.variable_length is variable


@pytest.mark.parametrize("role", ["train", "rehearsal", "evaluation"])
@pytest.mark.parametrize(
    ("language", "message"), [('"yue"', "does not know the language 'yue'"), ("null", "names no language")]
)
def test_a_language_the_model_does_not_know(
    language: str, message: str, role: str, data: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(data["records"].read_text().replace('"language": "fr"', f'"language": {language}'))
    with pytest.raises(UsageError, match=message):
        train(config(data, tmp_path / "run", f"data.{role}={path}"))


def test_training_from_scratch_has_other_sizes(data: dict[str, Path], tmp_path: Path) -> None:
    run = train(config(data, tmp_path / "run", "scratch={n_audio_layer: 1, n_text_layer: 3}", steps=1))
    found = load_document(checkpoints(run.folder)[-1])["model"]
    assert any(name.startswith("decoder.blocks.2.") for name in found)
    assert not any(name.startswith("encoder.blocks.1.") for name in found)
    with pytest.raises(UsageError, match="scratch"):
        train(config(data, tmp_path / "other", "scratch={layers: 1}"))
    with pytest.raises(UsageError, match="at least 150, not 100"):
        train(config(data, tmp_path / "other", "scratch={n_audio_ctx: 100}"))
