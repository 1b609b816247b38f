"""The loop: an interrupted run resumes as if nothing had happened, alone or in several processes."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from training_model import MIXED, Configure, checkpoint

from mtasr.errors import ModelIntegrityError, OutputError, UsageError
from mtasr.training.config import OptimizerConfig, to_document
from mtasr.training.loop import Run, _require_same, batches_from, learning_rate, make_optimizer, train
from mtasr.training.parallel import Crew, accumulation
from mtasr.training.run_log import read_log
from mtasr.training.state import best_of, checkpoints, load_document


def losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in read_log(output / "log.jsonl") if "loss" in entry]


def weights(output: Path) -> dict[str, Any]:
    return load_document(checkpoints(output)[-1])["model"]


@pytest.mark.slow
def test_a_killed_run_resumes_with_the_same_losses_to_the_last_digit(sharded: Configure, tmp_path: Path) -> None:
    """In the middle of a shard and of a pool."""
    steps, every = 12, 2
    settings = [*MIXED, f"steps={steps}", f"save_every={every}", "optimizer.accumulation=2"]
    train(sharded(tmp_path / "whole", *settings))
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(to_document(sharded(tmp_path / "killed", *settings))))
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
    train(sharded(tmp_path / "killed", *settings))
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert losses(tmp_path / "killed")[: len(before)] == before
    one, other = weights(tmp_path / "killed"), weights(tmp_path / "whole")
    assert all(one[name].equal(other[name]) for name in other)


def test_resuming_needs_the_same_settings_and_skips_damaged_checkpoints(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    train(configure(folder, "save_every=2"))
    whole = losses(folder)
    assert len(whole) == 4
    with pytest.raises(UsageError, match=r"began with other settings \(seed\)"):
        train(configure(folder, "save_every=2", "seed=1"))
    with pytest.raises(OutputError, match="holds a run already"):
        train(configure(folder, "save_every=2", "resume=never"))
    last = checkpoints(folder)[-1]
    (tensors,) = last.glob("*.distcp")
    tensors.write_bytes(tensors.read_bytes()[:-1])
    with pytest.raises(ModelIntegrityError, match="is no checkpoint of a run"):
        load_document(last)
    with caplog.at_level("INFO", "mtasr.training"):
        train(configure(folder, "variable_length=true"))
    assert "an earlier one is used" in caplog.text
    assert "continues from step 2/4" in caplog.text
    assert losses(folder) == whole


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("data.weights=[3]", "data.weights=[1]", "data.weights"),
        ("optimizer.beta2=0.9", "scratch={n_audio_layer: 1}", "optimizer.beta2, scratch.n_audio_layer"),
        ("data.cache=there", "data.cache_gigabytes=1", None),
        ("optimizer.accumulation=2", "optimizer.batches_per_step=2", None),
        ("optimizer.accumulation=2", "optimizer.accumulation=3", "2 batches per step instead of 3"),
    ],
)
def test_which_settings_make_another_run(
    configure: Configure, tmp_path: Path, before: str, after: str, changed: str | None
) -> None:
    config = configure(tmp_path, after)
    run = Run(config, None, torch.device("cpu"), Crew(), None, accumulation(config.optimizer, 1))  # type: ignore[arg-type]
    note = {"config": to_document(configure(tmp_path / "other", before, "keep=9")), "processes": 1}
    with pytest.raises(UsageError, match=changed) if changed else contextlib.nullcontext():
        _require_same(run, note)


def test_random_numbers_drawn_in_between_change_nothing(configure: Configure, tmp_path: Path) -> None:
    settings = ["regularisation.stochastic_depth=0.5", "save_every=2"]
    train(configure(tmp_path / "a", *settings))
    train(configure(tmp_path / "b", *settings), lambda _: torch.manual_seed(random.randrange(1000)))
    shutil.rmtree(checkpoints(tmp_path / "b")[-1])
    torch.manual_seed(5)
    train(configure(tmp_path / "b", *settings), lambda _: torch.manual_seed(random.randrange(1000)))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


def test_without_scores_the_last_are_the_best(tmp_path: Path) -> None:
    paths = [tmp_path / f"step-{step:08}" for step in (1, 2, 3, 4)]
    assert best_of(paths, {}, 2) == paths[2:]
    assert best_of(paths, {1: 0.5, 2: 0.2, 3: 0.5, 9: 0.1}, 2) == [paths[1], paths[0]]
    assert best_of(paths, {2: 0.2}, 9) == [paths[1]]


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


class Counting:
    """Epochs of three batches, which are their own plans; notes those that are made."""

    passes_per_epoch = 1.0

    def __init__(self) -> None:
        self.made: list[str] = []

    def epoch(self, number: int) -> list[str]:
        return [f"{number}.{index}" for index in range(3)]

    def batch(self, plan: str, rng: np.random.Generator) -> str:
        self.made.append(plan)
        return f"{plan} {rng.integers(1000)}"


def test_processes_share_the_batches(configure: Configure, tmp_path: Path) -> None:
    """Together they make those of one process, each once, with the same random numbers."""
    config = configure(tmp_path)

    def batches(crew: Crew, count: int) -> list[tuple[Any, ...]]:
        run = Run(config, Counting(), torch.device("cpu"), crew, None, 1)
        found = [batch for _, batch in zip(range(count), batches_from(run, 0, 1), strict=False)]
        assert [made.split()[0] for *_, made in found] == run.objective.made[:count]
        return found

    alone = batches(Crew(), 12)
    assert [made.split()[0] for *_, made in alone[:4]] == ["0.1", "0.2", "1.0", "1.1"]
    shares = [batches(Crew(rank, 3), 4) for rank in range(3)]
    assert [each[1:] for row in zip(*shares, strict=True) for each in row] == [each[1:] for each in alone]
    assert [each[0] for each in shares[0]] == [each[0] for each in shares[2]] == [each[0] for each in alone[2::3]]
