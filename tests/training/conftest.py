"""Fixtures for the tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for property tests, whose examples cannot have one each."""
    return tmp_path_factory.mktemp("training")
