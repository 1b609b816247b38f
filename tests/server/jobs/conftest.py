"""A recording with several windows, and runners of jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job_runs import Gate, Jobs, hearing
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.transcribe import Model

SENTENCE = "The train leaves at noon from the second platform, and the last one at ten."


@pytest.fixture(scope="session")
def long_recording(session_folder: Path) -> Path:
    """About a minute, in some ten windows."""
    path = session_folder / "long.wav"
    if not path.exists():
        sentence = speak(SENTENCE)
        write_wav(path, np.tile(np.concatenate([sentence, np.zeros(SAMPLE_RATE, np.float32)]), 12))
    return path


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Lets two windows through before it is opened."""
    made = Gate(2)
    yield made
    made.open()


@pytest.fixture
def make_jobs(tmp_path: Path) -> Iterator[Callable[..., Jobs]]:
    """Makes runners on one folder; the last one is stopped in the end."""
    made: list[Jobs] = []

    def make(model: Model | None = None, **settings: Any) -> Jobs:
        made.append(Jobs(tmp_path / "data", model or hearing(), **settings))
        return made[-1]

    yield make
    for jobs in made:
        jobs.runner.close()
