"""Recordings without text, made once, and configurations of runs that learn from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from speech import SAMPLE_RATE, write_wav
from training_model import Configure

from mtasr.training.config import TrainConfig, make_config

#: Seconds of the recordings, of which the last are in a folder below.
LENGTHS = (1.3, 2.0, 2.7, 3.4, 5.0, 1.9, 2.2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of one thread have the same order in every run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sounds that change every tenth of a second."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "below").mkdir()
    rng = np.random.default_rng(0)
    for number, seconds in enumerate(LENGTHS):
        pitches = np.repeat(rng.uniform(100, 3000, int(10 * seconds) + 1), SAMPLE_RATE // 10)
        samples = 0.3 * np.sin(2 * np.pi * np.cumsum(pitches / SAMPLE_RATE)[: int(seconds * SAMPLE_RATE)])
        place = folder / "below" if number > 4 else folder
        write_wav(place / f"{number}.wav", (samples + 0.01 * rng.standard_normal(len(samples))).astype(np.float32))
    return folder


@pytest.fixture(scope="session")
def pretraining(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Configure:
    """A configuration of BEST-RQ on a tiny encoder: the folder of the run, overrides, the number of steps."""
    cache = tmp_path_factory.mktemp("cache")

    def made(output: Path, *overrides: str, steps: int = 4) -> TrainConfig:
        document = {
            "objective": "best-rq", "output": str(output), "steps": steps, "device": "cpu",
            "objective_options": {
                "sizes": {"n_audio_ctx": 100, "n_audio_state": 16, "n_audio_head": 2, "n_audio_layer": 2},
                "books": 2, "codes": 16, "mask_span": 10,
            },
            "data": {
                "train": str(recordings), "cache": str(cache), "longest": 2.0, "shortest": 1.5, "batch_seconds": 5.0,
            },
            "optimizer": {"learning_rate": 1e-2, "warmup": min(2, steps)},
        }  # fmt: skip
        return make_config(document, overrides)

    return made
