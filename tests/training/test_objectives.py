"""The seam between the loop and what it teaches: an objective of another kind, from outside of the package."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_model import Configure

from mtasr.data.reading import read_records
from mtasr.data.samples import SampleStore
from mtasr.errors import UsageError
from mtasr.features import log_mel
from mtasr.training.batches import Batch
from mtasr.training.config import TrainConfig
from mtasr.training.loop import begin, export, train
from mtasr.training.objectives import OBJECTIVES, Exported, make_objective
from mtasr.training.parallel import Crew
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints

SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Options:
    width: int = 16
    masked: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedBatch(Batch):
    """`mel` (B, F, M) and the frames to predict, a mask (B, F)."""

    mel: np.ndarray
    hidden: np.ndarray


class MaskedFrames:
    """Regression of the frames that the model is not shown, on audio alone and with a network that is not Whisper."""

    score = "error"
    data = ""
    passes_per_epoch = 1.0

    def __init__(self, config: TrainConfig) -> None:
        self.options = config.options(Options)
        self.seed = config.seed
        self.store = SampleStore(Path(config.data.cache))
        self.audio = [(each.audio, each.duration) for path in config.data.train for each in read_records(Path(path))]

    def model(self, device: torch.device) -> nn.Module:
        width = self.options.width
        return nn.Sequential(nn.Linear(80, width), nn.Dropout(0.1), nn.ReLU(), nn.Linear(width, 80)).to(device)

    def epoch(self, number: int) -> list[list[tuple[str, float]]]:
        rng = np.random.default_rng([self.seed, number])
        starts = [(audio, float(rng.uniform(0, duration - SECONDS))) for audio, duration in self.audio]
        return [starts[first : first + 2] for first in range(0, len(starts), 2)]

    def batch(self, plan: list[tuple[str, float]], rng: np.random.Generator) -> MaskedBatch:
        stretches = [self.store.stretch(audio, start, start + SECONDS) for audio, start in plan]
        mel = np.stack([log_mel(samples).T for samples in stretches])
        hidden = rng.random(mel.shape[:2]) < self.options.masked
        seconds = SECONDS * len(plan)
        return MaskedBatch(targets=int(hidden.sum()), seconds=seconds, padded_seconds=seconds, mel=mel, hidden=hidden)

    def loss(self, model: nn.Module, batch: MaskedBatch) -> Tensor:
        mel, hidden = torch.from_numpy(batch.mel), torch.from_numpy(batch.hidden)
        found = model(mel.masked_fill(hidden[:, :, None], 0.0))
        return (found - mel).square().mean(dim=2)[hidden].sum()

    @torch.no_grad()
    def evaluate(self, model: nn.Module, average: Mapping[str, Tensor]) -> dict[str, float]:
        assert set(average) == {name for name, _ in model.named_parameters()}
        batch = self.batch(self.epoch(0)[0], np.random.default_rng(0))
        return {"error": float(self.loss(model.eval(), batch)) / batch.targets}

    def export(self, checkpoints: Iterable[Mapping[str, Any]], folder: Path) -> Exported:
        (best,) = checkpoints
        torch.save(best["model"], folder / "frames.pt")
        return Exported(path=folder / "frames.pt", remark=f"step {best['step']}")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setitem(OBJECTIVES, "masked frames", MaskedFrames)
    return [
        "objective=masked frames", "objective_options.width=8", "save_every=3", "evaluate_every=3",
        "optimizer.accumulation=2",
    ]  # fmt: skip


def test_the_loop_trains_and_resumes_another_objective(
    settings: list[str], configure: Configure, tmp_path: Path
) -> None:
    train(configure(tmp_path / "whole", *settings, steps=9))
    run = train(configure(tmp_path / "resumed", *settings, steps=9))
    shutil.rmtree(checkpoints(run.folder)[-1])
    run = train(configure(tmp_path / "resumed", *settings, steps=9))
    whole, resumed = (read_log(tmp_path / name / "log.jsonl") for name in ("whole", "resumed"))
    losses = [entry["loss"] for entry in whole if "loss" in entry]
    assert len(losses) == 9
    assert losses[-1] < losses[0]
    assert [entry["loss"] for entry in resumed if "loss" in entry] == losses
    found = {entry["step"]: entry["evaluation"]["error"] for entry in whole if "evaluation" in entry}
    assert list(found) == [3, 6, 9]
    exported = export(run)
    assert exported.remark == f"step {min(found, key=found.__getitem__)}"
    assert set(torch.load(exported.path)) == {"0.weight", "0.bias", "3.weight", "3.bias"}
    assert ">error</text>" in (run.folder / "curves.svg").read_text()


def test_its_settings_are_checked(settings: list[str], configure: Configure, tmp_path: Path) -> None:
    run, state, _ = begin(configure(tmp_path, *settings), Crew())
    assert state.model[0].out_features == run.objective.options.width == 8
    with pytest.raises(UsageError, match=r"no setting objective_options\.widht; did you mean objective_options\.width"):
        make_objective(configure(tmp_path, *settings, "objective_options.widht=3"))
    with pytest.raises(UsageError, match=r"objective_options\.masked must be a number, not 'much'"):
        make_objective(configure(tmp_path, *settings, "objective_options.masked=much"))
    with pytest.raises(UsageError, match="objective_options must be a mapping of names to values, not 3"):
        configure(tmp_path, *settings, "objective_options=3")
    with pytest.raises(UsageError, match="objective=sequence has no objective_options"):
        make_objective(configure(tmp_path, "objective_options.width=3"))
    with pytest.raises(UsageError, match=r"objective must be one of sequence, ctc, .*masked frames, not 'speech'"):
        make_objective(configure(tmp_path, "objective=speech"))
