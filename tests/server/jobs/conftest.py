"""A recording with several windows, and runners of jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from job_runs import Gate, Jobs, hearing, write_sentences

from mtasr.transcribe import Model


@pytest.fixture(scope="session")
def long_recording(session_folder: Path) -> Path:
    """About a minute, in some ten windows."""
    path = session_folder / "long.wav"
    if not path.exists():
        write_sentences(path, 12)
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
