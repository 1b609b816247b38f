"""Fixtures for the tests of checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_checkpoint import small_checkpoint

from mtasr.checkpoints.formats import save_checkpoint


@pytest.fixture(autouse=True)
def wide_by_default(wide: None) -> None:
    """What is tested here does not depend on this machine's processor."""


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small checkpoint in CTranslate2's format. Tests only read it."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("source") / "model"
    save_checkpoint(small_checkpoint(), path, "ctranslate2", "float16")
    return path
