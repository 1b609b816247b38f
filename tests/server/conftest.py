"""A server with an engine that needs no weights, and recordings for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from server.running import Running, running
from speech import write_wav


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as started:
        yield started


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bursts of noise, 3 s in all."""
    return write_noise(tmp_path_factory.mktemp("clips") / "clip.wav", [(0.2, 1.2), (1.8, 2.8)], 3.0)


def write_noise(path: Path, bursts: list[tuple[float, float]], seconds: float) -> Path:
    """A recording with noise from each start to each end, in seconds."""
    samples = np.zeros(round(seconds * 16000), np.float32)
    noise = np.random.default_rng(7).normal(0, 0.1, samples.size).astype(np.float32)
    for start, end in bursts:
        samples[round(start * 16000) : round(end * 16000)] = noise[round(start * 16000) : round(end * 16000)]
    write_wav(path, samples)
    return path
