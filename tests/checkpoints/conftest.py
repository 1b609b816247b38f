"""Fixtures for the tests of checkpoints."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def wide_by_default(wide: None) -> None:
    """What is tested here does not depend on this machine's processor."""
