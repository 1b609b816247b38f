"""A tiny model and tones to learn, made once, and runs of a few steps that several tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_model import Configure, write_model, write_tones

from mtasr.data.reading import read_records
from mtasr.data.records import write_records
from mtasr.data.shards.packing import pack
from mtasr.training.config import TrainConfig, make_config


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of one thread have the same order in every run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tones")
    return {"records": write_tones(folder), "model": write_model(folder / "tiny.pt"), "cache": folder / "cache"}


@pytest.fixture(scope="session")
def configure(data: dict[str, Path]) -> Configure:
    """A configuration for the tiny model: the folder of the run, `key=value` overrides, the number of steps."""

    def made(output: Path, *overrides: str, steps: int = 4) -> TrainConfig:
        document = {
            "model": str(data["model"]), "output": str(output), "steps": steps, "device": "cpu",
            "data": {"train": str(data["records"]), "cache": str(data["cache"]), "silence": 1.0, "batch_seconds": 30.0},
            "optimizer": {"learning_rate": 1e-3, "warmup": min(2, steps)},
            "regularisation": {"stochastic_depth": 0.1, "ema": 0.9},
        }  # fmt: skip
        return make_config(document, overrides)

    return made


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two folders of shards, and of the same records as files."""
    folder = tmp_path_factory.mktemp("shards")
    records = list(read_records(write_tones(folder, 9)))
    for name, some in (("a", records[:6]), ("b", records[6:])):
        write_records(some, folder / f"{name}.jsonl")
        pack(folder / f"{name}.jsonl", folder / name, print)
    return folder


@pytest.fixture(scope="session")
def sharded(configure: Configure, tones: Path) -> Configure:
    """As `configure`, with the records of `tones` in shards."""

    def made(output: Path, *overrides: str, steps: int = 4) -> TrainConfig:
        return configure(output, f"data.train=[{tones / 'a'}, {tones}/b/*.tar]", *overrides, steps=steps)

    return made
